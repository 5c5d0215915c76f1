"""Budgets: hard limits on a quantity, and their text form."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from edgenas.errors import ConfigError, one_of, shown
from edgenas.files import FILE_NAME
from edgenas.quantities import BUDGET_NAMES, LATENCY, QUANTITIES, Quantity, resolve_device

BY_STATISTIC: dict[str, Quantity] = {each.statistic: each for each in QUANTITIES.values() if each.statistic}
"""Quantities that budgets name by a statistic of latency: `8ms@p95`."""


@dataclass(frozen=True)
class Budget:
    """A hard upper limit on a quantity.

    Text form: `8ms` (p50 on the first device), `8ms@p95`, `pi4=20ms`, `macs=10M`, `weight_bytes=400kB`,
    `peak_activation_bytes=64KiB`. `QUANTITY@DEVICE=AMOUNT`, like `latency@pi4=20ms`, is the same as `pi4=20ms`. Spaces
    around the number and exponents (`macs=1e7`) are fine, and so is µs for us.

    Attributes:
        quantity: the quantity that is limited; none that is scored on images.
        limit: the greatest value allowed, in the quantity's unit, above 0.
        device: the device of a measured quantity; None for the first device of the run.
    """

    quantity: Quantity
    limit: float
    device: str | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.limit) and self.limit > 0):
            raise ConfigError(f"budget on {self.quantity.name}: expected a finite limit above 0, got {self.limit}")
        if not self.quantity.limitable:
            raise ConfigError(f"{self.quantity.name} cannot have a budget; valid: {', '.join(BUDGET_NAMES)}")
        if self.device is not None and not self.quantity.per_device:
            raise ConfigError(f"budget on {self.quantity.name}: expected no device, got {self.device!r}")

    def on(self, devices: Sequence[str]) -> Budget:
        """Return the same budget with its device named, by default the first of `devices`.

        Raises:
            ConfigError: its device is none of them, or no device measures its quantity.
        """
        return replace(self, device=resolve_device(f"budget {self}", self.quantity, self.device, devices, BUDGET_NAMES))

    def __str__(self) -> str:
        amount = self.quantity.unit.text(self.limit)
        if self.quantity.statistic is None:
            device = f"@{self.device}" if self.device else ""
            return f"{self.quantity.name}{device}={amount}"
        device = f"{self.device}=" if self.device else ""
        return f"{device}{amount}" if self.quantity == LATENCY else f"{device}{amount}@{self.quantity.statistic}"

    @property
    def subject(self) -> str:
        """The limited quantity and its device in words: `p50 on pi4`."""
        return f"{self.quantity.label} on {self.device}" if self.device else self.quantity.label

    @property
    def name(self) -> str:
        """A short name for figures of one device: `p50 budget 8.000 ms`."""
        return f"{self.quantity.label} budget {self.quantity.unit.format(self.limit)}"

    @property
    def words(self) -> str:
        """The budget as reports and tables show it: `p50 on pi4 ≤ 8.000 ms`."""
        return f"{self.subject} ≤ {self.quantity.unit.format(self.limit)}"


def parse_budget(text: str) -> Budget:
    """Return the budget that a text states; see `Budget` for its form.

    Raises:
        ConfigError: no unit, an unknown one, or a limit that is not a positive number.
    """
    try:
        return _parse(text.strip())
    except ValueError as error:
        raise ConfigError(f"budget {shown(text)}: {error}") from None


def _parse(text: str) -> Budget:
    target, equals, amount = text.rpartition("=")
    amount, at, statistic = (part.strip() for part in amount.partition("@"))
    target = target.strip()
    name, _, device = (part.strip() for part in target.partition("@"))
    if name in QUANTITIES:
        quantity = QUANTITIES[name]
        if at:
            raise ValueError(f"expected no statistic after {name}: leave @{statistic[:20]} out")
        if not quantity.limitable:
            raise ValueError(f"{name} cannot have a budget; {one_of(name, BUDGET_NAMES)}")
        if "@" in target and not (quantity.per_device and device):
            raise ValueError("only measured quantities can name a device, like latency@pi4=20ms")
    else:
        device = target
        if equals and not re.fullmatch(FILE_NAME, device):
            raise ValueError(f"{shown(device)} is no name of a device, nor one of {', '.join(BUDGET_NAMES)}")
        if at and statistic not in BY_STATISTIC:
            raise ValueError(f"unknown statistic {shown(statistic)}; {one_of(statistic, BY_STATISTIC)}")
        quantity = BY_STATISTIC[statistic] if at else LATENCY
    return Budget(quantity, _parse_limit(amount, quantity, target), device or None)


def _parse_limit(amount: str, quantity: Quantity, target: str) -> float:
    """Return the limit that a text like `8ms` states, in the quantity's unit."""
    unit = quantity.unit
    match = re.fullmatch(r"([-+]?(?:[0-9.,]+(?:[eE][-+]?[0-9]+)?|nan|inf)?)\s*([^\W\d]*)", amount)
    number, suffix = match.groups() if match else ("", "")
    # Two characters look like the micro sign: its own, and the Greek letter.
    suffix = suffix.replace("\u00b5", "u").replace("\u03bc", "u")
    if match is None or suffix not in unit.sizes:
        raise ValueError(f"expected a number with a unit, {_hint(number, suffix, quantity, target)}")
    limit = unit.value(number, suffix)
    if not math.isfinite(limit) or limit <= 0:
        raise ValueError(f"expected a finite limit above zero, like {quantity.example}")
    return limit


def _hint(number: str, suffix: str, quantity: Quantity, target: str) -> str:
    """Return the valid units, and the budget that was probably meant."""
    unit = quantity.unit
    likely = [valid for valid in unit.sizes if valid.lower() == suffix.lower()] if suffix else [unit.suffix]
    names = [] if target in QUANTITIES else get_close_matches(target, BUDGET_NAMES, n=1)
    if names:
        meant = f"{names[0]}={number}{suffix}"
    else:
        lead = f"{target}=" if target else ""
        meant = f"{lead}{number}{''.join(likely)}"
    valid = f"one of {', '.join(each or '(none)' for each in unit.sizes)} (like {quantity.example})"
    sure = number[-1:].isdigit() and (names or likely) and len(meant) < 80
    return f"did you mean {meant}? {valid}" if sure else valid


def _validate(value: Any) -> Budget:
    if isinstance(value, Budget):
        return value
    if not isinstance(value, str):
        raise ConfigError(f"expected a text like 8ms, pi4=20ms@p95 or macs=10M, got {shown(value)}")
    return parse_budget(value)


BudgetText = Annotated[Budget, PlainValidator(_validate), PlainSerializer(str)]
"""A budget as a field of a config or a file: its text there, a `Budget` in Python."""
