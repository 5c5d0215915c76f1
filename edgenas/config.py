"""RunConfig: everything a run depends on, frozen and validated. YAML in, resolved YAML out.

Every field's meaning stands beside it in the demo's config, `demo.yaml`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
)

from edgenas.errors import ConfigError, one_of
from edgenas.files import SCHEMA_VERSION, check_schema, read_yaml
from edgenas.space.load import load_space
from edgenas.space.space import SearchSpace

Quantity = Literal["p50", "p95", "macs", "weight_bytes", "peak_activation_bytes"]
TIME_UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6}
COUNT_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
BYTE_UNITS = {"B": 1.0, "kB": 1e3, "MB": 1e6, "KiB": 2.0**10, "MiB": 2.0**20}
PAPER_QUANTITIES = {"macs": COUNT_UNITS, "weight_bytes": BYTE_UNITS, "peak_activation_bytes": BYTE_UNITS}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Budget(_Section):
    """A hard limit: of latency on a device, or of something that no device is asked for.

    Text form: `8ms` (p50 on the first device), `8ms@p95`, `pi4=20ms`, `macs=10M`, `weight_bytes=400kB`,
    `peak_activation_bytes=64KiB`.
    """

    quantity: Quantity
    limit: float
    device: str | None = None

    @property
    def unit(self) -> str:
        """Unit of `limit`: us, bytes or macs."""
        if self.quantity in ("p50", "p95"):
            return "us"
        return "macs" if self.quantity == "macs" else "bytes"

    def on(self, devices: Sequence[str]) -> Budget:
        """The same budget with its device named: by default the first of `devices`.

        Raises:
            ConfigError: its device is none of them.
        """
        if self.unit != "us":
            return self
        device = self.device or devices[0]
        if device not in devices:
            raise ConfigError(f"budget {self}: this run has no device {device!r}; {one_of(device, devices)}")
        return self.model_copy(update={"device": device})

    def __str__(self) -> str:
        if self.unit == "us":
            device = f"{self.device}=" if self.device else ""
            quantile = "" if self.quantity == "p50" else f"@{self.quantity}"
            return f"{device}{_positional(self.limit / 1e3)}ms{quantile}"
        return f"{self.quantity}={_positional(self.limit)}{'B' if self.unit == 'bytes' else ''}"


def _positional(value: float) -> str:
    """A number without an exponent, which a budget's text has no room for."""
    return np.format_float_positional(float(f"{value:.12g}"), trim="-")


def parse_budget(text: str) -> Budget:
    """Read a budget's text form.

    Raises:
        ConfigError: no unit, an unknown one, or a limit that is not a positive number.
    """
    name, _, amount = text.strip().rpartition("=")
    amount, _, quantile = amount.partition("@")
    if name in PAPER_QUANTITIES:
        units, quantity, device = PAPER_QUANTITIES[name], name, None
    else:
        units, quantity, device = TIME_UNITS_US, quantile or "p50", name or None
    if name in PAPER_QUANTITIES and quantile:
        raise ConfigError(f"budget {text!r}: {name} has no quantile: leave @{quantile} out")
    if name not in PAPER_QUANTITIES and quantity not in ("p50", "p95"):
        raise ConfigError(f"budget {text!r}: unknown quantile {quantile!r}; valid: p50, p95")
    match = re.fullmatch(r"([-+.\d]*|nan|inf)\s*([A-Za-z]*)", amount.strip())
    if not match or match[2] not in units:
        valid = ", ".join(unit or "(none)" for unit in units)
        raise ConfigError(f"budget {text!r}: wanted a number with a unit, one of {valid} (like 8ms or macs=10M)")
    limit = _number(match[1], text) * units[match[2]]
    return Budget.model_validate({"quantity": quantity, "limit": limit, "device": device})


def _number(number: str, text: str) -> float:
    try:
        value = float(number)
    except ValueError:
        raise ConfigError(f"budget {text!r}: {number!r} is not a number; write it like 8ms or pi4=20ms@p95") from None
    if not math.isfinite(value) or value <= 0:
        raise ConfigError(f"budget {text!r}: wanted a limit above zero")
    return value


def _budget(value: Any) -> Any:
    return parse_budget(value) if isinstance(value, str) else value


BudgetText = Annotated[Budget, BeforeValidator(_budget), PlainSerializer(str)]


