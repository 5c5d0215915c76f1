"""Offline: what has to be timed is packed into a zip, run anywhere, and its results are believed when brought back."""

from __future__ import annotations

import io
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgenas.errors import MeasurementError, Packed, UserError, shown
from edgenas.files import parse_rows, write_bytes
from edgenas.latency.device import Device
from edgenas.profiling.kit import Wanted, minutes, write_kit
from edgenas.profiling.probe import Probe, read_probe
from edgenas.profiling.transport import Job, Timed

MOST_BYTES = {"rows.jsonl": 2**28, "probe.json": 2**20}
"""What results may hold, unpacked."""
MOST_ZIP_BYTES = 2**28


@dataclass(frozen=True)
class OfflineTransport:
    """Takes what was brought back, and packs what is missing.

    Attributes:
        kit: the zip to write.
        results: the zip that was brought back.
    """

    kit: Path | None = None
    results: Path | None = None

    at_once: ClassVar[bool] = True

    def runtime_version(self, kept: str) -> str:
        """That of what is kept, or else of what was brought back; see `Transport`."""
        return kept or (read_results(self.results)[0].runtime_version if self.results else "")

    def time(
        self, jobs: Sequence[Job], device: Device, progress: Callable[[int, int], None] | None = None
    ) -> Generator[Timed, None, None]:
        """Give the rows that were brought back; pack the jobs where some are missing.

        Raises:
            Packed: the kit was written, and has to be taken to the device.
            ConfigError: the results are of another machine.
            MeasurementError: a row is not credible, or there are none of these models.
            UserError: the results are no zip of ours.
        """
        wanted = Wanted(jobs, device.run)
        everything = wanted.rows()
        if self.results:
            probe, rows = read_results(self.results)
            probe.check_is(device)
            for row in rows:
                yield from wanted.believe(row)
        missing = wanted.missing()
        if not missing:
            return
        if self.kit is None:
            raise MeasurementError(_nothing_to_go_on_with(device, self.results, wanted.rows(), everything))
        _pack(self.kit, [_rest(job, wanted, number) for number, job in enumerate(jobs)], device)


def _rest(job: Job, wanted: Wanted, number: int) -> Job:
    """What a job still lacks."""
    lacking = {place for places in wanted.open.values() for own, place in places if own == number}
    models = tuple(
        path for place, path in enumerate(job.models) if place in lacking and wanted.names[path] not in wanted.failed
    )
    return Job(models, job.rounds, job.seed)


def _pack(path: Path, jobs: Sequence[Job], device: Device) -> None:
    jobs = [job for job in jobs if job.models]
    wanted = Wanted(jobs, device.run)
    with tempfile.TemporaryFile() as stream:
        write_kit(stream, wanted, device, readme=True)
        stream.seek(0)
        write_bytes(path, stream.read())
    raise Packed(
        f"packed {path}: {len(wanted.names)} models in {len(jobs)} sessions, about {minutes(jobs):.0f} minutes on "
        f"{device.name}. Unpack it there, run `sh run.sh`, bring results.zip back, and give it to the same command "
        "with --unpack results.zip"
    )


def _nothing_to_go_on_with(device: Device, results: Path | None, lacking: int, everything: int) -> str:
    if results is None:
        return f"device {device.name} has to time {everything} rows: pack them with --pack kit.zip"
    return (
        f"{results} lacks {lacking} of the {everything} rows that {device.name} has to time: what it holds is kept; "
        "pack the rest with --pack kit.zip (or let the kit there go on, and bring its results again)"
    )


def read_results(path: Path) -> tuple[Probe, list[dict[str, Any]]]:
    """Read a zip that a device filled: nothing is unpacked, only two names are taken, up to a size.

    Raises:
        UserError: it is missing, or no such zip.
        MeasurementError: what it says of the machine makes no sense.
    """
    try:
        with open(path, "rb") as stream:
            data = io.BytesIO(stream.read(MOST_ZIP_BYTES))
        with zipfile.ZipFile(data) as archive:
            found = {entry.filename: _read(archive, entry) for entry in _entries(archive)}
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: bench.py writes results.zip beside the kit's jobs.json") from None
    # zlib's own error has no other base, and damaged archives raise several kinds.
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error, ValueError) as error:
        raise UserError(f"{path} is no results.zip of bench.py ({error}): bring it anew from the device") from None
    probes = parse_rows(found["probe.json"], f"{path}: probe.json")
    if len(probes) != 1:
        raise UserError(f"{path}: probe.json is not one JSON object: bring results.zip anew from the device")
    return read_probe(probes[0]), parse_rows(found["rows.jsonl"], f"{path}: rows.jsonl")


def _entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The two files that results consist of.

    Raises:
        ValueError: there are others, too, or one is missing, twice there, a link, or too large.
    """
    entries = archive.infolist()
    names = sorted(entry.filename for entry in entries[:3])
    if names != sorted(MOST_BYTES):
        raise ValueError(f"it holds {shown(names)}, wanted {' and '.join(sorted(MOST_BYTES))} alone")
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise ValueError(f"{entry.filename} is no plain file")
        if entry.file_size > MOST_BYTES[entry.filename]:
            raise ValueError(f"{entry.filename} would be {entry.file_size:,} bytes")
    return entries


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """At most what the entry says that it holds, which was looked at."""
    with archive.open(entry) as stream:
        return stream.read(entry.file_size + 1)[: entry.file_size]
