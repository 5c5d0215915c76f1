"""The transport to another machine over SSH.

Kit and models are copied into a new folder there, which is removed at the end. The timer does not depend on the
connection: when that is lost, edgenas connects again and fetches the rows that came meanwhile.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import zipfile
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from edgenas.archives import zip_entry
from edgenas.errors import MeasurementError, shortened
from edgenas.files import parse_rows, shipped
from edgenas.latency.device import Device, Precision
from edgenas.profiling.kit import ExpectedRows, write_kit
from edgenas.profiling.probe import Probe, read_probe
from edgenas.profiling.ssh_connection import (
    PLACE_FORM,
    UPLOAD_SECONDS,
    Answer,
    Dropped,
    SshConnection,
    SshPlace,
    parse_place,
)
from edgenas.profiling.timer_rows import printable
from edgenas.profiling.transport import Access, Job, Timed, TransportKind

LOGGER = logging.getLogger(__name__)
LEASE_SECONDS = 1800
"""Time without a question after which a machine stops measuring and removes its folder."""
TAIL_LINES = 15
LOST = "lost"
"""What `export/remote.py` sends in place of an exit code."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SshTransport:
    """Times models at a place.

    Attributes:
        place: the machine.
    """

    place: SshPlace

    carried: ClassVar[bool] = False

    def runtime_version(self, measured: str) -> str:
        """Return the version of the rows so far; see `Transport`. Another one is noticed when models are timed."""
        return measured

    def time(
        self, jobs: Sequence[Job], device: Device, progress: Progress | None = None
    ) -> Generator[Timed, None, None]:
        """Time all jobs there; see `Transport`.

        Raises:
            ConfigError: the machine there is another one than the device.
            MeasurementError: it cannot be reached, lacks something (named), or sent rows that are not credible.
        """
        expected = ExpectedRows(jobs, device.run)
        with _opened(self.place) as (connection, probe):
            probe.check_is(device)
            with tempfile.TemporaryFile() as kit:
                write_kit(kit, expected, device, readme=False)
                send = partial(connection.ask, "send", payload=kit, silence=UPLOAD_SECONDS)
                deque(connection.persist(send), maxlen=0)
            yield from _rows(connection, expected, progress)
        if missing := expected.missing():
            raise MeasurementError(f"bench.py gave no row for {shortened(path.name for path in missing)}")


class SshKind(TransportKind):
    """Serves devices at a place ssh://…."""

    name = "ssh"
    place_form = PLACE_FORM

    def serves(self, device: Device, access: Access) -> bool:
        """Return False: without a place there is no machine to connect to."""
        return False

    def is_place(self, text: str) -> bool:
        """Return whether a place is an address of SSH."""
        return text.startswith("ssh:")

    def check_place(self, text: str) -> None:
        """Refuse a malformed address; see `parse_place`."""
        parse_place(text)

    def open(self, device: Device, access: Access) -> SshTransport:
        """Return the way; see `TransportKind`."""
        return SshTransport(parse_place(access.place or ""))

    def probe(self, place: str, name: str, threads: int, precision: Precision) -> Device:
        """Describe the machine at a place; see `TransportKind`."""
        return probe_at(parse_place(place)).device(name, self.name, threads, precision)


KIND = SshKind()


def probe_at(place: SshPlace) -> Probe:
    """Return the description that the machine at a place gives of itself.

    Raises:
        MeasurementError: it cannot be reached, or lacks something that is named.
    """
    with _opened(place) as (_, probe):
        return probe


@contextlib.contextmanager
def _opened(place: SshPlace) -> Iterator[tuple[SshConnection, Probe]]:
    """Connect and make a new folder there, which is removed at the end, also after an error."""
    connection = SshConnection(place)
    answers: dict[str, str] = {}
    try:
        for word, text in connection.ask("open", payload=_tools()):
            answers[word] = text
        rows = parse_rows(answers.get("probe", "").encode(), str(place))
        if not rows:
            raise MeasurementError(f"{place}: bench.py --probe there gave no JSON object")
        yield connection, read_probe(rows[0])
    except Dropped as error:
        # The first time: an address or a key that is wrong does not mend itself.
        raise MeasurementError(
            f"{place} cannot be reached: {error}\n`ssh` by itself must log in there without asking: with a key, and a "
            "host key that is known"
        ) from None
    finally:
        # Before its first answer the far end has made nothing.
        if answers:
            _close(connection)


def _tools() -> io.BytesIO:
    kit = io.BytesIO()
    with zipfile.ZipFile(kit, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("bench.py", "remote.py"):
            archive.writestr(zip_entry(name), (shipped("export") / name).read_bytes())
    return kit


def _close(connection: SshConnection) -> None:
    try:
        deque(connection.ask("close"), maxlen=0)
    except (Dropped, MeasurementError) as error:
        folder = f"edgenas-{connection.token}"
        LOGGER.warning(
            "%s could not be cleared up (%s): its temporary folder %s may be left", connection.place, error, folder
        )


def _rows(connection: SshConnection, expected: ExpectedRows, progress: Progress | None) -> Iterator[Timed]:
    """Yield rows as they come; after a lost connection, those after the last one received."""
    received, most, ended = 0, 2 * expected.rows(), "unknown"
    tail = deque[str](maxlen=TAIL_LINES)

    def ask() -> Iterator[Answer]:
        return connection.ask("time", str(received), str(LEASE_SECONDS))

    for word, text in connection.persist(ask):
        if word == "row":
            received += 1
            if received > most:
                raise MeasurementError(f"{connection.place} gave more than {most} rows")
            for row in parse_rows(text.encode(), str(connection.place)):
                yield from expected.accept(row)
        elif word == "log":
            _read_log(text, tail, progress)
        elif word == "exit":
            ended = printable(text, 10)
    if ended == LOST:
        raise MeasurementError(
            f"what watched bench.py at {connection.place} died before bench.py ended: it was killed, or the machine "
            "restarted or ran out of memory; rows that came are kept, so the same command measures only the rest"
        )
    # With exit code 1 the timer says that there are models it could not run; their rows say which.
    if ended != "0" and not (ended == "1" and expected.failed):
        words = "\n".join(tail)
        raise MeasurementError(f"bench.py at {connection.place} ended with exit code {ended}:\n{words}")


def _read_log(text: str, tail: deque[str], progress: Progress | None) -> None:
    words = text.split()
    if len(words) == 3 and words[0] == "progress" and words[1].isdecimal() and words[2].isdecimal():
        if progress:
            progress(int(words[1][:9]), int(words[2][:9]))
    else:
        tail.append(printable(text))
