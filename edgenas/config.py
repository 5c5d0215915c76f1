"""RunConfig: everything a run depends on, frozen and validated. YAML in, resolved YAML out.

Every field's meaning stands beside it in the demo's config, `demo.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from edgenas.budget import BudgetText
from edgenas.errors import ConfigError, UserError, explained, shown
from edgenas.files import SCHEMA_VERSION, check_schema, file_name, read_yaml
from edgenas.objective import parse_objective
from edgenas.plain_yaml import dump_yaml, parse_yaml
from edgenas.space.load import load_space
from edgenas.space.space import SearchSpace


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # Python counts true as 1, and a user who wrote it meant something else.
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError(f"wanted no true or false, got {str(value).lower()}")
        return value


Share = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(gt=0, le=1)]


_SectionT = TypeVar("_SectionT", bound=_Section)


class DataConfig(_Section):
    """Which pictures."""

    name: Literal["digits", "fashion-mnist", "cifar10", "cifar100", "imagefolder"]
    path: Path | None = None
    validation: float = Field(0.15, gt=0, lt=1)
    test: float = Field(0.15, gt=0, lt=1)
    limit: int | None = Field(None, gt=0)
    presize: int | None = Field(None, ge=8, le=1024)
    mean: tuple[Share, Share, Share] = (0.5, 0.5, 0.5)
    std: tuple[Spread, Spread, Spread] = (0.5, 0.5, 0.5)
    crop: float = Field(1.0, ge=0.1, le=1)
    memory_mb: int = Field(4000, ge=0)
    workers: int | None = Field(None, ge=1, le=256)


class AugmentConfig(_Section):
    """What training does to a picture."""

    shift: float = Field(0.1, ge=0, lt=0.5)
    flip: bool = False


class AccuracyConfig(_Section):
    """What tells accuracies instead of a supernet: archs measured by others, or a predictor that was imported."""

    file: str | None = None
    column: str = "top1_percent"
    predictor: Path | None = None
    num_classes: int | None = Field(None, ge=2, le=1_000_000)

    @model_validator(mode="after")
    def _one_of_two(self) -> AccuracyConfig:
        if (self.file is None) == (self.predictor is None):
            raise ValueError("wanted either file (measured accuracies, CSV) or predictor (an imported one)")
        return self


Precision = Literal["auto", "fp32", "bf16"]


class TrainConfig(_Section):
    """How the supernet is taught."""

    recipe: Literal[
        "sandwich", "sandwich-labels", "alpha-divergence", "uniform", "delayed-shrinking", "progressive-shrinking"
    ] = "sandwich"
    init: Path | None = None
    kernel_transforms: bool = False
    epochs: float | None = Field(None, ge=0)
    batch_size: int = Field(64, gt=1)
    subnets_per_step: int = Field(3, ge=2)
    at_a_time: int | None = Field(None, ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.02, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    clip_norm: float | None = Field(None, gt=0)
    average: float | None = Field(None, gt=0, lt=1)
    zero_last_norm: bool = False
    validations: int = Field(5, ge=1, le=1000)
    patience: int | None = Field(None, ge=1)
    precision: Precision = "auto"
    tensorboard: bool = False
    augment: AugmentConfig = AugmentConfig()
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("epochs")
    @classmethod
    def _weights_from_somewhere(cls, epochs: float | None, info: ValidationInfo) -> float | None:
        if epochs == 0 and info.data.get("init") is None:
            raise ValueError("wanted a number above 0 (0 goes with train.init, whose weights are then taken), got 0")
        return epochs


class ProfileConfig(_Section):
    """What is measured for the latency predictor: all of it, or what `minutes` of each device's time hold."""

    base: str | None = None
    minutes: float | None = Field(None, gt=0, le=10_000)
    blocks: int | None = Field(None, ge=1)
    networks: int = Field(24, ge=10, le=10_000)
    rounds: int = Field(24, ge=8, le=100_000)
    coverage: float = Field(0.9, gt=0, lt=1)


ObjectiveText = Annotated[str, AfterValidator(lambda text: str(parse_objective(text)))]


class SearchConfig(_Section):
    """How archs are chosen."""

    # By name as in `search.strategies.by_name`, which lies above this module.
    strategy: Literal[
        "nsga2", "surrogate", "random", "grid", "regularized-evolution", "bayesian", "reinforce", "gradient"
    ] = "nsga2"
    evaluations: int = Field(120, gt=1, le=10_000_000)
    population: int | None = Field(None, gt=1, le=10_000)
    objectives: Annotated[tuple[ObjectiveText, ...], Field(min_length=1)] = ("error", "latency")
    choose: Literal["best", "knee", "weighted"] = "best"
    weights: dict[ObjectiveText, Annotated[float, Field(ge=0)]] | None = None
    initial: Path | None = None
    workers: int = Field(1, ge=1, le=256)
    calibration_images: int = Field(2048, gt=1)
    validation_images: int | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _weighted(self) -> SearchConfig:
        if (self.choose == "weighted") != (self.weights is not None):
            raise ValueError("wanted weights with choose: weighted, and with it alone, like {error: 1, latency: 0.5}")
        return self


class VerifyConfig(_Section):
    """How the front is measured."""

    networks: int = Field(8, ge=1, le=10_000)
    rounds: int = Field(40, ge=8, le=100_000)
    refits: int = Field(2, ge=0, le=100)


class FinetuneConfig(_Section):
    """How the chosen subnet is taught on its own before it is handed over; or taught other pictures than the run's."""

    epochs: float = Field(0.0, ge=0)
    data: DataConfig | None = None
    learning_rate_share: float = Field(0.1, gt=0, le=10)


