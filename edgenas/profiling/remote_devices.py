"""Device files of other machines than this, and of the browser on this one."""

from __future__ import annotations

from pathlib import Path

from edgenas.errors import TableError, UserError
from edgenas.files import file_name, parse_rows
from edgenas.latency.device import Device, Precision, probe
from edgenas.profiling.place import BROWSER, parse_place
from edgenas.profiling.probe import read_probe
from edgenas.profiling.transports.browser import probe_browser
from edgenas.profiling.transports.ssh import probe_at

MOST_BYTES = 2**20


def probe_elsewhere(
    name: str, threads: int, precision: Precision = "fp32", *, on: str | None, probed: Path | None
) -> Device:
    """Describe the machine at a place, or the one that wrote what `bench.py --probe` says; no names of hosts or users.

    The place `browser` is the web browser on this machine.

    Raises:
        ConfigError: `on` is no place, or what timing in a browser takes is not there.
        MeasurementError: the machine cannot be reached, or says what makes no sense.
        UserError: there are both, or the file cannot be used.
        TableError: `name` cannot be a device's name.
    """
    try:
        file_name(name)
    except ValueError as error:
        raise TableError(f"device name: {error}; give it one with --name") from None
    if on is not None and probed is not None:
        raise UserError("--on and --probed: give one of them")
    if on == BROWSER:
        return probe_browser(probe(name, threads, precision))
    if probed is None:
        return probe_at(parse_place(on or "")).device(name, "ssh", threads, precision)
    with open(probed, "rb") as stream:
        rows = parse_rows(stream.read(MOST_BYTES), str(probed))
    if len(rows) != 1:
        raise UserError(f"{probed}: wanted the one line that `python3 bench.py --probe` prints")
    return read_probe(rows[0]).device(name, "offline", threads, precision)
