"""Networks trained in processes of their own: all are trained, and none outlives what asked for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch
from forked import CONTEXT, start_server

from edgenas.errors import ConfigError, EdgenasError
from edgenas.progress import Progress
from edgenas.studies import worker_pool as apart
from edgenas.studies.worker_pool import check_jobs, train_in_pool
from edgenas.training.interruption import DeferredSignals

LONG_SECONDS = 60.0


@pytest.fixture(autouse=True)
def _forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork workers from a server that has imported torch, which takes each new process seconds."""
    start_server()
    monkeypatch.setattr(apart.multiprocessing, "get_context", lambda method: CONTEXT)


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
        raise ConfigError("the images are gone")
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
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LONG_SECONDS)


class Odd(Exception):
    """No pickle brings it back."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")


def odd(item: int, progress: Progress) -> None:
    raise Odd("the loss", "is odd")


def held(folder: Path, item: int, progress: Progress) -> None:
    """Ends between two steps alone, as training does, and says so."""
    with DeferredSignals():
        (folder / f"{item}.begun").touch()
        time.sleep(0.5)
        (folder / f"{item}.checkpoint").touch()
    time.sleep(LONG_SECONDS)


def all_held(folder: Path) -> None:
    train_in_pool(partial(held, folder), [1, 2], 2, print)


def test_all_are_trained_two_at_a_time_with_the_threads_of_the_caller(tmp_path: Path) -> None:
    reported = []
    train_in_pool(
        partial(note, tmp_path), [3, 1, 2], 2, lambda label, done, total: reported.append((label, done, total))
    )
    assert sorted(reported) == [("network 1", 1, 1), ("network 2", 1, 1), ("network 3", 1, 1)]
    found = [(tmp_path / f"{item}").read_text().split() for item in (1, 2, 3)]
    assert len({process for process, _ in found} | {str(os.getpid())}) == 4
    assert {int(threads) for _, threads in found} == {torch.get_num_threads()}


def test_nothing_to_train_is_nothing_to_do() -> None:
    train_in_pool(killed, [], 2, lambda label, done, total: None)


def test_where_one_fails_its_error_is_reported_and_the_others_are_asked_to_end(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the images are gone"):
        train_in_pool(partial(spoiled, tmp_path), ["continues", "fails"], 2, lambda label, done, total: None)
    assert (tmp_path / "ended").exists()


def test_a_process_that_was_killed_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(EdgenasError, match=r"exit code -9.*run the same command again"):
        train_in_pool(killed, [1], 2, lambda label, done, total: None)


def test_a_process_that_was_interrupted_stops_all() -> None:
    with pytest.raises(KeyboardInterrupt):
        train_in_pool(interrupted, [1, 2], 1, lambda label, done, total: None)


def test_an_error_that_cannot_be_sent_is_reported_in_words_with_its_way() -> None:
    with pytest.raises(RuntimeError, match="Odd: the loss: is odd") as found:
        train_in_pool(odd, [1], 2, lambda label, done, total: None)
    assert any("in odd" in note for note in found.value.__notes__)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_waits_for_every_checkpoint(tmp_path: Path, number: int) -> None:
    code = f"from test_worker_pool import all_held; from pathlib import Path; all_held(Path({str(tmp_path)!r}))"
    script = tmp_path / "script.py"
    lines = ["import signal", "if __name__ == '__main__':", "    signal.signal(15, signal.default_int_handler)"]
    script.write_text("\n".join([*lines, f"    {code}"]))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    group = subprocess.Popen([sys.executable, script], env=environment, start_new_session=True)
    try:
        until(lambda: len(list(tmp_path.glob("*.begun"))) == 2)
        os.killpg(group.pid, number)
        group.wait(LONG_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(group.pid, signal.SIGKILL)
    assert group.returncode != 0
    assert len(list(tmp_path.glob("*.checkpoint"))) == 2


def until(true: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < LONG_SECONDS
        time.sleep(0.02)


def test_no_more_threads_than_there_are_cores_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart.joblib, "cpu_count", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    check_jobs(1)
    check_jobs(2)
    with pytest.raises(ConfigError, match="--jobs: expected at least 1, got 0"):
        check_jobs(0)
    with pytest.raises(ConfigError, match="--jobs 3: with 4 threads each they need 12 cores, got 8"):
        check_jobs(3)
