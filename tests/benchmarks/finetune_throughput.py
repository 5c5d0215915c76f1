"""Where does the time of fine-tuning a pretrained network on a CPU go? Milliseconds of CPU time a batch, as JSON.

    OMP_NUM_THREADS=1 python tests/benchmarks/finetune_throughput.py --rounds 8

EfficientNet-Lite0 with ImageNet weights and ten classes, in batches of 32, at 96 and 128 px, on one thread: reading and
decoding JPEG files, taking images kept in memory, augmentation, resizing from the size at which images are kept,
normalisation, forward and backward passes, and the optimiser. Then the same passes in other ways: torch's own modules,
channels first, bf16, and with the first blocks frozen, whose activations are computed again or taken from memory. Works
are timed in turn, round by round. CPU time of one thread is hardly changed by other programs. --memory prints the
largest resident size of a process that fine-tunes, instead.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loader_throughput import write_images
from machine import machine, versions
from torch import Tensor

from edgenas import SuperNet, space_from
from edgenas.config.train_config import AugmentConfig, TrainConfig
from edgenas.space.cost import cost
from edgenas.supernet.functional import run_block, run_subnet
from edgenas.supernet.pretrained.sources import load_pretrained
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.augment import augment
from edgenas.training.data.image_files import ImageFiles
from edgenas.training.data.preprocess import Preprocess
from edgenas.training.data.split import Split
from edgenas.training.finetuning import with_classes
from edgenas.training.losses import hard_loss
from edgenas.training.optimizer import make_optimizer
from edgenas.training.standalone import train_network

NETWORK, CLASSES, BATCH = "efficientnet-lite0", 10, 32
KEPT = 144
"""Shorter side in pixels of images kept in memory."""
SIDES = (96, 128)
FROZEN = (2, 4, 6, 9)
"""First blocks that are frozen, of 18."""
CONFIG = TrainConfig(epochs=1, batch_size=BATCH, learning_rate=1e-4, augment=AugmentConfig(shift=0.1, flip=True))
MEMORY_STEPS = 5
Work = Callable[[], object]


def network(side: int) -> Subnet:
    """Return the network with its weights and another classifier, in train mode."""
    module = load_pretrained(NETWORK).module
    space = space_from(module, name=NETWORK, resolutions=[side])
    net = with_classes(SuperNet.from_network(space, module).extract(space.largest), CLASSES)
    return net.to(memory_format=torch.channels_last).train()


def batch(side: int) -> Split:
    """Return noise as a batch of images that are kept in memory."""
    generator = torch.Generator().manual_seed(side)
    images = torch.randint(0, 256, (BATCH, 3, side, side), dtype=torch.uint8, generator=generator)
    return Split(images, torch.randint(0, CLASSES, (BATCH,), generator=generator))


def loading(side: int, files: ImageFiles) -> dict[str, Work]:
    """Return what happens to images before the network."""
    kept, generator = batch(KEPT), torch.Generator().manual_seed(0)
    at_size = batch(side).tensor()
    indices, preprocess = np.arange(BATCH), Preprocess(side)
    return {
        "decode_files": lambda: files[:],
        "take": lambda: kept.take(indices),
        "augment": lambda: augment(kept.tensor(), kept.labels, CONFIG.augment, CLASSES, generator),
        "resize_and_normalise": lambda: preprocess(kept.tensor()),
        "normalise": lambda: preprocess(at_size),
    }


def passes(side: int) -> dict[str, Work]:
    """Return the passes of a step, as training runs them and in other ways."""
    net = network(side)
    x, labels = Preprocess(side)(batch(side).tensor()), batch(side).labels
    optimizer = make_optimizer(net, CONFIG)
    first = network(side).to(memory_format=torch.contiguous_format)
    x_first = x.contiguous()

    def backward(logits: Callable[[], Tensor]) -> None:
        optimizer.zero_grad()
        hard_loss(logits(), labels, 0.0).backward()  # type: ignore[no-untyped-call]

    def in_bf16() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return run_subnet(net, x)

    works: dict[str, Work] = {
        "forward_without_gradients": torch.no_grad()(lambda: run_subnet(net, x)),
        "forward": lambda: run_subnet(net, x),
        "forward_backward": lambda: backward(lambda: run_subnet(net, x)),
        "optimiser": optimizer.step,
        "forward_backward_torch_modules": lambda: backward(lambda: net(x)),
        "forward_backward_channels_first": lambda: backward(lambda: first(x_first)),
        "forward_backward_bf16": lambda: backward(in_bf16),
    }
    for count in FROZEN:
        activations = frozen_part(net, x, count)
        works[f"frozen_{count}"] = partial(backward, partial(half_frozen, net, x, count))
        works[f"frozen_{count}_from_memory"] = partial(backward, partial(trained_part, net, activations, count))
    return works


def half_frozen(net: Subnet, x: Tensor, count: int) -> Tensor:
    """Return logits; the first blocks run without gradients."""
    return trained_part(net, frozen_part(net, x, count), count)


@torch.no_grad()
def frozen_part(net: Subnet, x: Tensor, count: int) -> Tensor:
    """Return the output of the first blocks, in eval mode."""
    return _through(net, x, slice(count), training=False)


def trained_part(net: Subnet, x: Tensor, count: int) -> Tensor:
    """Return logits from the output of the first blocks."""
    return _through(net, x, slice(count, None), training=True)


def _through(net: Subnet, x: Tensor, part: slice, *, training: bool) -> Tensor:
    for spec, block in list(zip(net.specs, net.blocks.values(), strict=True))[part]:
        weights = {**dict(block.named_parameters()), **dict(block.named_buffers())}
        x = run_block(spec, weights, x, training=training)
    return x


def milliseconds(works: dict[str, Work], rounds: int) -> dict[str, float]:
    """Return the median CPU time of each work; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            started = time.process_time()
            work()
            seconds[name] += [time.process_time() - started] if number else []
    return {name: round(1e3 * float(np.median(values)), 2) for name, values in seconds.items()}


