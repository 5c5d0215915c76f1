"""The sections of a config. `demo.yaml` explains every field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from edgenas.errors import refuse_grouped_digits, shown
from edgenas.files import file_name
from edgenas.objective import Objective, ObjectiveText
from edgenas.quantities import ERROR, LATENCY
from edgenas.space.arch import NETWORK_NAME
from edgenas.space.network_names import NETWORK_FORMS, is_network_name


class Section(BaseModel):
    """A frozen section, which refuses unknown keys, and true or false for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # Python would read true as 1.
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation not in (bool, bool | None):
            raise ValueError(f"expected a value other than true or false, got {str(value).lower()}")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_digits(cls, value: Any, info: ValidationInfo) -> Any:
        return refuse_grouped_digits(value, cls.model_fields[str(info.field_name)].annotation)


Share = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(gt=0, le=1)]


class DataConfig(Section):
    """The data set."""

    name: Literal["digits", "fashion-mnist", "cifar10", "cifar100", "imagefolder"]
    path: Path | None = None
    validation: float = Field(0.15, gt=0, lt=1)
    test: float = Field(0.15, gt=0, lt=1)
    limit: int | None = Field(None, gt=0)
    presize: int | None = Field(None, ge=8, le=1024)
    mean: tuple[Share, Share, Share] | None = None
    std: tuple[Spread, Spread, Spread] | None = None
    crop: float | None = Field(None, ge=0.1, le=1)
    memory_mb: int = Field(4000, ge=0)
    workers: int | None = Field(None, ge=1, le=256)


AugmentLevel = Literal["auto", "none", "light", "medium", "strong"]
MEDIUM_BELOW = 500
"""Training images a class below which `auto` takes level `medium`, else `light`.

`strong` suits longer trainings than fine-tuning: see examples/results/LOG.md.
"""


class AugmentConfig(Section):
    """Augmentation of training images: a level, with optional values of its own for shifts and flips."""

    level: AugmentLevel | None = None
    shift: float | None = Field(None, ge=0, lt=0.5)
    flip: bool | None = None

    def for_images(self, images_a_class: float) -> AugmentConfig:
        """Return the settings with every value fixed, for so many training images a class.

        Levels above `none` flip, and do not shift, since their crops do.
        """
        level = self.level or "none"
        if level == "auto":
            level = "medium" if images_a_class < MEDIUM_BELOW else "light"
        shift = self.shift if self.shift is not None else 0.1 if level == "none" else 0.0
        return AugmentConfig(level=level, shift=shift, flip=level != "none" if self.flip is None else self.flip)


class AccuracyConfig(Section):
    """The source of accuracies without a supernet: architectures measured by others, or an imported predictor."""

    file: str | None = None
    column: str = "top1_percent"
    predictor: Path | None = None
    num_classes: int | None = Field(None, ge=2, le=1_000_000)

    @model_validator(mode="after")
    def _one_of_two(self) -> AccuracyConfig:
        if (self.file is None) == (self.predictor is None):
            raise ValueError("expected either file (measured accuracies, CSV) or predictor (an imported one)")
        return self


ClassWeights = Literal["auto", "none", "sqrt", "balanced"]
Precision = Literal["auto", "fp32", "bf16"]


AUTO = "auto"
"""Value of `space` and of `train.init` for a choice by what is installed."""
INIT_FORMS = (AUTO, *NETWORK_FORMS)
"""Values of `train.init` that name a pretrained network, for messages; others are paths."""
WITH_BOTH_ENDS = ("sandwich", "sandwich-labels", "alpha-divergence", "delayed-shrinking")
"""Recipes whose steps train the largest and the smallest subnet."""


RECIPE_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "from-pretrained": {
        "batch_size": 32,
        "subnets_per_step": 2,
        "learning_rate": 2e-3,
        "layer_decay": 0.9,
        "warmup": 0.1,
        "label_smoothing": 0.1,
    }
}
"""Defaults of `train` by recipe, where they differ from those of the fields."""


