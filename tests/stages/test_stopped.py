"""Runs that are stopped by a signal or a full disk. The same command resumes them."""

from __future__ import annotations

import contextlib
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import Forked, command_line
from killing import weights_digest
from small_run import SMALL_CONFIG, SMALL_SPACE, edgenas

from edgenas.files import read_jsonl
from edgenas.training.checkpoint import FILE_NAME

FEW = ["--set", "train.epochs=0.2", "--run", "run"]


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG)
    return tmp_path


def started(cwd: Path, *arguments: str, function: Callable[..., None] = command_line) -> Forked:
    return Forked(function, *arguments, cwd=cwd, stdout=cwd / "stdout", stderr=cwd / "stderr")


def timers(cwd: Path) -> set[int]:
    """Processes of the kit's timer that were started from a folder."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if any(word.endswith(b"bench.py") for word in words) and (process / "cwd").readlink() == cwd.resolve():
                found.add(int(process.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_the_run_and_its_timer_with_one_line(cwd: Path, number: signal.Signals, code: int) -> None:
    process = started(cwd, "run", "small.yaml")
    found: set[int] = set()
    while process.poll() is None and not (found := timers(cwd)):
        time.sleep(0.05)
    assert found
    process.send_signal(number)
    ended = process.ended()
    assert ended.returncode == code
    assert ended.stdout == ""
    assert ended.stderr.count("stopped; finished work is kept, and the same command resumes from there") == 1
    assert "Traceback" not in ended.stderr
    assert not timers(cwd)


def test_training_that_is_asked_to_end_resumes_and_ends_like_an_undisturbed_one(cwd: Path) -> None:
    words = ("train", "small.yaml", "--set", "train.epochs=4", "--run")
    log, checkpoint = (cwd / "cut" / "supernet" / name for name in ("training.jsonl", FILE_NAME))
    process = started(cwd, *words, "cut")
    while process.poll() is None and not (log.exists() and len(read_jsonl(log)) > 5):
        time.sleep(0.02)
    assert not checkpoint.exists()
    process.send_signal(signal.SIGTERM)
    ended = process.ended()
    assert ended.returncode == 143, ended.stderr
    assert "the same command resumes from there" in ended.stderr
    assert checkpoint.exists()
    assert not (cwd / "cut" / "supernet" / "result.json").exists()
    for folder in ("cut", "straight"):
        assert edgenas(*words, folder, cwd=cwd).returncode == 0
    cut, straight = (weights_digest(cwd / folder / "supernet") for folder in ("cut", "straight"))
    assert cut == straight
    (resumed,) = (row for row in read_jsonl(log) if row["kind"] == "resume")
    assert resumed["step"] >= 5


def on_full_disk(*arguments: str) -> None:
    """Call the command line where no file can be larger than 100 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    command_line(*arguments)


def test_a_full_disk_is_one_message_and_the_same_command_resumes(cwd: Path) -> None:
    stopped = started(cwd, "train", "small.yaml", *FEW, function=on_full_disk).ended()
    assert stopped.returncode == 1, stopped.stderr
    errors = [line for line in stopped.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "checkpoint.safetensors" in errors[0]
    assert "run the same command again" in errors[0]
    assert "Traceback" not in stopped.stderr
    assert not (cwd / "run" / "supernet" / "result.json").exists()
    again = edgenas("train", "small.yaml", *FEW, cwd=cwd)
    assert again.returncode == 0, again.stderr
    assert (cwd / "run" / "supernet" / "result.json").exists()
