"""Speed of a training step on this machine, as JSON.

    python tests/benchmarks/training_step.py --space mobile-32 --resolution 28 --batch 64 --subnets 4

Settings are timed in turn, round by round, so that a burst of other load falls on all of them: subnets run in
channels-last and in contiguous memory, and, on the CPU, with bf16 autocast.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time

import numpy as np
import torch
from machine import machine, versions

from edgenas import SuperNet, load_space
from edgenas.config.train_config import TrainConfig
from edgenas.training.optimizer import make_optimizer
from edgenas.training.recipe import StepPlan
from edgenas.training.schedule import sandwich
from edgenas.training.training_step import accumulate_gradients


def step_seconds(net: SuperNet, batch: int, subnets: int, step: int, *, bf16: bool) -> float:
    """Seconds of one step on random images."""
    side = net.space.resolution[-1]
    images = torch.randint(0, 256, (batch, 1, side, side), dtype=torch.uint8)
    labels = torch.randint(0, net.space.num_classes, (batch,))
    optimizer = make_optimizer(net, TrainConfig(epochs=1))
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext():
        accumulate_gradients(net, images, labels, StepPlan(tuple(sandwich(net.space, subnets, 0, step))))
    optimizer.step()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="mobile-32")
    parser.add_argument("--resolution", type=int, default=28)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--subnets", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    before = {**machine(), **versions("torch")}
    space = load_space({"preset": arguments.space, "resolution": [arguments.resolution]})
    formats = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
    nets = {name: SuperNet(space.with_classes(10)).to(memory_format=kind).train() for name, kind in formats.items()}
    settings = {name: (net, False) for name, net in nets.items()} | {
        "channels_last_bf16": (nets["channels_last"], True)
    }
    seconds: dict[str, list[float]] = {name: [] for name in settings}
    for step in range(arguments.rounds + 1):
        for name, (net, bf16) in settings.items():
            taken = step_seconds(net, arguments.batch, arguments.subnets, step, bf16=bf16)
            seconds[name] += [taken] if step else []  # the first round warms up
    images = arguments.batch * arguments.subnets
    results = {
        name: {
            "subnet_images_per_second": round(images / float(np.median(values)), 1),
            "step_ms_median": round(1e3 * float(np.median(values)), 1),
            "step_ms_p10_p90": [round(1e3 * float(np.quantile(values, q)), 1) for q in (0.1, 0.9)],
        }
        for name, values in seconds.items()
    }
    print(json.dumps({"machine": before, "setting": vars(arguments), "results": results}, indent=2))


if __name__ == "__main__":
    main()
