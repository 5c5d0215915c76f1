"""Objectives: what a search trades against each other, and their text form. All are minimised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgenas.budget import PAPER_QUANTITIES
from edgenas.errors import ConfigError, one_of, shown

SCORED = ("error", "worst_class_error")
"""Quantities that a subnet has to be scored on images for; all others are computed."""
TIMES = {"latency": "p50", "p95": "p95"}
"""Quantities that every device has of its own, and the quantile they are."""


@dataclass(frozen=True)
class ObjectiveName:
    """Which objective; a quantity in time without a device is one of each device.

    Text form: `error`, `worst_class_error`, `latency`, `latency@pi4`, `p95@pi4`, `weight_bytes`,
    `peak_activation_bytes`, `macs`.
    """

    quantity: str
    device: str | None = None

    @property
    def scored(self) -> bool:
        """Whether a subnet has to be scored on images for it."""
        return self.quantity in SCORED

    @property
    def quantile(self) -> str:
        """Of a quantity in time: p50 or p95."""
        return TIMES[self.quantity]

    @property
    def unit(self) -> str:
        """Of its values: fraction, us, bytes or macs."""
        if self.scored:
            return "fraction"
        if self.quantity in TIMES:
            return "us"
        return "macs" if self.quantity == "macs" else "bytes"

    @property
    def key(self) -> str:
        """Its name in files, with the unit: `latency_us@pi4`."""
        return f"{self.quantity}_us@{self.device}" if self.quantity in TIMES else self.quantity

    def on(self, devices: Sequence[str]) -> tuple[ObjectiveName, ...]:
        """This objective, on each of `devices` where it is to be one of each.

        Raises:
            ConfigError: its device is none of them.
        """
        if self.quantity not in TIMES:
            return (self,)
        if self.device is None:
            return tuple(replace(self, device=device) for device in devices)
        if self.device not in devices:
            raise ConfigError(
                f"objective {self}: this run has no device {self.device!r}; {one_of(self.device, devices)}"
            )
        return (self,)

    def __str__(self) -> str:
        return self.quantity if self.device is None else f"{self.quantity}@{self.device}"


def parse_objective(text: str) -> ObjectiveName:
    """Read an objective's text form.

    Raises:
        ConfigError: an unknown quantity, or a device for one that no device is asked for.
    """
    quantity, at, device = text.strip().partition("@")
    valid = [*SCORED, *TIMES, *PAPER_QUANTITIES]
    if quantity not in valid:
        raise ConfigError(f"objective {shown(text)}: unknown quantity {shown(quantity)}; {one_of(quantity, valid)}")
    if at and (quantity not in TIMES or not device):
        raise ConfigError(f"objective {shown(text)}: only {' and '.join(TIMES)} are of a device, like latency@pi4")
    return ObjectiveName(quantity, device or None)


def objectives_on(texts: Sequence[str], devices: Sequence[str]) -> tuple[ObjectiveName, ...]:
    """The objectives that texts name on a run's devices: those that are scored first, else in the texts' order.

    Raises:
        ConfigError: one stands twice, none is scored, or a device is not the run's.
    """
    names = [name for text in texts for name in parse_objective(text).on(devices)]
    repeated = sorted({str(name) for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"search.objectives: wanted each objective once, got {', '.join(repeated)} more than once")
    if not any(name.scored for name in names):
        raise ConfigError(f"search.objectives: wanted {' or '.join(SCORED)} among them, got {', '.join(texts)}")
    return tuple(sorted(names, key=lambda name: not name.scored))
