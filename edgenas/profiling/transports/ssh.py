"""Another machine over SSH: kit and models into a fresh folder there, rows as they come, and nothing is left behind.

The timer there does not hang on the connection: when it is lost, it is made again, and nothing was.
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
from edgenas.latency.device import Device
from edgenas.profiling.kit import Wanted, write_kit
from edgenas.profiling.place import Place
from edgenas.profiling.probe import Probe, read_probe
from edgenas.profiling.timer_rows import printable
from edgenas.profiling.transport import Job, Timed
from edgenas.profiling.transports.ssh_connection import UPLOAD_SECONDS, Answer, Connection, Dropped

LOGGER = logging.getLogger(__name__)
LEASE_SECONDS = 1800
"""After which a machine that nobody asks any more stops and clears up by itself."""
TAIL_LINES = 15
LOST = "lost"
"""What `export/remote.py` gives in place of an exit code."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SshTransport:
    """Times models at a place.

    Attributes:
        place: the machine.
    """

    place: Place

    at_once: ClassVar[bool] = False

    def runtime_version(self, kept: str) -> str:
        """That of what is kept; see `Transport`. Another one is noticed when something is measured."""
        return kept

    def time(
        self, jobs: Sequence[Job], device: Device, progress: Progress | None = None
    ) -> Generator[Timed, None, None]:
        """Time all jobs there; see `Transport`.

        Raises:
            ConfigError: the machine there is another one than the device.
            MeasurementError: it cannot be reached, lacks something (named), or gave what no timer gives.
        """
        wanted = Wanted(jobs, device.run)
        with _opened(self.place) as (connection, probe):
            probe.check_is(device)
            with tempfile.TemporaryFile() as kit:
                write_kit(kit, wanted, device, readme=False)
                send = partial(connection.ask, "send", payload=kit, silence=UPLOAD_SECONDS)
                deque(connection.persist(send), maxlen=0)
            yield from _rows(connection, wanted, progress)
        if missing := wanted.missing():
            raise MeasurementError(f"bench.py gave no row for {shortened(path.name for path in missing)}")


def probe_at(place: Place) -> Probe:
    """What the machine at a place is.

    Raises:
        MeasurementError: it cannot be reached, or lacks something, which is named.
    """
    with _opened(place) as (_, probe):
        return probe


@contextlib.contextmanager
def _opened(place: Place) -> Iterator[tuple[Connection, Probe]]:
    """A connection with a fresh folder there, which is removed at the end, whatever the end is."""
    connection = Connection(place)
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


def _close(connection: Connection) -> None:
    try:
        deque(connection.ask("close"), maxlen=0)
    except (Dropped, MeasurementError) as error:
        folder = f"edgenas-{connection.token}"
        LOGGER.warning(
            "%s could not be cleared up (%s): its temporary folder %s may be left", connection.place, error, folder
        )


def _rows(connection: Connection, wanted: Wanted, progress: Progress | None) -> Iterator[Timed]:
    """Rows as they come; when the connection is lost, those after the last that came."""
    received, most, ended = 0, 2 * wanted.rows(), "no word"
    tail = deque[str](maxlen=TAIL_LINES)

    def ask() -> Iterator[Answer]:
        return connection.ask("time", str(received), str(LEASE_SECONDS))

    for word, text in connection.persist(ask):
        if word == "row":
            received += 1
            if received > most:
                raise MeasurementError(f"{connection.place} gave more than {most} rows")
            for row in parse_rows(text.encode(), str(connection.place)):
                yield from wanted.believe(row)
        elif word == "log":
            _hear(text, tail, progress)
        elif word == "exit":
            ended = printable(text, 10)
    if ended == LOST:
        raise MeasurementError(
            f"what watched bench.py at {connection.place} died before bench.py ended: it was killed, or the machine "
            "restarted or ran out of memory; rows that came are kept, so the same command measures only the rest"
        )
    # With exit code 1 the timer says that there are models it could not run; their rows say which.
    if ended != "0" and not (ended == "1" and wanted.failed):
        words = "\n".join(tail)
        raise MeasurementError(f"bench.py at {connection.place} ended with exit code {ended}:\n{words}")


def _hear(text: str, tail: deque[str], progress: Progress | None) -> None:
    words = text.split()
    if len(words) == 3 and words[0] == "progress" and words[1].isdecimal() and words[2].isdecimal():
        if progress:
            progress(int(words[1][:9]), int(words[2][:9]))
    else:
        tail.append(printable(text))
