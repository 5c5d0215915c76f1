"""The command line with a timer that replays: `python replay.py RECORDED SECONDS ARGUMENTS...`.

Every row that a finished run folder keeps is given again for the same model (of a front: for the same bytes) in the
process of the same number. So a run that is killed and an undisturbed one see the same measurements. A process of
the timer takes SECONDS. With EDGENAS_TEST_CHECKPOINT_SECONDS in the environment, checkpoints come as often.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgenas import cli
from edgenas.deploy.onnx.exporter import model_metadata
from edgenas.files import read_jsonl
from edgenas.latency.device import DeviceRun
from edgenas.profiling.measurement import PROCESSES
from edgenas.profiling.transports import local
from edgenas.training import training_loop as loop


class Replay:
    """Stands in for `run_bench`."""

    def __init__(self, recorded: Path, seconds: float) -> None:
        paths = [*recorded.glob("latency/*/*.jsonl"), *recorded.glob("verify/*.jsonl")]
        lines = [line for path in sorted(paths) for line in read_jsonl(path)]
        self.rows = {
            (line["identity"]["precision"], " ".join(map(str, line["name"])), line["process"]): line["timed"]
            for line in lines
            if "timed" in line  # verify/ also keeps what was quantised
        }
        # Of the same bytes as a network of the front, timed alone once more.
        self.shipped = {
            (line["name"][1], line["process"]): line["timed"]
            for path in recorded.glob("export/measured/*.jsonl")
            for line in read_jsonl(path)
            if "timed" in line
        }
        self.seconds = seconds

    def __call__(
        self,
        models: Sequence[Path],
        run: DeviceRun,
        *,
        rounds: int,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[dict[str, Any]]:
        if progress:
            progress(0, len(models))
        time.sleep(self.seconds)
        # Configs whose seed is a multiple of their number give processes their numbers as seeds.
        process = seed % PROCESSES
        if len(models) == 1 and (shipped := self.shipped.get((digest(models[0]), process))):
            return [shipped]
        return [self.rows[*recorded_name(model), process] for model in models]


def digest(model: Path) -> str:
    return hashlib.sha256(model.read_bytes()).hexdigest()


def recorded_name(model: Path) -> tuple[str, str]:
    """Precision and name that a model's rows are kept under; our exporter writes most of them into the file."""
    metadata = model_metadata(model)
    precision, arch = metadata.get("precision", "fp32"), metadata["arch"]
    if arch.startswith(("block ", "network ")):
        return precision, arch
    variant = f"{metadata['graph_variant']} " if metadata.get("for_timing") == "true" else ""
    return precision, f"network {digest(model)} 0 {variant}{arch}"


if __name__ == "__main__":
    recorded, seconds, *arguments = sys.argv[1:]
    local.run_bench = Replay(Path(recorded), float(seconds))
    loop.CHECKPOINT_SECONDS = float(os.environ.get("EDGENAS_TEST_CHECKPOINT_SECONDS", loop.CHECKPOINT_SECONDS))
    sys.argv = ["edgenas", *arguments]
    cli.main()
