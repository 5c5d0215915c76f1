"""A small space and config, and the command line in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
train: {epochs: 3, batch_size: 64, subnets_per_step: 3}
profile: {networks: 16, rounds: 8}
search: {evaluations: 24, population: 8, calibration_images: 128}
verify: {networks: 5, rounds: 8}
export: {parity_images: 32}
"""


@dataclass(frozen=True)
class SmallRun:
    """A folder to call the command line in, the run inside it, and what the first call printed."""

    cwd: Path
    folder: Path
    stdout: str
    stderr: str

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "summary.json").read_text())


def edgenas(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Call the command line in a process of its own, without a terminal."""
    # BLAS and OpenMP threads that wait by spinning starve the process being timed on machines of few cores.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "COLUMNS": "200"}
    command = [sys.executable, "-W", "error", "-m", "edgenas", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=400, check=False)
