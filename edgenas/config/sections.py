"""The sections of a config. `demo.yaml` explains every field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from edgenas.config.section import Section
from edgenas.errors import shown
from edgenas.files import file_name
from edgenas.objective import Objective, ObjectiveText
from edgenas.quantities import ERROR, LATENCY
from edgenas.space.arch import NETWORK_NAME

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
