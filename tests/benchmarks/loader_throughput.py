"""Can the loader keep the CPU's training step fed? Images a second of both, as JSON.

    python tests/benchmarks/loader_throughput.py --images 2048 --rounds 5

For every size: how many images a second the set gives while nothing else runs, kept in memory and decoded from
files (JPEG of one and a half the size) with one thread a core; how many a training step of four subnets takes; and how
much longer the step takes when it is fed from files than when it is fed from memory, since both want the same cores.
Settings are timed in turn, round by round.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine, versions
from PIL import Image
from torch import Tensor

from edgenas import SuperNet, load_space
from edgenas.config.sections import DataConfig
from edgenas.config.train_config import AugmentConfig, TrainConfig
from edgenas.training.data.augment import augment
from edgenas.training.data.dataset import Dataset, load_dataset
from edgenas.training.data.split import Split
from edgenas.training.optimizer import make_optimizer
from edgenas.training.recipe import StepPlan
from edgenas.training.schedule import batch_indices, sandwich
from edgenas.training.training_step import accumulate_gradients

SIZES = {28: "mobile-32", 32: "mobile-32", 96: "mobile-96"}
SUBNETS = 4
STEPS = 4
AUGMENT = AugmentConfig(shift=0.1, flip=True)


def write_images(root: Path, side: int, count: int) -> None:
    """Class folders of smooth noise, which compresses about as photographs do."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (max(2, side // 6), max(2, side // 6), 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((side * 3 // 2, side * 3 // 2), Image.Resampling.BICUBIC)
        path = root / f"class{number % 10}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        image.save(path, quality=90)


def batches(dataset: Dataset, batch: int, start: int) -> Iterator[Split]:
    """Load batches as the training loop does."""
    count = len(dataset.train)
    return dataset.train.stream(batch_indices(count, batch, 0, range(start, start + STEPS)))


def augmented(split: Split, num_classes: int, number: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(number)
    return augment(split.tensor(), split.labels, AUGMENT, num_classes, generator)


def loading(dataset: Dataset, batch: int, start: int) -> None:
    for number, split in enumerate(batches(dataset, batch, start)):
        augmented(split, dataset.num_classes, number)


def training(net: SuperNet, dataset: Dataset, batch: int, start: int) -> None:
    optimizer = make_optimizer(net, TrainConfig(epochs=1))
    for number, split in enumerate(batches(dataset, batch, start)):
        images, labels = augmented(split, dataset.num_classes, number)
        accumulate_gradients(net, images, labels, StepPlan(tuple(sandwich(net.space, SUBNETS, 0, number))))
        optimizer.step()


def rates(settings: dict[str, Callable[[int], None]], rounds: int, images: int) -> dict[str, list[float]]:
    """Images a second of every setting and round."""
    found: dict[str, list[float]] = {name: [] for name in settings}
    for round_number in range(rounds + 1):
        for name, work in settings.items():
            started = time.perf_counter()
            work(round_number * STEPS)
            # The first round warms up.
            found[name] += [images / (time.perf_counter() - started)] if round_number else []
    return found


def measure(side: int, count: int, batch: int, rounds: int) -> dict[str, Any]:
    space = load_space({"preset": SIZES[side], "resolution": [side]})
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), side, count)
        config = DataConfig(name="imagefolder", path=Path(folder))
        kept = load_dataset(config, 0, resolution=side)
        files = load_dataset(config.model_copy(update={"memory_mb": 0}), 0, resolution=side)
        net = SuperNet(space.with_classes(kept.num_classes)).to(memory_format=torch.channels_last).train()
        found = rates(
            {
                "loading_from_memory": lambda start: loading(kept, batch, start),
                "loading_from_files": lambda start: loading(files, batch, start),
                "training_from_memory": lambda start: training(net, kept, batch, start),
                "training_from_files": lambda start: training(net, files, batch, start),
            },
            rounds,
            STEPS * batch,
        )
    ratios = np.array(found["training_from_files"]) / np.array(found["training_from_memory"])
    speeds = {f"{name}_images_per_second": spread(values, 1) for name, values in found.items()}
    return {"space": space.name, "training_speed_from_files_over_from_memory": spread(ratios.tolist(), 3), **speeds}


def spread(values: list[float], digits: int) -> dict[str, float]:
    """Median and range."""
    found = {"median": float(np.median(values)), "min": min(values), "max": max(values)}
    return {name: round(value, digits) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    before = {**machine(), **versions("torch")}
    results = {f"{side}px": measure(side, arguments.images, arguments.batch, arguments.rounds) for side in SIZES}
    print(json.dumps({"machine": before, "setting": vars(arguments), "results": results}, indent=2))


if __name__ == "__main__":
    main()
