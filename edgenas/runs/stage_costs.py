"""What stages cost: seconds, and joules where the machine counts them. Kept in the run folder, a row for each time.

Energy is that of whole processors (and of memory, where it is counted apart), other programs included, as Linux shows
the running average power limit counters of Intel's and AMD's (Documentation/power/powercap).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgenas.files import append_jsonl
from edgenas.runs.results import read_costs

FILE = "costs.jsonl"
POWERCAP = Path("/sys/class/powercap")
COUNTED = ("package", "dram")
"""What names of counters begin with: those of cores are within a package's, and `psys` is the whole board's."""
POLL_SECONDS = 20.0
"""Counters of large processors begin again at zero after a quarter of an hour."""


@dataclass
class Counter:
    """A counter of microjoules, which begins again at zero after `most`."""

    path: Path
    most: int
    last: int
    joules: float = 0.0

    def poll(self) -> None:
        """Add what was used since the last look."""
        now = _number(self.path)
        self.joules += (now - self.last) % (self.most + 1) / 1e6
        self.last = now


def energy_counters(root: Path = POWERCAP) -> list[Counter]:
    """The machine's counters; none where there are none, or where they are for root alone."""
    found = []
    try:
        for path in sorted(root.glob("intel-rapl*:*")):
            if (path / "name").read_text(encoding="ascii").startswith(COUNTED):
                counter = path / "energy_uj"
                found.append(Counter(counter, _number(path / "max_energy_range_uj"), _number(counter)))
    except (OSError, ValueError):
        return []
    return found


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))


class EnergyMeter:
    """Looks at counters until it is stopped."""

    def __init__(self, counters: list[Counter], seconds: float = POLL_SECONDS) -> None:
        self.counters = counters
        self.seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        if counters:
            self._thread.start()

    def stop(self) -> float | None:
        """Joules that were used; None where that is not readable."""
        self._stopped.set()
        if not self.counters:
            return None
        self._thread.join()
        self._poll()
        return sum(counter.joules for counter in self.counters) if self.counters else None

    def _watch(self) -> None:
        while not self._stopped.wait(self.seconds):
            self._poll()

    def _poll(self) -> None:
        try:
            for counter in self.counters:
                counter.poll()
        except (OSError, ValueError):
            # What is lost now can no more be told.
            self.counters = []


@contextmanager
def metered(folder: Path, stage: str) -> Iterator[None]:
    """Keep what is spent on a stage, also where it is stopped; of one that fails nothing is kept."""
    meter, began = EnergyMeter(energy_counters()), time.monotonic()

    def keep(*, finished: bool) -> None:
        said = {"stage": stage, "seconds": round(time.monotonic() - began, 3), "energy_joules": meter.stop()}
        append_jsonl(folder / FILE, said | {"finished": finished})

    try:
        yield
    except KeyboardInterrupt:
        # That it was stopped is what has to be told, also where the disk is full.
        with suppress(OSError):
            keep(finished=False)
        raise
    except BaseException:
        meter.stop()
        raise
    keep(finished=True)


def spent(folder: Path) -> dict[str, dict[str, Any]]:
    """Seconds and joules by stage, of all that was spent on it; joules are None where a part of them is not known.

    Raises:
        RunFolderError: a row is none of ours.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in read_costs(folder / FILE):
        known = found.setdefault(row["stage"], {"seconds": 0.0, "energy_joules": 0.0})
        joules = row["energy_joules"]
        known["seconds"] += row["seconds"]
        known["energy_joules"] = None if None in (joules, known["energy_joules"]) else known["energy_joules"] + joules
    return found


def spent_on_results(folder: Path) -> dict[str, float]:
    """Seconds by stage that its present result took: what an earlier one took, which was done anew, is left out.

    Rows of older versions do not say which they are, and all count.

    Raises:
        RunFolderError: a row is none of ours.
    """
    found: dict[str, float] = {}
    ended: set[str] = set()
    for row in read_costs(folder / FILE):
        stage = row["stage"]
        before = 0.0 if stage in ended else found.get(stage, 0.0)
        found[stage] = before + row["seconds"]
        (ended.add if row.get("finished") else ended.discard)(stage)
    return found
