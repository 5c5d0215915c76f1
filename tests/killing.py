"""Killing a run of the command line, and telling whether what it ends with is what an undisturbed one ends with."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_edgenas
import safetensors.torch
from forked import Forked

from edgenas.files import read_json
from edgenas.records.paths import RESULTS
from edgenas.runs.run import open_run
from edgenas.runs.stage_order import ORDER
from edgenas.stages.weights.tuned_network import NETWORKS, WEIGHTS
from edgenas.training import checkpoint

TESTS = Path(__file__).parent
POLL_SECONDS = 0.02


def start(*arguments: str, cwd: Path, log: Path, pace: float = 0.0) -> Forked:
    """Start the command line as a process, with a synthetic device; all its output goes into `log`.

    Args:
        arguments: of the command line.
        cwd: its working folder, which is made.
        log: the file.
        pace: seconds that each process of the timer takes.
    """
    cwd.mkdir(parents=True, exist_ok=True)
    return Forked(fake_edgenas.main, pace, *arguments, cwd=cwd, stdout=log, stderr=log)


def python_path() -> str:
    """Where children find this very edgenas, installed or not."""
    return os.pathsep.join([str(TESTS.parent), os.environ.get("PYTHONPATH", "")])


def kill_when(process: Forked | subprocess.Popen[bytes], due: Callable[[], bool]) -> bool:
    """Kill -9 as soon as it is due; whether it came to that before the process ended."""
    while process.poll() is None and not due():
        time.sleep(POLL_SECONDS)
    process.kill()
    return process.wait() < 0


def stage_of(folder: Path) -> str:
    """The stage that a run folder is in."""
    if not (folder / "config.yaml").exists():
        return "start"
    run = open_run(folder)
    undone = (stage for stage in ORDER if run.lacks(stage) is None and not (folder / RESULTS[stage]).exists())
    return next(undone, "end")


def findings(folder: Path) -> dict[str, Any]:
    """What two runs of one seed and one set of measurements must share, to the last bit."""
    score = read_json(folder / "latency" / "here" / "score.json")
    search, verified = (read_json(folder / stage / "result.json") for stage in ("search", "verify"))
    return {
        "weights": weights_digest(folder / "supernet"),
        "predictor": score,
        "search front": search["front"],
        "hypervolume": search["hypervolume_by_batch"],
        "front": verified["front"],
        "chosen": verified["chosen"],
        "fine-tuned": [path.read_bytes() for path in sorted((folder / NETWORKS).glob(f"*/{WEIGHTS}"))],
        "export": read_json(folder / "export" / "result.json"),
    }


def weights_digest(folder: Path) -> str:
    """Of all tensors of a checkpoint; its header counts seconds, which no two runs share."""
    tensors = safetensors.torch.load_file(folder / checkpoint.FILE_NAME)
    return hashlib.sha256(b"".join(n.encode() + tensors[n].numpy().tobytes() for n in sorted(tensors))).hexdigest()


def differences(folder: Path, undisturbed: Path) -> list[str]:
    """Names of what the two do not share."""
    one, other = findings(folder), findings(undisturbed)
    return [name for name in one if one[name] != other[name]]