class DataConfig(_Section):
    """Which pictures."""

    name: Literal["digits", "fashion-mnist"]
    path: Path | None = None
    validation: float = Field(0.15, gt=0, lt=1)
    limit: int | None = Field(None, gt=0)


class AugmentConfig(_Section):
    """What training does to a picture."""

    shift: float = Field(0.1, ge=0, lt=0.5)
    flip: bool = False


class TrainConfig(_Section):
    """How the supernet is taught."""

    epochs: float = Field(gt=0)
    batch_size: int = Field(64, gt=1)
    subnets_per_step: int = Field(3, ge=2)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.02, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    augment: AugmentConfig = AugmentConfig()
    device: Literal["auto", "cpu", "cuda"] = "auto"


class ProfileConfig(_Section):
    """What is measured for the latency predictor."""

    blocks: int | None = Field(None, ge=1)
    networks: int = Field(24, ge=12)
    rounds: int = Field(24, ge=8)
    coverage: float = Field(0.9, gt=0, lt=1)


class SearchConfig(_Section):
    """How archs are chosen."""

    strategy: Literal["nsga2", "random"] = "nsga2"
    evaluations: int = Field(120, gt=1)
    population: int = Field(12, gt=1)
    calibration_images: int = Field(512, gt=1)
    validation_images: int | None = Field(None, gt=0)


class VerifyConfig(_Section):
    """How the front is measured."""

    networks: int = Field(8, ge=1)
    rounds: int = Field(40, ge=8)


class ExportConfig(_Section):
    """How the chosen subnet is handed over."""

    parity_images: int = Field(256, ge=1)


class RunConfig(_Section):
    """One whole run."""

    schema_version: int = Field(SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    name: str = Field(min_length=1, pattern=r"^\w[\w.-]*$")
    seed: int = Field(0, ge=0)
    space: str | dict[str, Any]
    data: DataConfig
    train: TrainConfig
    devices: tuple[str, ...] = Field(("here",), min_length=1)
    budgets: tuple[BudgetText, ...] = ()
    profile: ProfileConfig = ProfileConfig()
    search: SearchConfig = SearchConfig()
    verify: VerifyConfig = VerifyConfig()
    export: ExportConfig = ExportConfig()

    @field_validator("devices")
    @classmethod
    def _distinct(cls, devices: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(devices)) != len(devices):
            raise ValueError("wanted each device once")
        return devices

    def load_space(self) -> SearchSpace:
        """The search space that `space` names and narrows."""
        return load_space(self.space)


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a config file and apply `key.key=value` overrides.

    Raises:
        ConfigError: unknown keys (the closest valid one is named), wrong values.
        SpaceError: the space does not load.
    """
    value = read_yaml(path)
    if "schema_version" in value:
        check_schema(value, path)
    for override in overrides:
        _override(value, override)
    config = parse_config(value, str(path))
    config.load_space()
    return config


def parse_config(value: Mapping[str, Any], origin: str) -> RunConfig:
    """A RunConfig from the mapping its YAML holds; `origin` stands in messages.

    Raises:
        ConfigError: unknown keys (the closest valid one is named), wrong values.
    """
    try:
        return RunConfig.model_validate(value)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_explain(error)}") from None


def config_keys() -> list[str]:
    """Every key a config may hold, dotted."""
    return list(_keys(RunConfig, ""))


def _keys(section: type[BaseModel], prefix: str) -> list[str]:
    found = []
    for name, info in section.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found += _keys(annotation, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def _sections() -> set[str]:
    return {key.rpartition(".")[0] for key in config_keys() if "." in key}


def _explain(error: ValidationError) -> str:
    messages = []
    for problem in error.errors():
        place = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            messages.append(f"unknown key {place!r}; {one_of(place, [*config_keys(), *_sections()])}")
        elif problem["type"] == "missing":
            messages.append(f"{place} is missing")
        else:
            messages.append(f"{place}: {problem['msg']}, got {problem['input']!r}")
    return "; ".join(messages)


def _override(value: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r}: wanted key=value, like search.evaluations=200")
    *parents, last = key.strip().split(".")
    node: Any = value
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {override!r}: {parent!r} holds no keys; {one_of(key, config_keys())}")
    try:
        node[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML: {error}") from None


def dump_config(config: RunConfig) -> str:
    """The resolved config as YAML, every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
