"""The table of quantities: everything that can be an objective or a budget, with its unit and its text forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from edgenas.errors import ConfigError, one_of

Source = Literal["scored", "computed", "measured"]
"""How a value is obtained: scored on images, computed from the architecture, or measured on a device."""
Statistic = Literal["p50", "p95"]
"""A statistic of the latencies that a measurement holds."""
BYTE_PREFIXES = ("B", "kB", "MB", "GB")
COUNT_PREFIXES = ("", "k", "M", "G", "T")
ENERGY_PREFIXES = ("µJ", "mJ", "J")


def milliseconds(value_us: float) -> str:
    """Return microseconds as milliseconds with three or four figures and no unit: `0.412`, `12.35`, `123.4`."""
    value = value_us / 1e3
    decimals = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1
    return f"{value:.{decimals}f}"


def format_milliseconds(value_us: float) -> str:
    """Return microseconds as milliseconds with three or four figures: `0.412 ms`, `12.35 ms`, `123.4 ms`."""
    return f"{milliseconds(value_us)} ms"


def format_percent(fraction: float) -> str:
    """Return a fraction in percent: `94.2 %`."""
    return f"{100 * fraction:.1f} %"


def format_count(value: float) -> str:
    """Return a count with a decimal prefix: `812`, `12.3 k`, `4.56 M`."""
    return _with_prefix(value, COUNT_PREFIXES)


def format_bytes(value: float) -> str:
    """Return bytes with a decimal prefix: `812 B`, `64 kB`."""
    return _with_prefix(value, BYTE_PREFIXES)


def format_energy(value_uj: float) -> str:
    """Return microjoules with a decimal prefix: `812 µJ`, `1.2 mJ`."""
    return _with_prefix(value_uj, ENERGY_PREFIXES)


def _with_prefix(value: float, prefixes: Sequence[str]) -> str:
    step = 0
    while abs(value) >= 999.5 and step < len(prefixes) - 1:
        value, step = value / 1e3, step + 1
    digits = f"{value:.0f}" if step == 0 else f"{value:.3g}"
    return f"{digits} {prefixes[step]}".rstrip()


@dataclass(frozen=True)
class Unit:
    """A unit, and the two text forms of its values.

    Attributes:
        name: the unit in files and column names.
        format: returns a value as reports and tables show it, rounded and with a unit.
        sizes: number of `name` in each suffix that a budget may be written with.
        suffix: suffix of the canonical text form, and of the suggestion where a suffix is missing.
    """

    name: str
    format: Callable[[float], str]
    sizes: Mapping[str, int]
    suffix: str

    def text(self, value: float) -> str:
        """Return the canonical text of a value: exact, without an exponent, `0.4ms`; `value` reads it back."""
        number = Decimal(repr(float(value))) / self.sizes[self.suffix]
        return f"{number.normalize():f}{self.suffix}"

    def value(self, number: str, suffix: str) -> float:
        """Return the value that a number with a suffix states.

        Raises:
            ValueError: `number` is not a number.
        """
        try:
            return float(Decimal(number) * self.sizes[suffix])
        except ArithmeticError:
            raise ValueError(f"{number!r} is not a number") from None


FRACTION = Unit("fraction", format_percent, {"": 1}, "")
MICROSECONDS = Unit("us", format_milliseconds, {"us": 1, "ms": 10**3, "s": 10**6}, "ms")
MAC_COUNT = Unit("macs", format_count, {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}, "")
MICROJOULES = Unit("uj", format_energy, {"uJ": 1, "mJ": 10**3, "J": 10**6}, "uJ")
BYTES = Unit("bytes", format_bytes, {"B": 1, "kB": 10**3, "MB": 10**6, "KiB": 2**10, "MiB": 2**20}, "B")


@dataclass(frozen=True)
class Quantity:
    """Something that a search minimises or a budget limits. Smaller is better.

    Attributes:
        name: its name in configs and on the command line.
        column: its name in files, with the unit.
        label: its name in reports, tables and messages.
        unit: the unit of its values.
        source: how values are obtained. A measured quantity has a value of its own on each device.
        example: a budget on it; empty where budgets cannot limit it.
        statistic: the statistic of a latency measurement that it is; None where no device measures it.
    """

    name: str
    column: str = field(compare=False)
    label: str = field(compare=False)
    unit: Unit = field(compare=False)
    source: Source = field(compare=False)
    example: str = field(default="", compare=False)
    statistic: Statistic | None = field(default=None, compare=False)

    @property
    def per_device(self) -> bool:
        """Whether each device has a value of its own."""
        return self.source == "measured"

    @property
    def available(self) -> bool:
        """Whether edgenas can obtain values of it."""
        return not self.per_device or self.statistic is not None

    @property
    def limitable(self) -> bool:
        """Whether a budget can limit it: no image has to be scored for it."""
        return self.source != "scored"


ERROR = Quantity("error", "error", "error", FRACTION, "scored")
WORST_CLASS_ERROR = Quantity("worst_class_error", "worst_class_error", "worst-class error", FRACTION, "scored")
BALANCED_ERROR = Quantity("balanced_error", "balanced_error", "balanced error", FRACTION, "scored")
LATENCY = Quantity("latency", "latency_us", "p50", MICROSECONDS, "measured", "8ms", "p50")
P95 = Quantity("p95", "p95_us", "p95", MICROSECONDS, "measured", "8ms@p95", "p95")
ENERGY = Quantity("energy_uj", "energy_uj", "energy", MICROJOULES, "measured", "energy_uj=500uJ")
MACS = Quantity("macs", "macs", "MACs", MAC_COUNT, "computed", "macs=10M")
WEIGHT_BYTES = Quantity("weight_bytes", "weight_bytes", "weights", BYTES, "computed", "weight_bytes=400kB")
PEAK_ACTIVATION_BYTES = Quantity(
    "peak_activation_bytes",
    "peak_activation_bytes",
    "peak activations",
    BYTES,
    "computed",
    "peak_activation_bytes=64KiB",
)

QUANTITIES: Mapping[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        ERROR,
        WORST_CLASS_ERROR,
        BALANCED_ERROR,
        LATENCY,
        P95,
        ENERGY,
        MACS,
        WEIGHT_BYTES,
        PEAK_ACTIVATION_BYTES,
    )
}
"""Every quantity by name. A new one is added here, and where it is scored, computed or measured."""
OBJECTIVE_NAMES = [name for name, quantity in QUANTITIES.items() if quantity.available]
"""The names that an objective can have."""
BUDGET_NAMES = [name for name in OBJECTIVE_NAMES if QUANTITIES[name].limitable]
"""The names of quantities that a budget can limit."""


def resolve_device(
    subject: str, quantity: Quantity, device: str | None, devices: Sequence[str], valid: Sequence[str]
) -> str | None:
    """Return the device that a budget or an objective refers to, by default the first; None if it depends on none.

    Args:
        subject: the budget or the objective, for messages.
        quantity: the quantity that it limits or minimises.
        device: the device that it names, if any.
        devices: the devices of the run or the bundle, at least one.
        valid: names of the quantities that could be used instead.

    Raises:
        ConfigError: `device` is none of `devices`, or no device measures the quantity.
    """
    if not quantity.per_device:
        return None
    chosen = device or devices[0]
    if chosen not in devices:
        raise ConfigError(f"{subject}: this run has no device {chosen!r}; {one_of(chosen, devices)}")
    if not quantity.available:
        raise ConfigError(
            f"{subject}: expected a quantity that {chosen} measures, but no device measures {quantity.label} yet; "
            f"valid: {', '.join(valid)}"
        )
    return chosen
