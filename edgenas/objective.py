"""Objectives: the quantities that a search trades against each other, and their text form. All are minimised."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from edgenas.errors import ConfigError, one_of, shown
from edgenas.quantities import OBJECTIVE_NAMES, QUANTITIES, Quantity, resolve_device


@dataclass(frozen=True)
class Objective:
    """A quantity that a search minimises.

    Text form: `error`, `worst_class_error`, `balanced_error`, `latency`, `latency@pi4`, `p95@pi4`, `weight_bytes`,
    `peak_activation_bytes`, `macs`.

    Attributes:
        quantity: the quantity.
        device: the device of a measured quantity; None for one objective on each device of the run.
    """

    quantity: Quantity
    device: str | None = None

    @property
    def scored(self) -> bool:
        """Whether subnets have to be scored on images for it."""
        return self.quantity.source == "scored"

    @property
    def key(self) -> str:
        """Its name in files, with the unit: `latency_us@pi4`."""
        return f"{self.quantity.column}@{self.device}" if self.device else self.quantity.column

    def on(self, devices: Sequence[str]) -> tuple[Objective, ...]:
        """Return this objective with its device named; without one, the objective on each of `devices`.

        Raises:
            ConfigError: its device is none of them, or no device measures its quantity.
        """
        if not self.quantity.per_device:
            return (self,)
        names = devices if self.device is None else [self.device]
        subject = f"objective {self}"
        return tuple(
            replace(self, device=resolve_device(subject, self.quantity, name, devices, OBJECTIVE_NAMES))
            for name in names
        )

    def __str__(self) -> str:
        return f"{self.quantity.name}@{self.device}" if self.device else self.quantity.name


def parse_objective(text: str) -> Objective:
    """Return the objective that a text states; see `Objective` for its form.

    Raises:
        ConfigError: an unknown quantity, or a device for a quantity that is not measured.
    """
    name, at, device = text.strip().partition("@")
    if name not in QUANTITIES:
        raise ConfigError(f"objective {shown(text)}: unknown quantity {shown(name)}; {one_of(name, OBJECTIVE_NAMES)}")
    quantity = QUANTITIES[name]
    if at and not (quantity.per_device and device):
        measured = ", ".join(name for name in OBJECTIVE_NAMES if QUANTITIES[name].per_device)
        raise ConfigError(f"objective {shown(text)}: only {measured} can name a device, like latency@pi4")
    return Objective(quantity, device or None)


def resolve_objectives(objectives: Iterable[Objective], devices: Sequence[str]) -> tuple[Objective, ...]:
    """Return objectives on the devices of a run: those that are scored first, the others in their order.

    Raises:
        ConfigError: one is given twice, none is scored, or a device is not the run's.
    """
    given = tuple(objectives)
    resolved = [each for objective in given for each in objective.on(devices)]
    repeated = sorted({str(each) for each in resolved if resolved.count(each) > 1})
    if repeated:
        raise ConfigError(f"search.objectives: expected each objective once, got {', '.join(repeated)} more than once")
    if not any(each.scored for each in resolved):
        scored = " or ".join(each.name for each in QUANTITIES.values() if each.source == "scored")
        raise ConfigError(f"search.objectives: expected {scored} among them, got {', '.join(map(str, given))}")
    return tuple(sorted(resolved, key=lambda each: not each.scored))


def _validate(value: Any) -> Objective:
    if isinstance(value, Objective):
        return value
    if not isinstance(value, str):
        raise ConfigError(f"expected a text like error or latency@pi4, got {shown(value)}")
    return parse_objective(value)


ObjectiveText = Annotated[Objective, PlainValidator(_validate), PlainSerializer(str)]
"""An objective as a field of a config: its text there, an `Objective` in Python."""
