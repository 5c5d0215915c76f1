"""kill -9 at any moment, then the same command again: it ends with the front of an undisturbed run.

The undisturbed run is the one that other tests look at. Its device is synthetic, and gives every run the same times.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import Forked
from killing import differences, kill_when, stage_of, start
from small_run import SMALL_CONFIG, SMALL_SPACE, SmallRun

PACE = 0.05
"""Seconds that a process of the timer takes."""
OFTEN = SMALL_CONFIG.replace("train: {", "train: {checkpoint_seconds: 0.2, ")


class Victim:
    """A run that is begun, killed and resumed."""

    def __init__(self, cwd: Path) -> None:
        (cwd / "tiny-16.yaml").write_text(SMALL_SPACE)
        (cwd / "small.yaml").write_text(OFTEN)
        self.cwd, self.folder = cwd, cwd / "runs" / "small"

    def killed(self, due: Callable[[], bool]) -> bool:
        """Begin or resume the run, and kill it when `due` is true."""
        return kill_when(self._start(), due)

    def finish(self) -> None:
        assert self._start().wait() == 0, (self.cwd / "log").read_text()
        assert "Traceback" not in (self.cwd / "log").read_text()
        assert not [path for path in self.folder.rglob(".*") if path.name != ".lock"]

    def _start(self) -> Forked:
        return start("run", "small.yaml", cwd=self.cwd, pace=PACE, log=self.cwd / "log")


def rows_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


APPENDED = (
    "latency/here/rows.jsonl",
    "supernet/training.jsonl",
    "search/evaluations.jsonl",
    "verify/here.jsonl",
)
"""Files that stages append to."""


def test_killed_in_every_stage_a_run_ends_with_the_undisturbed_front(small_run: SmallRun, tmp_path: Path) -> None:
    draw = random.Random(3)
    victim, killed_in = Victim(tmp_path), set()
    for name in APPENDED:
        rows = 1 + int(draw.random() * 0.8 * rows_of(small_run.folder / name))
        assert victim.killed(lambda path=victim.folder / name, rows=rows: rows_of(path) >= rows)
        killed_in.add(stage_of(victim.folder))
    victim.finish()
    # On a machine that is slow to look, a stage may end before the kill comes.
    assert len(killed_in) >= 3, killed_in
    assert differences(victim.folder, small_run.folder) == []


@pytest.mark.slow
def test_killed_at_random_moments_a_run_ends_with_the_undisturbed_front(small_run: SmallRun, tmp_path: Path) -> None:
    draw = random.Random(0)
    victim = Victim(tmp_path)
    # Each time it lives a little longer, so that every part of the run sees its end coming.
    seconds, kills = 1.0, 0
    while victim.killed(after(draw.uniform(0.5, 1) * seconds)):
        seconds, kills = 1.3 * seconds, kills + 1
    victim.finish()
    assert kills > 3
    assert differences(victim.folder, small_run.folder) == []


def after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end