class TrainConfig(Section):
    """How the supernet is trained."""

    recipe: Literal[
        "all-sizes",
        "within-budgets",
        "from-pretrained",
        "uniform",
        "sandwich",
        "sandwich-labels",
        "alpha-divergence",
        "delayed-shrinking",
        "progressive-shrinking",
    ] = "all-sizes"
    init: str | None = Field(None, min_length=1)
    kernel_transforms: bool = False
    epochs: float | None = Field(None, ge=0)
    batch_size: int = Field(64, gt=1)
    subnets_per_step: int = Field(3, ge=1)
    at_a_time: int | None = Field(None, ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1)
    learning_rate: float = Field(2e-3, gt=0)
    layer_decay: float = Field(1.0, gt=0, le=1)
    weight_decay: float = Field(0.02, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: ClassWeights = "auto"
    clip_norm: float | None = Field(None, gt=0)
    average: float | None = Field(None, gt=0, lt=1)
    zero_last_norm: bool = False
    validations: int = Field(5, ge=1, le=1000)
    patience: int | None = Field(None, ge=1)
    precision: Precision = "auto"
    tensorboard: bool = False
    checkpoint_seconds: float = Field(60.0, ge=0)
    augment: AugmentConfig = AugmentConfig()
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="wrap")
    @classmethod
    def _defaults_of_the_recipe(cls, value: Any, validated: ModelWrapValidatorHandler[TrainConfig]) -> TrainConfig:
        """Default to the recipe `from-pretrained` where `init` names a network, and to the settings of the recipe."""
        if not isinstance(value, dict):
            return validated(value)
        # In a RunConfig, budgets choose the default for other weights.
        recipe = value.get("recipe") or ("from-pretrained" if names_network(value.get("init")) else "all-sizes")
        defaults = RECIPE_DEFAULTS.get(recipe, {}) if isinstance(recipe, str) else {}
        train = validated({**defaults, **value, "recipe": recipe})
        # Defaults of a recipe are not stated by the user, see `without_recipe`.
        train.model_fields_set.difference_update(set(defaults) - set(value))
        return train

    def without_recipe(self, recipe: str) -> TrainConfig:
        """Return the settings with another recipe, and with the defaults of fields in place of the former recipe's."""
        names = RECIPE_DEFAULTS.get(self.recipe, {}).keys() - self.model_fields_set
        return self.model_copy(
            update={name: TrainConfig.model_fields[name].default for name in names} | {"recipe": recipe}
        )

    @field_validator("init", mode="before")
    @classmethod
    def _path_as_text(cls, init: Any) -> Any:
        return str(init) if isinstance(init, Path) else init

    @field_validator("epochs")
    @classmethod
    def _weights_from_somewhere(cls, epochs: float | None, info: ValidationInfo) -> float | None:
        init = info.data.get("init")
        if epochs == 0 and init is None:
            raise ValueError("expected a number above 0 (0 goes with train.init, whose weights are then taken), got 0")
        if epochs == 0 and names_network(init):
            raise ValueError(
                f"expected a number above 0: {init} has another classifier, and one for the classes of these images "
                "must be trained; got 0"
            )
        return epochs

    def for_images(self, images: int, num_classes: int) -> TrainConfig:
        """Return the settings with every value of the augmentation fixed, for so many training images."""
        return self.model_copy(update={"augment": self.augment.for_images(images / num_classes)})

    @model_validator(mode="after")
    def _pretrained_norms(self) -> TrainConfig:
        if self.zero_last_norm and self.from_network:
            raise ValueError("zero_last_norm is for random weights: leave it out with a pretrained network")
        return self

    @model_validator(mode="after")
    def _both_ends(self) -> TrainConfig:
        if self.subnets_per_step < 2 and self.recipe in WITH_BOTH_ENDS:
            raise ValueError(
                f"expected subnets_per_step of at least 2 with {self.recipe}: the largest and the smallest"
            )
        return self

    @property
    def from_network(self) -> bool:
        """Return whether `init` names a pretrained network, or leaves the choice of one to edgenas."""
        return names_network(self.init)

    @property
    def init_path(self) -> Path | None:
        """Return the run folder or checkpoint that `init` names; None where it names none."""
        return None if self.init is None or self.from_network else Path(self.init)


def names_network(init: object) -> bool:
    """Return whether a value of `train.init` names a pretrained network, or leaves the choice of one to edgenas."""
    return isinstance(init, str) and (init == AUTO or is_network_name(init))


class ProfileConfig(Section):
    """What is measured for the latency predictor: all of it, or what `minutes` of each device's time hold."""

    base: str | None = None
    minutes: float | None = Field(None, gt=0, le=10_000)
    blocks: int | None = Field(None, ge=1)
    networks: int = Field(24, ge=10, le=10_000)
    rounds: int = Field(24, ge=8, le=100_000)
    coverage: float = Field(0.9, gt=0, lt=1)


class SearchConfig(Section):
    """The search."""

    # Names of `search.strategies.by_name`, which this module cannot import.
    strategy: Literal[
        "nsga2", "surrogate", "random", "grid", "regularized-evolution", "bayesian", "reinforce", "gradient"
    ] = "nsga2"
    evaluations: int = Field(120, gt=1, le=10_000_000)
    population: int | None = Field(None, gt=1, le=10_000)
    objectives: Annotated[tuple[ObjectiveText, ...], Field(min_length=1)] = (Objective(ERROR), Objective(LATENCY))
    choose: Literal["best", "knee", "weighted"] = "best"
    weights: dict[ObjectiveText, Annotated[float, Field(ge=0)]] | None = None
    initial: Path | None = None
    workers: int = Field(1, ge=1, le=256)
    calibration_images: int = Field(2048, gt=1)
    validation_images: int | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _weighted(self) -> SearchConfig:
        if (self.choose == "weighted") != (self.weights is not None):
            raise ValueError("weights and choose: weighted need each other, like weights: {error: 1, latency: 0.5}")
        return self


