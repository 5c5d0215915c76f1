"""Device files of this machine, of other machines, and of browsers."""

from __future__ import annotations

from pathlib import Path

from edgenas.errors import TableError, UserError
from edgenas.files import file_name
from edgenas.latency.device import Device, Precision, probe
from edgenas.profiling.transport_registry import TransportRegistry, mounted_transports
from edgenas.profiling.transports.offline import KIND as OFFLINE
from edgenas.profiling.transports.offline import read_description


def probe_device(
    name: str,
    threads: int,
    precision: Precision = "fp32",
    *,
    on: str | None = None,
    probed: Path | None = None,
    transports: TransportRegistry | None = None,
) -> Device:
    """Describe this machine, the one at a place, or the one that wrote a description; without names of hosts or users.

    Args:
        name: of the device.
        threads: that its models are run with.
        precision: that its models are run in.
        on: a place, see `TransportRegistry.with_options`.
        probed: file with what `python3 bench.py --probe` printed on a machine out of reach.
        transports: by default the mounted ones.

    Raises:
        ConfigError: `on` is malformed, or what its transport needs is missing.
        MeasurementError: the machine cannot be reached, or its answer is not credible.
        UserError: both are given, or the file cannot be used.
        TableError: `name` cannot be a device's name, or the machine has fewer cores than threads.
    """
    try:
        file_name(name)
    except ValueError as error:
        raise TableError(f"device name: {error}; give it one with --name") from None
    if on is not None and probed is not None:
        raise UserError("--on and --probed: give one of them")
    if on is not None:
        kind = (transports or mounted_transports()).kind_of_place(on)
        kind.check_place(on)
        return kind.probe(on, name, threads, precision)
    if probed is not None:
        return read_description(probed).device(name, OFFLINE.name, threads, precision)
    return probe(name, threads, precision)
