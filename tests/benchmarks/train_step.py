"""Speed and memory of training and evaluation, against the `ofa` package, as JSON.

    python tests/benchmarks/train_step.py > train_step.json
    python tests/benchmarks/train_step.py --rounds 2 --only step overhead

Same subnets, same maths (fp32, kernel transforms, Nesterov SGD), in turn, round by round, so that a burst of other load
falls on all; ratios are medians over rounds. Every round is of other subnets. Steps are each in a process of its own:
oneDNN keeps 1,024 kernels a process, and networks that train in one process drop each other's.

    step        one training step of four random subnets of ofa-mbv3-w1.0, 64 px, batch 32: forward, backward, update;
                theirs as it is, theirs merely in channels-last, ours one subnet after another, and as training goes
                about it, one on each core
    memory      peak memory of that step, weights and gradients included, each in a process of its own
    evaluation  an extracted subnet of ours as it is scored, batch norms folded, and unfolded, against their active
                subnet, 128 px, batch 32
    overhead    net(x, arch) over net.extract(arch), forward, batch 64
    mobile      mobile-32 at 28 px by the sandwich rule of four: subnet-images a second; and what bounds them: the bare
                convolutions of the same subnets, forward and backward, alone
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import machine, versions
from ofa_networks import activate, ofa_network

from edgenas import SuperNet, load_space
from edgenas.config.train_config import TrainConfig
from edgenas.space.arch import Arch
from edgenas.space.blocks.head import HeadSpec
from edgenas.space.blocks.inverted_residual import InvertedResidualSpec
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.blocks.stem import StemSpec
from edgenas.space.cost import cost
from edgenas.space.loading import parse_space
from edgenas.space.space import SearchSpace
from edgenas.supernet.depthwise import WideDepthwise, is_wide_depthwise
from edgenas.supernet.folding import folded
from edgenas.training.optimizer import make_optimizer
from edgenas.training.recipe import StepPlan
from edgenas.training.schedule import sandwich
from edgenas.training.training_step import accumulate_gradients

CLASSES, SUBNETS = 1000, 4
STEP_SIDE, STEP_BATCH = 64, 32
EVALUATION_SIDE, EVALUATION_BATCH = 128, 32
OVERHEAD_BATCH = 64
MOBILE_SIDE, MOBILE_BATCH = 28, 64
SGD = TrainConfig(epochs=1, optimizer="sgd", learning_rate=0.01, weight_decay=3e-5)
MEMORY_STEPS = 3
Work = Callable[[int], object]


def ofa_space(side: int) -> SearchSpace:
    return parse_space({**load_space("ofa-mbv3-w1.0").model_dump(), "resolution": [side]}, "benchmark")


def archs_of(space: SearchSpace, count: int, round_: int) -> list[Arch]:
    rng = np.random.default_rng(round_)
    return [space.sample(rng) for _ in range(count)]


def inputs(batch: int, side: int, *, channels_last: bool) -> torch.Tensor:
    x = torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=torch.channels_last) if channels_last else x


def their_step(*, channels_last: bool) -> Work:
    net = ofa_network(1.0, CLASSES).train()
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
    optimizer, space = make_optimizer(net, SGD), ofa_space(STEP_SIDE)
    x, labels = inputs(STEP_BATCH, STEP_SIDE, channels_last=channels_last), torch.arange(STEP_BATCH)

    def step(round_: int) -> None:
        optimizer.zero_grad()
        for arch in archs_of(space, SUBNETS, round_):
            activate(net, arch)
            F.cross_entropy(net(x), labels).backward()
        optimizer.step()

    return step


def our_step(at_a_time: int | None = None) -> Work:
    """Make a step of our training with labels alone; images are bytes that it normalises, which theirs need not."""
    space = ofa_space(STEP_SIDE)
    net = SuperNet(space.with_classes(CLASSES), kernel_transforms=True).to(memory_format=torch.channels_last).train()
    optimizer = make_optimizer(net, SGD)
    images = torch.randint(0, 256, (STEP_BATCH, 3, STEP_SIDE, STEP_SIDE), dtype=torch.uint8)
    labels = torch.arange(STEP_BATCH)

    def step(round_: int) -> None:
        optimizer.zero_grad()
        lesson = StepPlan(tuple(archs_of(space, SUBNETS, round_)), teacher=None)
        accumulate_gradients(net, images, labels, lesson, at_a_time=at_a_time)
        optimizer.step()

    return step


STEPS: dict[str, Callable[[], Work]] = {
    "theirs": lambda: their_step(channels_last=False),
    "theirs_channels_last": lambda: their_step(channels_last=True),
    "ours_one_by_one": lambda: our_step(1),
    "ours": our_step,
}


def evaluation() -> dict[str, Work]:
    space = ofa_space(EVALUATION_SIDE)
    theirs = ofa_network(1.0, CLASSES)
    ours = SuperNet(space.with_classes(CLASSES), kernel_transforms=True).to(memory_format=torch.channels_last).eval()
    rows, columns = (inputs(EVALUATION_BATCH, EVALUATION_SIDE, channels_last=last) for last in (False, True))
    ready: dict[int, Any] = {}

    def subnet(round_: int) -> Any:
        if round_ not in ready:
            ready.clear()
            (arch,) = archs_of(space, 1, round_)
            subnet = ours.extract(arch).to(memory_format=torch.channels_last).eval()
            ready[round_] = (subnet, folded(subnet))
            activate(theirs, arch)
        return ready[round_]

    # Extracting happens once for a thousand images or more, so it is not timed: `prepare` does it.
    return {
        "prepare": subnet,
        "theirs": lambda round_: theirs(rows),
        "ours": lambda round_: subnet(round_)[1](columns),
        "ours_unfolded": lambda round_: subnet(round_)[0](columns),
    }


def overhead() -> dict[str, Work]:
    space = ofa_space(STEP_SIDE)
    net = SuperNet(space.with_classes(CLASSES), kernel_transforms=True).to(memory_format=torch.channels_last).eval()
    x = inputs(OVERHEAD_BATCH, STEP_SIDE, channels_last=True)
    ready: dict[int, Any] = {}

    def prepare(round_: int) -> None:
        ready.clear()
        (arch,) = archs_of(space, 1, round_)
        ready[round_] = (arch, net.extract(arch).to(memory_format=torch.channels_last).eval())
        net(x[:1], arch)

    return {
        "prepare": prepare,
        "supernet": lambda round_: net(x, ready[round_][0]),
        "subnet": lambda round_: ready[round_][1](x),
    }


def mobile() -> Work:
    space = load_space({"preset": "mobile-32", "resolution": [MOBILE_SIDE]})
    net = SuperNet(space.with_classes(10)).to(memory_format=torch.channels_last).train()
    optimizer = make_optimizer(net, TrainConfig(epochs=1))
    images = torch.randint(0, 256, (MOBILE_BATCH, 1, MOBILE_SIDE, MOBILE_SIDE), dtype=torch.uint8)
    labels = torch.randint(0, 10, (MOBILE_BATCH,))

    def step(round_: int) -> None:
        optimizer.zero_grad()
        accumulate_gradients(net, images, labels, StepPlan(tuple(sandwich(space, SUBNETS, 0, round_))))
        optimizer.step()

    return step


Shape = tuple[int, int, int, int, int, int]
"""Of a convolution: input and output channels, kernel, stride, groups, input size."""


def shapes(specs: Sequence[BlockSpec]) -> list[Shape]:
    """Convolutions of a network, but those of single pixels."""
    found: list[Shape] = []
    for spec in specs:
        match spec:
            case StemSpec():
                found.append((spec.in_channels, spec.out_channels, spec.kernel, spec.stride, 1, spec.in_size))
            case InvertedResidualSpec():
                mid = spec.mid_channels
                found += [(spec.in_channels, mid, 1, 1, 1, spec.in_size)] * spec.expands
                found.append((mid, mid, spec.kernel, spec.stride, mid, spec.in_size))
                found.append((mid, spec.out_channels, 1, 1, 1, spec.out_size))
            case HeadSpec():
                found.append((spec.in_channels, spec.width, 1, 1, 1, spec.in_size))
    return found


def bare(shape: Shape) -> Work:
    """One convolution forward and backward, in channels-last, as supernets have it."""
    in_channels, out_channels, kernel, stride, groups, size = shape
    x = torch.randn(MOBILE_BATCH, in_channels, size, size).contiguous(memory_format=torch.channels_last)
    # Images themselves have no gradient.
    x.requires_grad_(in_channels != 3)
    layer = (in_channels, out_channels, kernel, stride, kernel // 2)
    conv = torch.nn.Conv2d(*layer, groups=groups, bias=False)
    if is_wide_depthwise(conv):
        conv = WideDepthwise(*layer, groups=groups, bias=False)

    def both(round_: int) -> None:
        y = conv(x)
        y.backward(torch.ones_like(y))

    return both


def mobile_bound(rounds: int) -> dict[str, Any]:
    """What convolutions alone allow: all that they take, over the subnets of as many steps as `mobile` does."""
    space = load_space({"preset": "mobile-32", "resolution": [MOBILE_SIDE]})
    steps = [sandwich(space, SUBNETS, 0, round_) for round_ in range(1, rounds + 1)]
    specs = [space.with_classes(10).unroll(arch) for step in steps for arch in step]
    counts = Counter(shape for own in specs for shape in shapes(own))
    times = in_turn({str(shape): bare(shape) for shape in counts}, max(5, rounds // 2))
    seconds = {shape: float(np.median(times[str(shape)])) for shape in counts}
    whole = sum(count * seconds[shape] for shape, count in counts.items())
    depthwise = sum(count * seconds[shape] for shape, count in counts.items() if shape[4] > 1)
    macs = sum(cost(own).macs for own in specs)
    images = len(specs) * MOBILE_BATCH
    return {
        "convolutions_alone_subnet_images_per_second": round(images / whole, 1),
        "share_depthwise": round(depthwise / whole, 3),
        "macs_per_subnet_image": round(macs / len(specs)),
        # Going backward takes two products for each of going forward.
        "convolutions_gflops": round(2 * 3 * macs * MOBILE_BATCH / whole / 1e9, 1),
        "distinct_convolutions": len(counts),
    }


def in_turn(works: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """Seconds of each work in every round but the first; `prepare` is done before the others and not timed."""
    prepare = works.get("prepare", lambda round_: None)
    seconds: dict[str, list[float]] = {name: [] for name in works if name != "prepare"}
    for round_ in range(rounds + 1):
        prepare(round_)
        for name in seconds:
            started = time.perf_counter()
            works[name](round_)
            taken = time.perf_counter() - started
            # The first round warms up.
            seconds[name] += [taken] if round_ else []
    return seconds


def step_in_turn(rounds: int) -> dict[str, list[float]]:
    """Seconds of every kind of step in every round but the first two, which make kernels."""
    words = [sys.executable, __file__, "--steps-of"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    seconds: dict[str, list[float]] = {name: [] for name in STEPS}
    with ExitStack() as stack:
        started = {name: stack.enter_context(subprocess.Popen([*words, name], **pipes)) for name in STEPS}
        for round_ in range(rounds + 2):
            for name, process in started.items():
                print(round_, file=process.stdin, flush=True)
                taken = float(process.stdout.readline())
                seconds[name] += [taken] if round_ > 1 else []
    return seconds


def serve_steps(which: str) -> None:
    """Do the steps whose rounds come in, and tell the seconds of each."""
    step = STEPS[which]()
    for line in sys.stdin:
        started = time.perf_counter()
        step(int(line))
        print(time.perf_counter() - started, flush=True)


def summary(seconds: dict[str, list[float]], base: str) -> dict[str, Any]:
    """Return medians, and the time of `base` divided by that of each other work."""
    medians = {name: round(1e3 * float(np.median(values)), 2) for name, values in seconds.items()}
    ratios = {
        name: [round(float(q), 3) for q in np.quantile(np.divide(seconds[base], values), [0.5, 0.1, 0.9])]
        for name, values in seconds.items()
        if name != base
    }
    return {"ms_median": medians, f"{base}_over": ratios, "ratio_is": "median, 10 % and 90 % quantile over rounds"}


def peak_bytes(which: str) -> int:
    """Most memory that building and training took beyond what was resident before, in a fresh process."""
    command = [sys.executable, __file__, "--memory-of", which]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure_memory(which: str) -> None:
    def status(key: str) -> int:
        found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found
        return 1024 * int(found[1])

    # 5 sets the peak back to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    step = STEPS[which]()
    for round_ in range(MEMORY_STEPS):
        step(round_)
    print(status("VmHWM") - before)


def measured(part: str, rounds: int) -> dict[str, Any]:
    if part == "step":
        return summary(step_in_turn(rounds), "theirs")
    if part == "memory":
        return {f"{which}_peak_bytes": peak_bytes(which) for which in STEPS}
    if part == "mobile":
        (seconds,) = in_turn({"ours": mobile()}, rounds).values()
        space = load_space({"preset": "mobile-32", "resolution": [MOBILE_SIDE]})
        return {
            "subnet_images_per_second": round(SUBNETS * MOBILE_BATCH / float(np.median(seconds)), 1),
            "largest_macs": cost(space.with_classes(10).unroll(space.largest)).macs,
        } | mobile_bound(rounds)
    with torch.inference_mode():
        works = evaluation() if part == "evaluation" else overhead()
        return summary(in_turn(works, rounds), "theirs" if part == "evaluation" else "supernet")


PARTS = ("step", "memory", "evaluation", "overhead", "mobile")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--steps-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        measure_memory(arguments.memory_of)
        return
    if arguments.steps_of:
        serve_steps(arguments.steps_of)
        return
    before = {**machine(), **versions("torch")}
    results = {part: measured(part, arguments.rounds) for part in arguments.only}
    print(json.dumps({"machine": before, "rounds": arguments.rounds, "results": results}, indent=2))


if __name__ == "__main__":
    main()
