"""A small space and config, a run of them on a synthetic device that all workers share, and the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
SMALL_SPACE = """\
schema_version: 1
name: tiny-16
resolution: [12, 16]
stem: {width: 8, kernel: 3, stride: 1, activation: hardswish}
stages:
  - {width: [8], depth: [1], kernel: [3], expand: [1], stride: 1, activation: relu, squeeze_excite: false}
  - width: [16, 24]
    depth: [1, 2]
    kernel: [3, 5]
    expand: [2, 4]
    stride: 2
    activation: hardswish
    squeeze_excite: true
head: {width: 64, features: 0, activation: hardswish}
"""

SMALL_CONFIG = """\
name: small
space: tiny-16.yaml
data: {name: digits}
train: {recipe: sandwich, epochs: 3, batch_size: 64, subnets_per_step: 3}
profile: {networks: 16, rounds: 8}
search: {evaluations: 24, population: 8, calibration_images: 128}
verify: {networks: 5, rounds: 8, refits: 6}
finetune: {epochs: 0}
export: {parity_images: 32}
"""


SHORT = ("--set", "profile.blocks=20", "--set", "profile.networks=10", "--set", "profile.rounds=8")
SHORT += ("--set", "export.graph_variant=direct", "--set", "verify.networks=3")
"""Options of a whole run that measures as little as a run can."""

WATCH = """\
# Imported by every Python process that finds it on its path: notes what the process opens for writing.
import os, sys
log = os.open(os.path.join(os.environ["EDGENAS_TEST_WRITES"], str(os.getpid())), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
changing = {"os.mkdir": 1, "os.rename": 2, "os.link": 2, "os.symlink": 2, "os.truncate": 1, "os.chmod": 1}

def watch(event, arguments):
    if event in changing or (event == "open" and arguments[2] & writing):
        for path in arguments[: changing.get(event, 1)]:
            if isinstance(path, (str, bytes, os.PathLike)):
                os.write(log, os.path.abspath(os.fsencode(path)) + b"\\n")

sys.addaudithook(watch)
"""
"""A sitecustomize.py."""


@dataclass(frozen=True)
class SmallRun:
    """A folder to call the command line in, the run inside it, and what the first call printed and wrote to."""

    cwd: Path
    folder: Path
    temporary: Path
    stdout: str
    stderr: str
    written: frozenset[Path]

    def copied(self, cwd: Path) -> SmallRun:
        """Return a copy of all of it, which a test may lock or change, in a folder that does not exist yet."""
        shutil.copytree(self.root, cwd, symlinks=True)

        def moved(path: Path) -> Path:
            return cwd / path.relative_to(self.root) if path.is_relative_to(self.root) else path

        paths = {name: moved(getattr(self, name)) for name in ("cwd", "folder", "temporary")}
        return replace(self, **paths, written=frozenset(map(moved, self.written)))

    @property
    def root(self) -> Path:
        """The folder that all of it is in."""
        return self.cwd.parent

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "summary.json").read_text())


def make_small_run(root: Path) -> None:
    """Make a whole run of the small config in `root`/here, with all that its processes write noted."""
    here, temporary, watch, writes = (root / name for name in ("here", "temporary", "watch", "writes"))
    for folder in (here, temporary, watch, writes):
        folder.mkdir(parents=True)
    (here / "tiny-16.yaml").write_text(SMALL_SPACE)
    (here / "small.yaml").write_text(SMALL_CONFIG)
    (watch / "sitecustomize.py").write_text(WATCH)
    path = os.pathsep.join([str(watch), *filter(None, [os.environ.get("PYTHONPATH")])])
    watched = {"PYTHONPATH": path, "TMPDIR": str(temporary), "EDGENAS_TEST_WRITES": str(writes)}
    # Torch puts this one's place into the environment of whatever process has exported a model before.
    watched["TORCHINDUCTOR_CACHE_DIR"] = str(temporary / "torchinductor")
    done = _process([str(TESTS / "fake_edgenas.py"), "0", "run", "small.yaml"], here, watched)
    assert done.returncode == 0, done.stderr
    (root / "stdout").write_text(done.stdout)
    (root / "stderr").write_text(done.stderr)


def read_small_run(root: Path) -> SmallRun:
    """Return the run that was made in `root`."""
    lines = [os.fsdecode(line) for log in (root / "writes").iterdir() for line in log.read_bytes().splitlines()]
    stdout, stderr = ((root / name).read_text() for name in ("stdout", "stderr"))
    here, written = root / "here", frozenset(map(Path, lines))
    return SmallRun(here, here / "runs" / "small", root / "temporary", stdout, stderr, written)


def edgenas(
    *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Call the command line in this process, without a terminal; `environment` is added to this one's."""
    # Imported here: torch takes its number of threads from the environment that conftest.py sets.
    from damaging import call

    ended = call(*arguments, cwd=cwd, environment=environment)
    return subprocess.CompletedProcess(["edgenas", *arguments], ended.code, ended.stdout, ended.stderr)


def edgenas_process(
    *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Do the same in a process of its own, for tests of what a process does."""
    return _process(["-m", "edgenas", *arguments], cwd, environment or {})


def _process(words: list[str], cwd: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    # BLAS and OpenMP threads that wait by spinning starve the process being timed on machines of few cores.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "COLUMNS": "200", **environment}
    command = [sys.executable, "-W", "error", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900, check=False)
