"""Budgets: hard limits, and their text form."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from edgenas.errors import ConfigError, one_of, shown
from edgenas.files import FILE_NAME


@dataclass(frozen=True)
class Units:
    """Units by their sizes, the one that a number without any most likely is in, and a budget as an example."""

    sizes: Mapping[str, float]
    usual: str
    example: str


TIME_QUANTITIES = ("p50", "p95")
MICROSECONDS = Units({"us": 1.0, "ms": 1e3, "s": 1e6}, "ms", "8ms")
MACS = Units({"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}, "", "macs=10M")
BYTES = Units({"B": 1.0, "kB": 1e3, "MB": 1e6, "KiB": 2.0**10, "MiB": 2.0**20}, "B", "weight_bytes=400kB")
PAPER_QUANTITIES = {"macs": MACS, "weight_bytes": BYTES, "peak_activation_bytes": BYTES}


class Budget(BaseModel):
    """A hard limit: of latency on a device, or of something that no device is asked for.

    Text form: `8ms` (p50 on the first device), `8ms@p95`, `pi4=20ms`, `macs=10M`, `weight_bytes=400kB`,
    `peak_activation_bytes=64KiB`. Spaces around the number and exponents (`macs=1e7`) are fine, and so is µs for us.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    quantity: Literal["p50", "p95", "macs", "weight_bytes", "peak_activation_bytes"]
    limit: float = Field(gt=0)
    device: str | None = None

    @property
    def unit(self) -> str:
        """Unit of `limit`: us, bytes or macs."""
        if self.quantity in TIME_QUANTITIES:
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
    try:
        return _parsed(text.strip())
    except ValueError as error:
        raise ConfigError(f"budget {shown(text)}: {error}") from None


def _parsed(text: str) -> Budget:
    name, equals, amount = text.rpartition("=")
    amount, at, quantile = amount.partition("@")
    name, quantile = name.strip(), quantile.strip()
    on_paper = name in PAPER_QUANTITIES
    if equals and not on_paper and not re.fullmatch(FILE_NAME, name):
        raise ValueError(f"{shown(name)} is no name of a device, nor one of {', '.join(PAPER_QUANTITIES)}")
    if on_paper and at:
        raise ValueError(f"{name} has no quantile: leave @{quantile[:20]} out")
    if at and quantile not in TIME_QUANTITIES:
        raise ValueError(f"unknown quantile {shown(quantile)}; {one_of(quantile, TIME_QUANTITIES)}")
    limit = _limit(amount.strip(), PAPER_QUANTITIES.get(name, MICROSECONDS), name)
    if on_paper:
        return Budget.model_validate({"quantity": name, "limit": limit})
    return Budget.model_validate({"quantity": quantile or "p50", "limit": limit, "device": name or None})


def _limit(amount: str, units: Units, name: str) -> float:
    """The number of a budget, in microseconds, MACs or bytes."""
    match = re.fullmatch(r"([-+]?(?:[0-9.,]+(?:[eE][-+]?[0-9]+)?|nan|inf)?)\s*([^\W\d]*)", amount)
    number, unit = match.groups() if match else ("", "")
    # Two characters look like the micro sign: its own, and the Greek letter.
    unit = unit.replace("\u00b5", "u").replace("\u03bc", "u")
    if match is None or unit not in units.sizes:
        raise ValueError(f"wanted a number with a unit, {_hint(number, unit, units, name)}")
    try:
        limit = float(number) * units.sizes[unit]
    except ValueError:
        raise ValueError(f"{shown(number)} is not a number; write it like 0.5ms or macs=1.5M") from None
    if not math.isfinite(limit) or limit <= 0:
        raise ValueError(f"wanted a finite limit above zero, like {units.example}")
    return limit


def _hint(number: str, unit: str, units: Units, name: str) -> str:
    """Which units there are, and what was probably meant."""
    likely = [valid for valid in units.sizes if unit and valid.lower() == unit.lower()] or [units.usual] * (not unit)
    quantity = [] if name in PAPER_QUANTITIES else get_close_matches(name, PAPER_QUANTITIES, n=1)
    meant = f"{quantity[0]}={number}{unit}" if quantity else f"{name}{'=' * bool(name)}{number}{''.join(likely)}"
    hint = f"did you mean {meant}? " if number[-1:].isdigit() and (quantity or likely) and len(meant) < 80 else ""
    return f"{hint}one of {', '.join(valid or '(none)' for valid in units.sizes)} (like {units.example})"


def _budget(value: Any) -> Any:
    if isinstance(value, Budget):
        return value
    if not isinstance(value, str):
        raise ConfigError(f"wanted a text like 8ms, pi4=20ms@p95 or macs=10M, got {shown(value)}")
    return parse_budget(value)


BudgetText = Annotated[Budget, BeforeValidator(_budget), PlainSerializer(str)]
