"""Train the problem of `halves.py` in one of several processes, in double precision.

`python train_in_group.py FOLDER RECIPE [STEP [sleep]]`

With STEP, the last process ends itself after that step. With `sleep`, every process instead sleeps a little after each
step from then on.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import torch
from halves import CONFIG, problem, quiet, supernet

from edgenas.exits import exit_codes
from edgenas.training import training_loop as loop
from edgenas.training.distributed import join_process_group

STEPS = 20


def main(folder: Path, recipe: str, ends: int | None, sleeps: bool) -> None:
    torch.set_num_threads(1)
    update = {"recipe": recipe, "epochs": STEPS / 6, "learning_rate": 1e-3, "clip_norm": 5.0, "device": "cpu"}
    config = CONFIG.model_copy(update=update)
    with join_process_group(torch.device("cpu")) as processes:

        def progress(label: str, done: int, total: int) -> None:
            if sleeps and ends is not None and done >= ends:
                time.sleep(0.2)
            elif done == ends and processes.rank == processes.count - 1:
                os._exit(9)

        net = supernet().double()
        loop.train(
            net, problem(), config, seed=5, folder=folder, progress=progress if ends else quiet, processes=processes
        )


if __name__ == "__main__":
    with exit_codes():
        main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None, "sleep" in sys.argv)
