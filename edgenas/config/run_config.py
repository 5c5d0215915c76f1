"""RunConfig: everything a run depends on, frozen and validated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from edgenas.budget import BudgetText
from edgenas.config.sections import (
    AccuracyConfig,
    DataConfig,
    DeviceConfig,
    ExportConfig,
    FinetuneConfig,
    ProfileConfig,
    SearchConfig,
    Section,
    TrainConfig,
    VerifyConfig,
)
from edgenas.errors import shown
from edgenas.files import SCHEMA_VERSION, file_name
from edgenas.objective import Objective
from edgenas.quantities import WORST_CLASS_ERROR
from edgenas.space.loading import load_space
from edgenas.space.space import SearchSpace


def _named_or_narrowed(value: Any) -> Any:
    if not isinstance(value, str | dict):
        raise ValueError(f"wanted a preset, a file, or one narrowed like {{preset: mobile-32}}, got {shown(value)}")
    return value


class RunConfig(Section):
    """One whole run."""

    schema_version: int = Field(SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    name: Annotated[str, AfterValidator(file_name)]
    seed: int = Field(0, ge=0, lt=2**32)
    space: Annotated[str | dict[str, Any], BeforeValidator(_named_or_narrowed)]
    accuracy: AccuracyConfig | None = None
    num_classes: int | None = Field(None, ge=2, le=1_000_000)
    data: DataConfig | None = Field(None, validate_default=True)
    train: TrainConfig | None = Field(None, validate_default=True)
    devices: tuple[DeviceConfig, ...] = Field((DeviceConfig(device="here"),), min_length=1)
    budgets: tuple[BudgetText, ...] = ()
    profile: ProfileConfig = ProfileConfig()
    search: SearchConfig = SearchConfig()
    verify: VerifyConfig = VerifyConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    export: ExportConfig = ExportConfig()

    @model_validator(mode="before")
    @classmethod
    def _recipe_by_budgets(cls, value: Any) -> Any:
        """Where budgets are asked for, the supernet is trained what they allow, unless a recipe is named."""
        train = value.get("train") if isinstance(value, dict) else None
        if not isinstance(train, dict) or train.get("recipe") is not None:
            return value
        tuned = value.get("finetune")
        wants_largest = isinstance(tuned, dict) and tuned.get("teacher") == "largest"
        if not value.get("budgets") or not train.get("epochs") or wants_largest:
            return value
        return {**value, "train": {**train, "recipe": "within-budgets"}}

    @field_validator("devices")
    @classmethod
    def _distinct(cls, devices: tuple[DeviceConfig, ...]) -> tuple[DeviceConfig, ...]:
        if len(set(devices)) != len(devices):
            raise ValueError("wanted each device once")
        return devices

    @field_validator("data", "train")
    @classmethod
    def _wanted_for_a_supernet(cls, section: Any, info: ValidationInfo) -> Any:
        if info.data.get("accuracy", "broken") is None and info.data.get("num_classes", "broken") is None:
            if section is None:
                raise PydanticCustomError("missing", "missing")
            if isinstance(section, TrainConfig) and section.epochs is None:
                raise PydanticCustomError("missing", "missing", {"key": "epochs"})
        return section

    @model_validator(mode="after")
    def _fits_accuracy(self) -> RunConfig:
        if self.accuracy and (problems := list(self._contradictions())):
            raise ValueError("; ".join(problems))
        return self

    @model_validator(mode="after")
    def _budgets_to_keep_within(self) -> RunConfig:
        within = self.train and self.train.recipe == "within-budgets" and self.train.epochs
        if within and self.finetune.teacher == "largest":
            raise ValueError("finetune.teacher largest wants another train.recipe: within-budgets never trains it")
        return self

    @model_validator(mode="after")
    def _profiled_alone(self) -> RunConfig:
        if self.num_classes is not None and (self.accuracy, self.data, self.train) != (None, None, None):
            raise ValueError("num_classes is for profiling alone: accuracy, data and train say it themselves")
        return self

    def _contradictions(self) -> Iterator[str]:
        """What a run without a supernet of its own has no use for."""
        init = self.train.init if self.train else None
        if self.train and init is None:
            yield "with accuracy nothing is trained: of train, only init (weights to export) is of use"
        if init is not None and self.data is None:
            yield "train.init wants data, too: images recalibrate batch norm and prove what is exported"
        if self.data is not None and self.train is None:
            yield "with accuracy, data serves the export alone: give its weights, train.init, too, or leave data out"
        if "int8" in {device.precision for device in self.devices}:
            yield "with accuracy, no device can run int8: what that costs in accuracy is told by images alone"
        if Objective(WORST_CLASS_ERROR) in self.search.objectives:
            yield "search.objectives: worst_class_error is told by images alone"
        if self.finetune.epochs and init is None:
            yield "finetune.epochs wants weights (train.init) and images (data)"
        if self.export.precision == "int8" and init is None:
            yield "export.precision int8 wants weights (train.init) and images (data)"

    @property
    def images(self) -> DataConfig:
        """`data`, where the run has images."""
        assert self.data is not None
        return self.data

    @property
    def training(self) -> TrainConfig:
        """`train`, where the run has a supernet."""
        assert self.train is not None
        return self.train

    @property
    def has_weights(self) -> bool:
        """Whether the run has a supernet: one it trains, or one it is given."""
        return self.train is not None

    @property
    def finetunes(self) -> bool:
        """Whether the chosen subnet is trained on its own: where that is asked for, or its supernet is trained here."""
        if self.finetune.epochs is not None:
            return self.finetune.epochs > 0
        return self.accuracy is None and self.train is not None and bool(self.train.epochs)

    def load_space(self) -> SearchSpace:
        """The search space that `space` names and narrows."""
        return load_space(self.space)
