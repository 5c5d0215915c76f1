"""Fine-tuning that is stopped or killed: the same command resumes and ends with the bits of an undisturbed one."""

from __future__ import annotations

import dataclasses
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from forked import Forked
from killing import POLL_SECONDS, kill_when, start
from small_run import SmallRun

from edgenas.config.sections import FinetuneConfig
from edgenas.files import read_json, read_yaml, write_yaml
from edgenas.runs.run import open_run
from edgenas.stages.weights.tuned_network import CHECKPOINTS, NETWORKS, WEIGHTS
from edgenas.stages.whole_run import run_stages
from edgenas.training import checkpoint

EPOCHS = 8
SELDOM, OFTEN = 1000.0, 0.05
"""Seconds between checkpoints."""


def saving_every(folder: Path, seconds: float) -> None:
    """Let a run write its checkpoints so often."""
    path = folder / "config.yaml"
    config = read_yaml(path)
    config["train"]["checkpoint_seconds"] = seconds
    write_yaml(path, config)


class Killed(Exception):
    """Raised by a test to end a training."""


class Victim:
    """A copy of a finished run whose network is fine-tuned by the command line."""

    def __init__(self, small_run: SmallRun, cwd: Path) -> None:
        self.cwd = cwd
        self.folder = shutil.copytree(small_run.folder, cwd / "run")

    @property
    def steps(self) -> int:
        """Done by the last checkpoint; 0 where there is none."""
        paths = list((self.folder / NETWORKS).glob(f"*/{CHECKPOINTS}/{checkpoint.FILE_NAME}"))
        assert len(paths) <= 1
        return checkpoint.read(paths[0], "", "none")[1].step if paths else 0

    @property
    def log(self) -> str:
        """Output of the last process."""
        return (self.cwd / "log").read_text() if (self.cwd / "log").exists() else ""

    def begin(self, checkpoints: float) -> Forked:
        (self.cwd / "log").unlink(missing_ok=True)
        saving_every(self.folder, checkpoints)
        return start("finetune", str(self.folder), "--epochs", str(EPOCHS), cwd=self.cwd, log=self.cwd / "log")

    def finish(self) -> tuple[dict[str, Any], bytes]:
        """Return the result without its seconds, and the weights."""
        assert self.begin(SELDOM).wait() == 0, self.log
        found = read_json(self.folder / "finetune" / "result.json")
        (weights,) = (self.folder / NETWORKS).glob(f"*/{WEIGHTS}")
        return {key: found[key] for key in found if key != "seconds"}, weights.read_bytes()


def test_stopped_and_killed_it_ends_with_the_bits_of_an_undisturbed_one(small_run: SmallRun, tmp_path: Path) -> None:
    undisturbed, victim = (Victim(small_run, tmp_path / name) for name in ("undisturbed", "victim"))
    wanted = undisturbed.finish()
    process = victim.begin(SELDOM)
    while "fine-tuning: " not in victim.log and process.poll() is None:
        time.sleep(POLL_SECONDS)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert "the same command resumes" in victim.log
    stopped = victim.steps
    assert stopped > 0
    assert kill_when(victim.begin(OFTEN), lambda: victim.steps > stopped)
    killed = victim.steps
    assert killed > stopped
    assert not (victim.folder / "finetune" / "result.json").exists()
    assert victim.finish() == wanted
    first = re.search(r"fine-tuning: (\d+)/\d+", victim.log)
    assert first is not None
    assert int(first[1]) == killed + 1
    assert not list((victim.folder / NETWORKS).glob(f"*/{CHECKPOINTS}"))


def test_checkpoints_of_another_setting_are_not_resumed(small_run: SmallRun, tmp_path: Path) -> None:
    folder = shutil.copytree(small_run.folder, tmp_path / "run")
    saving_every(folder, 0.0)
    run, seen = open_run(folder), []

    def asked(epochs: float) -> Any:
        return dataclasses.replace(
            run, config=run.config.model_copy(update={"finetune": FinetuneConfig(epochs=epochs)})
        )

    def progress(label: str, done: int, total: int) -> None:
        seen.append((done, total))
        if total > 30 and done == 5:
            raise Killed

    with pytest.raises(Killed):
        run_stages(asked(2), progress, ["finetune"])
    assert list((folder / NETWORKS).glob(f"*/{CHECKPOINTS}/{checkpoint.FILE_NAME}"))
    seen.clear()
    run_stages(asked(1), progress, ["finetune"])
    assert (seen[0][0], seen[-1][0]) == (1, seen[-1][1])
    assert read_json(folder / "finetune" / "result.json")["epochs"] == 1
    (finished,) = (folder / NETWORKS).glob(f"*/{WEIGHTS}")
    assert not (finished.parent / CHECKPOINTS).exists()
