"""Comparison of devices with the machine that edgenas runs on."""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.latency.device import Device, probe
from edgenas.profiling.timer_rows import printable

LONGEST = 1000
"""Characters that a message quotes from a device file, which may come from anyone."""


def differences(device: Device) -> str:
    """Return how a device differs from this machine in CPU, cores and ISA, as a sentence; empty where it does not."""
    here = probe()
    pairs = {name: (getattr(device, name), getattr(here, name)) for name in ("cpu", "cores", "isa")}
    # Lists of flags are long: only those that differ are named.
    device_flags, machine_flags = pairs.pop("isa")
    if set(device_flags) != set(machine_flags):
        pairs["isa"] = (_beyond(device_flags, machine_flags), _beyond(machine_flags, device_flags))
    different = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if not different:
        return ""
    expected, actual = (", ".join(f"{name} {pair[side]}" for name, pair in different.items()) for side in (0, 1))
    return printable(f"device {device.name} has {expected}, but this machine has {actual}", LONGEST)


def _beyond(flags: Sequence[str], others: Sequence[str]) -> str:
    """Return the flags that the other machine lacks, or those that only it has."""
    more = [flag for flag in flags if flag not in others]
    return f"with {' '.join(more)}" if more else f"without {' '.join(flag for flag in others if flag not in flags)}"
