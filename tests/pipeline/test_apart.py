"""Networks taught in processes of their own: all are taught, and none outlives what asked for it."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from edgenas.errors import ConfigError, EdgenasError
from edgenas.pipeline.apart import teach_apart
from edgenas.pipeline.run import Progress

LONG_SECONDS = 60.0


def note(folder: Path, item: int, progress: Progress) -> None:
    """Says where it runs and with how many threads, once as many as two are at it."""
    (folder / f"{item}.begun").touch()
    started = time.monotonic()
    while len(list(folder.glob("*.begun"))) < 2 and time.monotonic() - started < LONG_SECONDS:
        time.sleep(0.01)
    progress(f"network {item}", 1, 1)
    (folder / f"{item}").write_text(f"{os.getpid()} {torch.get_num_threads()}")


def spoiled(folder: Path, item: str, progress: Progress) -> None:
    """One fails when the other is at it, which says how it ended."""
    path = folder / "begun"
    if item == "fails":
        while not path.exists():
            time.sleep(0.01)
        raise ConfigError("the pictures are gone")
    path.touch()
    try:
        while True:
            time.sleep(0.01)
    except KeyboardInterrupt:
        (folder / "ended").touch()
        raise


def killed(item: int, progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupted(item: int, progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(LONG_SECONDS)


def test_all_are_taught_two_at_a_time_with_the_threads_of_the_caller(tmp_path: Path) -> None:
    told = []
    teach_apart(partial(note, tmp_path), [3, 1, 2], 2, lambda label, done, total: told.append((label, done, total)))
    assert sorted(told) == [("network 1", 1, 1), ("network 2", 1, 1), ("network 3", 1, 1)]
    found = [(tmp_path / f"{item}").read_text().split() for item in (1, 2, 3)]
    assert len({process for process, _ in found} | {str(os.getpid())}) == 4
    assert {int(threads) for _, threads in found} == {torch.get_num_threads()}


def test_nothing_to_teach_is_nothing_to_do() -> None:
    teach_apart(killed, [], 2, lambda label, done, total: None)


def test_where_one_fails_its_error_is_told_and_the_others_are_asked_to_end(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the pictures are gone"):
        teach_apart(partial(spoiled, tmp_path), ["goes on", "fails"], 2, lambda label, done, total: None)
    assert (tmp_path / "ended").exists()


def test_a_process_that_was_killed_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(EdgenasError, match=r"exit code -9.*run the same command again"):
        teach_apart(killed, [1], 2, lambda label, done, total: None)


def test_a_process_that_was_interrupted_stops_all() -> None:
    with pytest.raises(KeyboardInterrupt):
        teach_apart(interrupted, [1, 2], 1, lambda label, done, total: None)
