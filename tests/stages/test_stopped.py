"""Runs that are stopped by a signal or a full disk. The same command resumes them."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killing import python_path, weights_digest
from small_run import SMALL_CONFIG, SMALL_SPACE, edgenas

from edgenas.files import read_jsonl
from edgenas.training.checkpoint import FILE_NAME

FEW = ["--set", "train.epochs=0.2", "--run", "run"]


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG)
    return tmp_path


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
    environment = {**os.environ, "PYTHONPATH": python_path()}
    command = [sys.executable, "-W", "error", "-m", "edgenas", "run", "small.yaml"]
    options = {"cwd": cwd, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    found: set[int] = set()
    with subprocess.Popen(command, **options) as process:
        while process.poll() is None and not (found := timers(cwd)):
            time.sleep(0.05)
        assert found
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert stdout == ""
    assert stderr.count("stopped; finished work is kept, and the same command resumes from there") == 1
    assert "Traceback" not in stderr
    assert not timers(cwd)


def test_training_that_is_asked_to_end_resumes_and_ends_like_an_undisturbed_one(cwd: Path) -> None:
    words = [sys.executable, "-W", "error", "-m", "edgenas", "train", "small.yaml", "--set", "train.epochs=8"]
    options = {"cwd": cwd, "env": {**os.environ, "PYTHONPATH": python_path()}, "stderr": subprocess.PIPE, "text": True}
    log, checkpoint = (cwd / "cut" / "supernet" / name for name in ("training.jsonl", FILE_NAME))
    with subprocess.Popen([*words, "--run", "cut"], stdout=subprocess.DEVNULL, **options) as process:
        while process.poll() is None and not (log.exists() and len(read_jsonl(log)) > 5):
            time.sleep(0.02)
        assert not checkpoint.exists()
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    assert "the same command resumes from there" in stderr
    assert checkpoint.exists()
    assert not (cwd / "cut" / "supernet" / "result.json").exists()
    for folder in ("cut", "straight"):
        subprocess.run([*words, "--run", folder], stdout=subprocess.DEVNULL, check=True, **options)
    cut, straight = (weights_digest(cwd / folder / "supernet") for folder in ("cut", "straight"))
    assert cut == straight
    (resumed,) = (row for row in read_jsonl(log) if row["kind"] == "resume")
    assert resumed["step"] >= 5


def test_a_full_disk_is_one_message_and_the_same_command_resumes(cwd: Path) -> None:
    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))

    environment = {**os.environ, "PYTHONPATH": python_path()}
    command = [sys.executable, "-W", "error", "-m", "edgenas", "train", "small.yaml", *FEW]
    stopped = subprocess.run(
        command, cwd=cwd, env=environment, preexec_fn=full, capture_output=True, text=True, check=False
    )
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