def measured(side: int, rounds: int) -> dict[str, Any]:
    """Return the times at one size, and what they are of a step."""
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), KEPT, BATCH)
        names = tuple(sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*.jpg")))
        times = milliseconds(loading(side, ImageFiles(Path(folder), names, KEPT, 1)), rounds)
    times |= milliseconds(passes(side), rounds)
    step = sum(times[name] for name in ("take", "augment", "resize_and_normalise", "forward_backward", "optimiser"))
    net = network(side)
    macs = cost(net.specs).macs
    return {
        "ms_a_batch": times,
        "step_ms": round(step, 1),
        "images_per_second": round(1e3 * BATCH / step, 1),
        "share_of_the_network": round(times["forward_backward"] / step, 3),
        "macs": macs,
        # Going backward takes two products for each of going forward.
        "network_gflops": round(2 * 3 * macs * BATCH / times["forward_backward"] / 1e6, 1),
        "frozen_activation_bytes_an_image": {
            str(count): frozen_part(net, torch.zeros(1, 3, side, side), count).numel() * 4 for count in FROZEN
        },
    }


def peak_bytes(side: int) -> int:
    """Return the largest resident size of this process after some steps."""
    steps, images = MEMORY_STEPS, batch(KEPT)
    train_network(network(side), images, CONFIG, steps=steps, seed=0, progress=lambda done, total: None)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--sides", nargs="+", type=int, default=SIDES)
    parser.add_argument("--memory", action="store_true", help="largest resident size, at the largest side")
    arguments = parser.parse_args()
    before = {**machine(), **versions("torch")}
    if arguments.memory:
        side = max(arguments.sides)
        print(json.dumps({"machine": before, "side": side, "batch": BATCH, "peak_rss_bytes": peak_bytes(side)}))
        return
    results = {f"{side}px": measured(side, arguments.rounds) for side in arguments.sides}
    print(json.dumps({"machine": before, "setting": vars(arguments), "results": results}, indent=2))


if __name__ == "__main__":
    main()