class ExportConfig(_Section):
    """How the chosen subnet is handed over."""

    parity_images: int = Field(256, ge=1)
    # One flat list, so that errors name it once: `auto`, and the forms of `space.form`.
    form: Literal["auto", "direct", "pooled", "blocked"] = "auto"
    precision: Literal["fp32", "int8"] = "fp32"
    calibration_images: int = Field(256, ge=1)
    max_drop: float = Field(0.01, ge=0, le=1)
    quantisation_aware: Literal["auto", "never", "always"] = "auto"


class DeviceConfig(_Section):
    """Which device; with a precision, the same machine run in that one. A device alone is written as its name.

    A device with a `table` is known by that latency table alone, and never measured; it is called as the table says.
    """

    device: str | None = None
    precision: Literal["fp32", "int8"] | None = None
    name: Annotated[str, AfterValidator(file_name)] | None = None
    table: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        if not isinstance(value, str | dict | cls):
            raise ValueError(f"wanted a device, or one like {{device: here, precision: int8}}, got {shown(value)}")
        return {"device": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _measured_or_known(self) -> DeviceConfig:
        if self.device is None and self.table is None:
            raise ValueError("wanted a device, or a table that one is known by")
        if self.table is not None and (self.device, self.precision) != (None, None):
            raise ValueError("a table says of which device and precision it is: leave these out beside it")
        return self

    @model_serializer
    def _as_written(self) -> str | dict[str, Any]:
        said = {"device": self.device, "precision": self.precision, "name": self.name, "table": self.table}
        written = {key: value for key, value in said.items() if value is not None}
        return self.device if list(written) == ["device"] and self.device is not None else written

    @property
    def said(self) -> str:
        """The device or the table, as the config names it."""
        return str(self.device or self.table)


def _named_or_narrowed(value: Any) -> Any:
    if not isinstance(value, str | dict):
        raise ValueError(f"wanted a preset, a file, or one narrowed like {{preset: mobile-32}}, got {shown(value)}")
    return value


class RunConfig(_Section):
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
            yield "train.init wants data, too: pictures recalibrate batch norm and prove what is exported"
        if self.data is not None and self.train is None:
            yield "with accuracy, data serves the export alone: give its weights, train.init, too, or leave data out"
        if "int8" in {device.precision for device in self.devices}:
            yield "with accuracy, no device can run int8: what that costs in accuracy is told by pictures alone"
        if any(text.startswith("worst_class_error") for text in self.search.objectives):
            yield "search.objectives: worst_class_error is told by pictures alone"
        if self.finetune.epochs and init is None:
            yield "finetune.epochs wants weights (train.init) and pictures (data)"
        if self.export.precision == "int8" and init is None:
            yield "export.precision int8 wants weights (train.init) and pictures (data)"

    @property
    def pictures(self) -> DataConfig:
        """`data`, where the run has pictures."""
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

    def load_space(self) -> SearchSpace:
        """The search space that `space` names and narrows."""
        return load_space(self.space)


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a config file and apply `key.key=value` overrides.

    Raises:
        ConfigError: unknown keys (the closest valid one is named), wrong values.
        SpaceError: the space does not load.
    """
    return build_config(read_yaml(path), str(path), overrides)


def build_config(value: dict[str, Any], origin: str, overrides: Sequence[str] = ()) -> RunConfig:
    """A config from what its YAML holds, with overrides; see `load_config`."""
    for override in overrides:
        _override(value, override)
    config = parse_config(value, origin)
    config.load_space()
    return config


def parse_config(value: Mapping[str, Any], origin: str) -> RunConfig:
    """A RunConfig from the mapping its YAML holds; `origin` stands in messages.

    Raises:
        ConfigError: unknown keys (the closest valid one is named), wrong values.
    """
    if "schema_version" in value:
        check_schema(value, Path(origin))
    try:
        return RunConfig.model_validate(value)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {explained(error.errors(), [*config_keys(), *_sections()])}") from None


def build_section(section: type[_SectionT], value: Mapping[str, Any], origin: str) -> _SectionT:
    """One section of a config from what its YAML holds; `origin` stands in messages.

    Raises:
        ConfigError: unknown keys, wrong values.
    """
    try:
        return section.model_validate(value)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {explained(error.errors())}") from None


def config_keys() -> list[str]:
    """Every key a config may hold, dotted."""
    return list(_keys(RunConfig, ""))


def _keys(section: type[BaseModel], prefix: str) -> list[str]:
    found = []
    for name, info in section.model_fields.items():
        # A section that may be left out is one of two types.
        types = get_args(info.annotation) if isinstance(info.annotation, UnionType) else (info.annotation,)
        inner = [one for one in types if isinstance(one, type) and issubclass(one, BaseModel)]
        found += _keys(inner[0], f"{prefix}{name}.") if inner else [prefix + name]
    return found


def _sections() -> set[str]:
    return {key.rpartition(".")[0] for key in config_keys() if "." in key}


def _override(value: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r}: wanted key=value, like search.evaluations=200")
    *parents, last = key.strip().split(".")
    node: Any = value
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {override!r}: {parent!r} holds no keys, it is {shown(node)}: set it as a whole")
    try:
        node[last] = parse_yaml(text)
    except UserError as error:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML: {error}") from None


def dump_config(config: RunConfig) -> str:
    """The resolved config as YAML, every default written out."""
    return dump_yaml(config.model_dump(mode="json"))
