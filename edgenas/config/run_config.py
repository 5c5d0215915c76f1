"""RunConfig: all settings of a run, frozen and validated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from edgenas.budget import BudgetText
from edgenas.config.section import Section
from edgenas.config.sections import (
    AccuracyConfig,
    DataConfig,
    DeviceConfig,
    ExportConfig,
    FinetuneConfig,
    ProfileConfig,
    SearchConfig,
    ShelfNames,
    VerifyConfig,
)
from edgenas.config.train_config import (
    AUTO,
    INIT_FORMS,
    NEVER_LARGEST,
    RECIPE_DEFAULTS,
    AugmentConfig,
    TrainConfig,
    names_network,
)
from edgenas.errors import one_of, shown
from edgenas.files import SCHEMA_VERSION, file_name
from edgenas.objective import Objective
from edgenas.quantities import BALANCED_ERROR, ERROR, WORST_CLASS_ERROR
from edgenas.space.loading import load_space, narrow_space
from edgenas.space.space import SearchSpace


def _named_or_narrowed(value: Any) -> Any:
    if not isinstance(value, str | dict):
        raise ValueError(f"expected a preset, a file, or one narrowed like {{preset: mobile-32}}, got {shown(value)}")
    return value


CANDIDATES = 4
"""Default of `finetune.candidates` for a run that starts from a pretrained network."""


class RunConfig(Section):
    """The settings of a run."""

    schema_version: int = Field(SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    name: Annotated[str, AfterValidator(file_name)]
    seed: int = Field(0, ge=0, lt=2**32)
    minutes: float | None = Field(None, gt=0, le=100_000)
    space: Annotated[str | dict[str, Any], BeforeValidator(_named_or_narrowed)]
    accuracy: AccuracyConfig | None = None
    num_classes: int | None = Field(None, ge=2, le=1_000_000)
    data: DataConfig | None = Field(None, validate_default=True)
    train: TrainConfig | None = Field(None, validate_default=True)
    devices: tuple[DeviceConfig, ...] = Field((DeviceConfig(device="here"),), min_length=1)
    budgets: tuple[BudgetText, ...] = ()
    profile: ProfileConfig = ProfileConfig()
    search: SearchConfig = SearchConfig()
    shelf: ShelfNames = "auto"
    verify: VerifyConfig = VerifyConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    export: ExportConfig = ExportConfig()

    @model_validator(mode="before")
    @classmethod
    def _recipe_by_budgets(cls, value: Any) -> Any:
        """Default to the recipe `within-budgets` if budgets are given and the weights are not a named network's.

        Where the largest network is a teacher, default to a recipe that trains it.
        """
        train = value.get("train") if isinstance(value, dict) else None
        if not isinstance(train, dict) or train.get("recipe") is not None:
            return value
        tuned, from_network = value.get("finetune"), names_network(train.get("init"))
        needs_largest = isinstance(tuned, dict) and tuned.get("teacher") == "largest"
        if from_network and needs_largest:
            return {**value, "train": {**train, "recipe": "teacher-first"}}
        if from_network or needs_largest or not value.get("budgets") or not train.get("epochs"):
            return value
        return {**value, "train": {**train, "recipe": "within-budgets"}}

    @model_validator(mode="before")
    @classmethod
    def _network_of_the_space(cls, value: Any) -> Any:
        """Default to `init: auto` with `space: auto`."""
        train = value.get("train") if isinstance(value, dict) else None
        if not isinstance(train, dict) or train.get("init") is not None or not is_auto(value.get("space")):
            return value
        return {**value, "train": {**train, "init": AUTO}}

    @model_validator(mode="before")
    @classmethod
    def _epochs_of_minutes(cls, value: Any) -> Any:
        """Default to an epoch with `minutes`, which set the steps instead: only whether there are any matters then."""
        train = value.get("train") if isinstance(value, dict) else None
        if not isinstance(train, dict) or train.get("epochs") is not None or value.get("minutes") is None:
            return value
        return {**value, "train": {**train, "epochs": 1.0}}

    @field_validator("devices")
    @classmethod
    def _distinct(cls, devices: tuple[DeviceConfig, ...]) -> tuple[DeviceConfig, ...]:
        if len(set(devices)) != len(devices):
            raise ValueError("expected each device once")
        return devices

    @field_validator("data", "train")
    @classmethod
    def _required_for_a_supernet(cls, section: Any, info: ValidationInfo) -> Any:
        if info.data.get("accuracy", "broken") is None and info.data.get("num_classes", "broken") is None:
            if section is None:
                raise PydanticCustomError("missing", "missing")
            if isinstance(section, TrainConfig) and section.epochs is None:
                raise PydanticCustomError("missing", "missing", {"key": "epochs"})
        return section

    @field_validator("train")
    @classmethod
    def _level_for_photographs(cls, train: TrainConfig | None, info: ValidationInfo) -> TrainConfig | None:
        """Default to a level by images a class, where class folders meet the weights of a pretrained network."""
        data = info.data.get("data")
        if train is None or data is None or data.name != "imagefolder":
            return train
        if not train.from_network or train.augment != AugmentConfig():
            return train
        return train.model_copy(update={"augment": AugmentConfig(level="auto")})

    @model_validator(mode="after")
    def _fits_accuracy(self) -> RunConfig:
        if self.accuracy and (problems := list(self._contradictions())):
            raise ValueError("; ".join(problems))
        return self

    @model_validator(mode="after")
    def _budgets_to_keep_within(self) -> RunConfig:
        if self.finetune.teacher != "largest" or not self.train or not self.train.epochs:
            return self
        if self.train.recipe in NEVER_LARGEST:
            instead = "teacher-first" if self.train.from_network else "all-sizes"
            raise ValueError(
                f"finetune.teacher largest needs another train.recipe, such as {instead}: {self.train.recipe} never "
                "trains the largest network"
            )
        return self

    @model_validator(mode="after")
    def _space_around_a_network(self) -> RunConfig:
        if is_auto(self.space) and not (self.train and self.train.from_network):
            given = f"train.init {shown(self.train.init)}" if self.train else "no train"
            raise ValueError(
                f"space: auto is the space around a pretrained network, got {given}: name the space of other weights, "
                f"or a network: {one_of(str(self.train and self.train.init), INIT_FORMS)}"
            )
        if self.accuracy and self.train and self.train.from_network:
            raise ValueError(
                f"with accuracy nothing is trained: train.init needs weights of this space with its classes, got "
                f"{self.train.init}"
            )
        return self

    @model_validator(mode="after")
    def _most_accurate_candidate(self) -> RunConfig:
        several = (
            ("finetune.candidates above 1", (self.finetune.candidates or 1) > 1),
            ("minutes", self.minutes is not None),
            ("shelf", self.shelf not in ("auto", ())),
        )
        asked = next((name for name, is_set in several if is_set), None)
        if asked and not self.chooses_by_accuracy:
            raise ValueError(
                f"{asked} needs search.choose: best and error as the first of search.objectives: of several "
                "fine-tuned networks the most accurate one is exported"
            )
        return self

    @model_validator(mode="after")
    def _shelf_is_tuned(self) -> RunConfig:
        if self.shelf not in ("auto", ()) and not self.finetunes:
            raise ValueError(
                "shelf: networks of the shelf get a new classifier, which only fine-tuning trains: set train, data and "
                "finetune.epochs, or leave shelf out"
            )
        if self.shelf not in ("auto", ()) and self.finetune.data is not None:
            raise ValueError(
                "finetune.data needs shelf: []: networks of the shelf are compared with others on the run's own images"
            )
        if self.shelf not in ("auto", ()) and self.finetune.start == "fresh":
            raise ValueError("finetune.start fresh needs shelf: []: networks of the shelf have pretrained weights")
        return self

    @model_validator(mode="after")
    def _minutes_to_train(self) -> RunConfig:
        if self.minutes is not None and (self.accuracy is not None or not (self.train and self.train.epochs)):
            raise ValueError("minutes needs a run that trains a supernet: they are shared by training and fine-tuning")
        tuned = {"finetune.epochs": self.finetune.epochs, "finetune.data": self.finetune.data}
        stated = next((name for name, value in tuned.items() if value is not None), None)
        if self.minutes is not None and stated:
            raise ValueError(
                f"minutes sets the time of all training, and fine-tuning takes what is left of it: leave {stated} out, "
                "or set train.epochs instead of minutes"
            )
        return self

    @model_validator(mode="after")
    def _profiled_alone(self) -> RunConfig:
        if self.num_classes is not None and (self.accuracy, self.data, self.train) != (None, None, None):
            raise ValueError("num_classes is for runs that only profile: leave it out with accuracy, data or train")
        return self

    def _contradictions(self) -> Iterator[str]:
        """Yield the settings that a run without its own supernet does not support."""
        init = self.train.init if self.train else None
        if self.train and init is None:
            yield "with accuracy nothing is trained: set only train.init (weights to export)"
        if init is not None and self.data is None:
            yield "train.init needs data: images recalibrate batch norm and check the exported file"
        if self.data is not None and self.train is None:
            yield "with accuracy, data is used only by the export: add weights (train.init), or leave data out"
        if "int8" in {device.precision for device in self.devices}:
            yield "with accuracy, no device can run int8: its accuracy drop can only be measured with images"
        for quantity in (WORST_CLASS_ERROR, BALANCED_ERROR):
            if Objective(quantity) in self.search.objectives:
                yield f"search.objectives: {quantity.name} can only be measured with images"
        if self.finetune.epochs and init is None:
            yield "finetune.epochs needs weights (train.init) and images (data)"
        if self.export.precision == "int8" and init is None:
            yield "export.precision int8 needs weights (train.init) and images (data)"

    @property
    def images(self) -> DataConfig:
        """Return `data` of a run with images."""
        assert self.data is not None
        return self.data

    @property
    def training(self) -> TrainConfig:
        """Return `train` of a run with a supernet."""
        assert self.train is not None
        return self.train

    @property
    def has_weights(self) -> bool:
        """Return whether the run has a supernet, trained or imported."""
        return self.train is not None

    @property
    def finetunes(self) -> bool:
        """Return whether the chosen subnet is fine-tuned; by default if the run trains a supernet."""
        if self.finetune.epochs is not None:
            return self.finetune.epochs > 0
        return self.accuracy is None and self.train is not None and bool(self.train.epochs)

    def from_random_weights(self) -> RunConfig:
        """Return the config where `init: auto` found no network: without the defaults for pretrained weights."""
        training = self.training
        if training.recipe in RECIPE_DEFAULTS:
            recipe = "within-budgets" if self.budgets and self.finetune.teacher != "largest" else "all-sizes"
            training = training.without_recipe(recipe).model_copy(update={"layer_decay": 1.0})
        tuned = self.finetune.model_copy(update={"candidates": self.finetune.candidates or 1})
        shelf = () if self.shelf == "auto" else self.shelf
        return self.model_copy(update={"train": training, "finetune": tuned, "shelf": shelf})

    @property
    def has_auto_space(self) -> bool:
        """Return whether the space is that around the network that training starts from, see `narrowed`."""
        return is_auto(self.space)

    @property
    def tuned_candidates(self) -> int:
        """Return how many networks of the space are fine-tuned at most; those of the shelf come in addition.

        The most accurate one is exported. By default several where training starts from a pretrained network, whose
        supernet is trained for a short time.
        """
        if self.finetune.candidates is not None:
            return self.finetune.candidates
        several = self.starts_from_network and self.finetune.data is None and self.chooses_by_accuracy
        return CANDIDATES if several else 1

    @property
    def halves(self) -> bool:
        """Return whether candidates are fine-tuned by successive halving; else the chosen network, for epochs."""
        if self.finetune.data is not None or not self.chooses_by_accuracy:
            return False
        return self.tuned_candidates > 1 or self.has_shelf or self.minutes is not None

    @property
    def has_shelf(self) -> bool:
        """Return whether pretrained networks may be candidates beside those of the space."""
        return self.starts_from_network if self.shelf == "auto" else bool(self.shelf)

    @property
    def starts_from_network(self) -> bool:
        """Return whether the training of the supernet starts from a pretrained network."""
        return self.train is not None and self.train.from_network

    @property
    def chooses_by_accuracy(self) -> bool:
        """Return whether the most accurate network is chosen, so that several may be fine-tuned and compared."""
        return (self.search.choose, self.search.objectives[0]) == ("best", Objective(ERROR))

    def load_space(self) -> SearchSpace:
        """Return the search space that `space` names and narrows; not for `space: auto`."""
        return load_space(self.space)

    def narrowed(self, space: SearchSpace) -> SearchSpace:
        """Return the space around a network, narrowed like `space: {preset: auto, kernel: [3]}` states."""
        return narrow_space(space, self.space) if isinstance(self.space, dict) else space

    @property
    def stated_resolutions(self) -> Any:
        """Return the resolutions that `space` narrows to; None where it states none."""
        return self.space.get("resolution") if isinstance(self.space, dict) else None


def is_auto(space: object) -> bool:
    """Return whether a value of `space` is `auto`, narrowed or not."""
    return space == AUTO or (isinstance(space, dict) and space.get("preset") == AUTO)
