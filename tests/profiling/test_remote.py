"""The far end of SSH as a process of this machine: what becomes of the wait when what watches the timer dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgenas.files import shipped

TOKEN = "0" * 32
ENDLESS = "import time\nprint('begun', flush=True)\ntime.sleep(600)\n"
LONGEST_SECONDS = 60.0
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the far end of SSH is a POSIX machine")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the far end's folder of a timer that does not end."""
    made = tmp_path / f"edgenas-{TOKEN}"
    made.mkdir()
    (made / "remote.py").write_bytes((shipped("export") / "remote.py").read_bytes())
    (made / "bench.py").write_text(ENDLESS)
    (made / "jobs.json").write_text("[]")
    return made


@contextmanager
def asked(folder: Path, verb: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(folder / "remote.py"), verb, TOKEN, *words]
    environment = {**os.environ, "TMPDIR": str(folder.parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        # A wait that does not end is a failure, not a hanging suite.
        limit = threading.Timer(LONGEST_SECONDS, process.kill)
        limit.start()
        try:
            yield process
        finally:
            limit.cancel()
            process.kill()


def answers(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line.strip().removeprefix(f"{TOKEN} ")


def close(folder: Path) -> None:
    with asked(folder, "close") as process:
        assert list(answers(process)) == ["done"]
    assert not folder.exists()


def watcher(folder: Path) -> int:
    return int((folder / "pid").read_text())


@pytest.mark.parametrize("reconnected", [False, True])
def test_a_dead_watcher_ends_the_wait(folder: Path, reconnected: bool) -> None:
    with asked(folder, "time", "0", "60") as process:
        assert "log begun" in answers(process)
        if not reconnected:
            os.kill(watcher(folder), signal.SIGKILL)
            assert list(answers(process))[-2:] == ["exit lost", "done"]
    if reconnected:
        # By now the watcher is nobody's child here.
        os.kill(watcher(folder), signal.SIGKILL)
        with asked(folder, "time", "0", "60") as process:
            assert list(answers(process))[-2:] == ["exit lost", "done"]
    close(folder)


def test_a_number_that_another_process_has_by_now_is_no_watcher(folder: Path) -> None:
    (folder / "pid").write_text(str(os.getpid()))
    with asked(folder, "time", "0", "60") as process:
        assert list(answers(process))[-2:] == ["exit lost", "done"]


def test_a_timer_that_ends_is_no_dead_watcher(folder: Path) -> None:
    (folder / "bench.py").write_text(f"print({json.dumps('over')!r})\nraise SystemExit(3)\n")
    with asked(folder, "time", "0", "60") as process:
        assert list(answers(process))[-2:] == ["exit 3", "done"]
    close(folder)
