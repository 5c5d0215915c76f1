"""The cost of stages: seconds, and joules where the machine counts them. `costs.jsonl` has a row for each call.

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

from edgenas.records.folder import StageCost, StageCostRow
from edgenas.records.ledger import Ledger
from edgenas.records.paths import COSTS

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
    """Return the machine's counters; none where there are none, or where only root can read them."""
    counters = []
    try:
        for path in sorted(root.glob("intel-rapl*:*")):
            if (path / "name").read_text(encoding="ascii").startswith(COUNTED):
                counter = path / "energy_uj"
                counters.append(Counter(counter, _number(path / "max_energy_range_uj"), _number(counter)))
    except (OSError, ValueError):
        return []
    return counters


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))


class EnergyMeter:
    """Polls counters until it is stopped."""

    def __init__(self, counters: list[Counter], seconds: float = POLL_SECONDS) -> None:
        self.counters = counters
        self.seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        if counters:
            self._thread.start()

    def stop(self) -> float | None:
        """Return the joules that were used; None where they cannot be read."""
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
            # A gap cannot be filled later, so nothing is reported at all.
            self.counters = []


@contextmanager
def metered(folder: Path, stage: str) -> Iterator[None]:
    """Record the cost of a stage, also where it is interrupted; nothing is recorded for one that fails."""
    meter, began = EnergyMeter(energy_counters()), time.monotonic()

    def keep(*, finished: bool) -> None:
        seconds = round(time.monotonic() - began, 3)
        row = StageCostRow(stage=stage, seconds=seconds, energy_joules=meter.stop(), finished=finished)
        cost_ledger(folder).append(row)

    try:
        yield
    except KeyboardInterrupt:
        # The interrupt has to reach the caller, also where the disk is full.
        with suppress(OSError):
            keep(finished=False)
        raise
    except BaseException:
        meter.stop()
        raise
    keep(finished=True)


def cost_ledger(folder: Path) -> Ledger[StageCostRow]:
    """Return the ledger of a run folder's costs."""
    return Ledger(folder / COSTS, StageCostRow)


def spent(folder: Path) -> dict[str, StageCost]:
    """Return the cost of each stage, by its name.

    Raises:
        RunFolderError: a row is damaged.
    """
    costs: dict[str, StageCost] = {}
    for row in cost_ledger(folder).rows():
        before = costs.get(row.stage, StageCost(seconds=0.0, energy_joules=0.0))
        joules = _sum_if_known(before.energy_joules, row.energy_joules)
        costs[row.stage] = StageCost(seconds=before.seconds + row.seconds, energy_joules=joules)
    return costs


def _sum_if_known(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


def spent_on_results(folder: Path) -> dict[str, float]:
    """Return the seconds that each stage's present result took, without earlier results that were replaced.

    Raises:
        RunFolderError: a row is damaged.
    """
    seconds: dict[str, float] = {}
    ended: set[str] = set()
    for row in cost_ledger(folder).rows():
        before = 0.0 if row.stage in ended else seconds.get(row.stage, 0.0)
        seconds[row.stage] = before + row.seconds
        (ended.add if row.finished else ended.discard)(row.stage)
    return seconds
