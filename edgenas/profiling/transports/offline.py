"""The transport for devices out of reach: jobs are packed into a zip, and the results that come back are validated."""

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
from edgenas.profiling.kit import ExpectedRows, minutes, write_kit
from edgenas.profiling.probe import Probe, read_probe
from edgenas.profiling.transport import Access, Job, Timed, TransportKind

MOST_BYTES = {"rows.jsonl": 2**28, "probe.json": 2**20}
"""What results may hold, unpacked."""
MOST_ZIP_BYTES = 2**28


@dataclass(frozen=True)
class OfflineTransport:
    """Takes the rows that were brought back, and packs the missing ones.

    Attributes:
        kit: the zip to write.
        results: the zip that was brought back.
    """

    kit: Path | None = None
    results: Path | None = None

    carried: ClassVar[bool] = True

    def runtime_version(self, measured: str) -> str:
        """Return the version of the rows so far, or else that of the results; see `Transport`."""
        return measured or (read_results(self.results)[0].runtime_version if self.results else "")

    def time(
        self, jobs: Sequence[Job], device: Device, progress: Callable[[int, int], None] | None = None
    ) -> Generator[Timed, None, None]:
        """Yield the rows that were brought back; pack the jobs where some are missing.

        Raises:
            Packed: the kit was written, and has to be taken to the device.
            ConfigError: the results are of another machine.
            MeasurementError: a row is not credible, or there are none of these models.
            UserError: the results are not a zip of the kit.
        """
        expected = ExpectedRows(jobs, device.run)
        everything = expected.rows()
        if self.results:
            probe, rows = read_results(self.results)
            probe.check_is(device)
            for row in rows:
                yield from expected.accept(row)
        missing = expected.missing()
        if not missing:
            return
        if self.kit is None:
            raise MeasurementError(_incomplete(device, self.results, expected.rows(), everything))
        _pack(self.kit, [_rest(job, expected, number) for number, job in enumerate(jobs)], device)


class OfflineKind(TransportKind):
    """Serves any device with a kit, or with the results of one."""

    name = "offline"
    carried = True

    def serves(self, device: Device, access: Access) -> bool:
        """Return whether there is a kit to write, or results to read; see `TransportKind`."""
        return bool(access.kit or access.results)

    def open(self, device: Device, access: Access) -> OfflineTransport:
        """Return the way; see `TransportKind`."""
        return OfflineTransport(access.kit, access.results)


KIND = OfflineKind()


def read_description(path: Path) -> Probe:
    """Read what `python3 bench.py --probe` printed on another machine.

    Raises:
        OSError: the file cannot be read.
        UserError: it is not that one line.
        MeasurementError: its values are not credible.
    """
    with open(path, "rb") as stream:
        rows = parse_rows(stream.read(MOST_BYTES["probe.json"]), str(path))
    if len(rows) != 1:
        raise UserError(f"{path}: expected the one line that `python3 bench.py --probe` prints, got {len(rows)} lines")
    return read_probe(rows[0])


def _rest(job: Job, expected: ExpectedRows, number: int) -> Job:
    """Return a job of the models that still lack rows."""
    lacking = {index for positions in expected.open.values() for job_index, index in positions if job_index == number}
    models = tuple(
        path
        for index, path in enumerate(job.models)
        if index in lacking and expected.names[path] not in expected.failed
    )
    return Job(models, job.rounds, job.seed)


def _pack(path: Path, jobs: Sequence[Job], device: Device) -> None:
    jobs = [job for job in jobs if job.models]
    expected = ExpectedRows(jobs, device.run)
    with tempfile.TemporaryFile() as stream:
        write_kit(stream, expected, device, readme=True)
        stream.seek(0)
        write_bytes(path, stream.read())
    raise Packed(
        f"packed {path}: {len(expected.names)} models in {len(jobs)} sessions, about {minutes(jobs):.0f} minutes on "
        f"{device.name}. Unpack it there, run `sh run.sh`, bring results.zip back, and give it to the same command "
        "with --unpack results.zip"
    )


def _incomplete(device: Device, results: Path | None, lacking: int, everything: int) -> str:
    if results is None:
        return f"device {device.name} has to time {everything} rows: pack them with --pack kit.zip"
    return (
        f"{results} lacks {lacking} of the {everything} rows that {device.name} has to time: its rows are kept; "
        "pack the rest with --pack kit.zip (or let the kit on the device continue, and bring its results again)"
    )


def read_results(path: Path) -> tuple[Probe, list[dict[str, Any]]]:
    """Read a zip that a device filled: nothing is unpacked, only two names are taken, up to a size.

    Raises:
        UserError: it is missing, or not a results.zip.
        MeasurementError: its description of the machine is not credible.
    """
    try:
        with open(path, "rb") as stream:
            data = io.BytesIO(stream.read(MOST_ZIP_BYTES))
        with zipfile.ZipFile(data) as archive:
            files = {entry.filename: _read(archive, entry) for entry in _entries(archive)}
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: bench.py writes results.zip beside the kit's jobs.json") from None
    # zlib's own error has no other base, and damaged archives raise several kinds.
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error, ValueError) as error:
        raise UserError(f"{path} is no results.zip of bench.py ({error}): bring it again from the device") from None
    probes = parse_rows(files["probe.json"], f"{path}: probe.json")
    if len(probes) != 1:
        raise UserError(f"{path}: probe.json is not one JSON object: bring results.zip again from the device")
    return read_probe(probes[0]), parse_rows(files["rows.jsonl"], f"{path}: rows.jsonl")


def _entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the two entries that results consist of.

    Raises:
        ValueError: there are others, or one is missing, repeated, a link, or too large.
    """
    entries = archive.infolist()
    names = sorted(entry.filename for entry in entries[:3])
    if names != sorted(MOST_BYTES):
        raise ValueError(f"expected {' and '.join(sorted(MOST_BYTES))} alone, got {shown(names)}")
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise ValueError(f"{entry.filename} is no plain file")
        if entry.file_size > MOST_BYTES[entry.filename]:
            raise ValueError(f"{entry.filename} would be {entry.file_size:,} bytes")
    return entries


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Return at most as many bytes as the entry states, which `_entries` checked."""
    with archive.open(entry) as stream:
        return stream.read(entry.file_size + 1)[: entry.file_size]