def _shelf(value: Any) -> Any:
    if value == "auto" or isinstance(value, list | tuple):
        return value
    raise ValueError(f"expected auto, or a list of pretrained networks like [efficientnet-lite0], got {shown(value)}")


def _named_networks(value: Literal["auto"] | tuple[str, ...]) -> Literal["auto"] | tuple[str, ...]:
    if value == "auto":
        return value
    if wrong := [name for name in value if not NETWORK_NAME.fullmatch(name)]:
        raise ValueError(f"expected names of pretrained networks, like efficientnet-lite0, got {shown(wrong[0])}")
    if len(set(value)) < len(value):
        raise ValueError(f"expected each network once, got {shown(list(value))}")
    return value


ShelfNames = Annotated[Literal["auto"] | tuple[str, ...], BeforeValidator(_shelf), AfterValidator(_named_networks)]
"""The networks on the shelf by name; `auto` for the installed ones."""


class VerifyConfig(Section):
    """The measurement of the front."""

    networks: int = Field(8, ge=1, le=10_000)
    rounds: int = Field(40, ge=8, le=100_000)
    refits: int = Field(2, ge=0, le=100)
    attempts: int = Field(3, ge=1, le=100)


RATE_SHARES = {"inherited": 0.5, "fresh": 1.0}
"""Default share of the supernet's learning rate, by `finetune.start`."""


class FinetuneConfig(Section):
    """How the chosen subnet is fine-tuned before it is exported, on the run's images or on others."""

    epochs: float | None = Field(None, ge=0)
    candidates: int | None = Field(None, ge=1, le=64)
    data: DataConfig | None = None
    arch: str | None = Field(None, min_length=1)
    start: Literal["inherited", "fresh"] = "inherited"
    teacher: Literal["none", "largest"] = "none"
    learning_rate_share: float = Field(None, gt=0, le=10, validate_default=True)
    average: float | None = Field(None, gt=0, lt=1)
    patience: int | None = Field(None, ge=1)
    validations: int = Field(10, ge=1, le=1000)

    @field_validator("learning_rate_share", mode="before")
    @classmethod
    def _by_start(cls, share: Any, info: ValidationInfo) -> Any:
        return RATE_SHARES.get(info.data.get("start", "inherited")) if share is None else share

    @model_validator(mode="after")
    def _teacher_of_these_classes(self) -> FinetuneConfig:
        if self.arch is not None and self.data is None:
            raise ValueError("arch needs data: it is the network that gets a new classifier for other images")
        if self.data is not None and self.teacher != "none":
            raise ValueError("data needs teacher: none: the largest subnet lacks the other classes")
        if self.data is not None and self.start != "inherited":
            raise ValueError("data needs start: inherited: other images are trained from inherited weights")
        if self.data is not None and (self.candidates or 1) > 1:
            raise ValueError("data needs candidates: 1: the chosen network is the one that gets a new classifier")
        return self


class ExportConfig(Section):
    """The export of the chosen subnet."""

    parity_images: int = Field(256, ge=1)
    # `auto`, and the names of `space.graph_variant`, in one list, so that errors list them once.
    graph_variant: Literal["auto", "direct", "pooled", "blocked"] = "auto"
    precision: Literal["fp32", "int8"] = "fp32"
    calibration_images: int = Field(256, ge=1)
    max_drop: float = Field(0.01, ge=0, le=1)
    quantisation_aware: Literal["auto", "never", "always"] = "auto"


class DeviceConfig(Section):
    """A device, with an optional precision of its models. A device without one is written as its name.

    A device with a `table` has only that latency table, which names it, and is never measured.
    """

    device: str | None = None
    precision: Literal["fp32", "int8"] | None = None
    name: Annotated[str, AfterValidator(file_name)] | None = None
    table: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        if not isinstance(value, str | dict | cls):
            raise ValueError(f"expected a device, or one like {{device: here, precision: int8}}, got {shown(value)}")
        return {"device": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _measured_or_known(self) -> DeviceConfig:
        if self.device is None and self.table is None:
            raise ValueError("expected a device, or a table")
        if self.table is not None and (self.device, self.precision) != (None, None):
            raise ValueError("a table names its device and precision: leave both out")
        return self

    @model_serializer
    def _as_written(self) -> str | dict[str, Any]:
        keys = {"device": self.device, "precision": self.precision, "name": self.name, "table": self.table}
        written = {key: value for key, value in keys.items() if value is not None}
        return self.device if list(written) == ["device"] and self.device is not None else written

    @property
    def source(self) -> str:
        """Return the device or the table, as the config names it."""
        return str(self.device or self.table)
