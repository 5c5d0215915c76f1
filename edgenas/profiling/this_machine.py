"""Comparison of a device with the machine that edgenas runs on."""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.latency.device import Device, probe
from edgenas.profiling.timer_rows import printable

LONGEST = 1000
"""Largest number of characters that a message quotes from a device file."""


def differences(device: Device) -> str:
    """Return a sentence on the differences of a device from this machine in CPU, cores and ISA, or an empty text."""
    machine = probe()
    pairs = {name: (getattr(device, name), getattr(machine, name)) for name in ("cpu", "cores", "isa")}
    # Lists of flags are long, so the message has only the flags that differ.
    device_flags, machine_flags = pairs.pop("isa")
    if set(device_flags) != set(machine_flags):
        pairs["isa"] = (_beyond(device_flags, machine_flags), _beyond(machine_flags, device_flags))
    differing = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if not differing:
        return ""
    expected, actual = (", ".join(f"{name} {pair[side]}" for name, pair in differing.items()) for side in (0, 1))
    return printable(f"device {device.name} has {expected}, but this machine has {actual}", LONGEST)


def _beyond(flags: Sequence[str], others: Sequence[str]) -> str:
    """Return the flags that only this list has or, if there are none, the flags that it lacks."""
    additional = [flag for flag in flags if flag not in others]
    if additional:
        return f"with {' '.join(additional)}"
    return f"without {' '.join(flag for flag in others if flag not in flags)}"
