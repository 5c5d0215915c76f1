"""Latencies of EfficientNet-Lite0, 1 and 2 at many resolutions, and the budgets that follow from them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torchvision

from edgenas import space_from
from edgenas.deploy.onnx.exporter import export_variants
from edgenas.display import ProgressDisplay
from edgenas.latency.device import probe
from edgenas.profiling.measurement import Measurement
from edgenas.profiling.session import measure_networks
from edgenas.profiling.transport_registry import TransportRegistry
from edgenas.profiling.verdict import upper_limit_us
from edgenas.space.graph_variant import GraphVariant
from edgenas.space.space import SearchSpace
from edgenas.supernet.pretrained.sources import load_pretrained

RIVALS = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
RESOLUTIONS = tuple(range(32, 225, 16))
CLASSES = 10
"""Outputs of the networks that are timed; a few more or less make no difference to latency."""
LITE0 = RIVALS[0]
LITE0_BUDGETS = {f"lite0-{side}": (side, 1.0) for side in (64, 96, 160)} | {"half-lite0-96": (96, 0.5)}
"""Resolution of Lite0, and the share of its latency, by the name of a budget."""
ZOO_BUDGETS = {"mobilenet-v2-0.35-224": 224, "mobilenet-v1-0.5-224": 224}
"""Networks of a vendor's zoo whose latency is a budget, with their resolution."""
HEADROOM = 1.03
"""Budget over the upper confidence limit of the latency that it is named after."""
BUDGETS = (*LITE0_BUDGETS, *ZOO_BUDGETS)


@dataclass(frozen=True, order=True)
class Rival:
    """A network of the shelf at a resolution."""

    network: str
    resolution: int

    @property
    def name(self) -> str:
        """Return its name in rows."""
        return f"{self.network}@{self.resolution}"


@dataclass(frozen=True)
class Latency:
    """The latency of a network in its fastest graph variant.

    Attributes:
        ms: p50.
        upper_ms: upper confidence limit of the p50, which edgenas also compares with a budget.
        variant: the graph variant.
    """

    ms: float
    upper_ms: float
    variant: GraphVariant


def network_space(name: str, resolutions: tuple[int, ...] = RESOLUTIONS) -> SearchSpace:
    """Return the space that holds a network alone, at some resolutions."""
    module = load_pretrained(name).module
    return space_from(
        module, name=name, kernels=(), expand_ratios=(), depths=(), widths=(), resolutions=list(resolutions)
    )


def rivals() -> list[Rival]:
    """Return all networks at all resolutions."""
    return [Rival(name, side) for name in RIVALS for side in RESOLUTIONS]


def measure_rivals(work: Path, rounds: int) -> dict[Rival, Latency]:
    """Return the latency of every rival: one thread, fp32, by edgenas' timer. Stored rows are not measured again."""
    specs = {}
    for name in RIVALS:
        space = network_space(name).with_classes(CLASSES)
        for side in RESOLUTIONS:
            specs[Rival(name, side).name] = space.unroll(replace(space.largest, resolution=side))
    with tempfile.TemporaryDirectory() as folder:
        files = export_variants(specs, Path(folder))
        names = {f"{variant} {name}": path for (variant, name), path in files.items()}
        measured = _measure(names, work / "latency" / "rivals.jsonl", rounds)
    variants = list(dict.fromkeys(variant for variant, _ in files))
    fastest = {
        rival: min(variants, key=lambda variant: measured[f"{variant} {rival.name}"].p50_us) for rival in rivals()
    }
    return {rival: _latency(measured[f"{variant} {rival.name}"], variant) for rival, variant in fastest.items()}


def _latency(measured: Measurement, variant: GraphVariant) -> Latency:
    return Latency(1e-3 * measured.p50_us, 1e-3 * _upper_us(measured), variant)


def _upper_us(measured: Measurement) -> float:
    upper_us = upper_limit_us(measured.processes_p50_us)
    assert upper_us is not None
    return max(measured.p50_us, upper_us)


def measure_zoo(work: Path, rounds: int) -> dict[str, float]:
    """Return the upper limits of the zoo's networks in milliseconds, as torch exports them."""
    nets = {
        "mobilenet-v2-0.35-224": torchvision.models.mobilenet_v2(width_mult=0.35, num_classes=CLASSES),
        "mobilenet-v1-0.5-224": _mobilenet_v1(0.5),
    }
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.onnx" for name in nets}
        for name, net in nets.items():
            example = torch.rand(1, 3, ZOO_BUDGETS[name], ZOO_BUDGETS[name], generator=torch.Generator().manual_seed(0))
            torch.onnx.export(net.eval(), (example,), paths[name], external_data=False, verbose=False)
        measured = _measure(paths, work / "latency" / "zoo.jsonl", rounds)
    return {name: 1e-3 * _upper_us(timing) for name, timing in measured.items()}


def _measure(models: Mapping[str, Path], out: Path, rounds: int) -> dict[str, Measurement]:
    device = probe()
    out.parent.mkdir(parents=True, exist_ok=True)
    with ProgressDisplay() as progress:
        return measure_networks(
            models,
            device,
            rounds=rounds,
            seed=0,
            out=out,
            transport=TransportRegistry().transport(device),
            progress=lambda label, done, total: progress(f"{label} rivals", done, total),
        )


def _mobilenet_v1(width: float) -> torch.nn.Module:
    """MobileNetV1 (arXiv 1704.04861, table 1) at a width, with random weights."""
    layers = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    channels = int(32 * width)
    net = [*_convolution(3, channels, 3, 2)]
    for out, stride in layers:
        net += _convolution(channels, channels, 3, stride, groups=channels)
        net += _convolution(channels, int(out * width), 1, 1)
        channels = int(out * width)
    head = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(channels, CLASSES)]
    return torch.nn.Sequential(*net, *head)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> list[torch.nn.Module]:
    conv = torch.nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, torch.nn.BatchNorm2d(outputs), torch.nn.ReLU6()]


def budgets_ms(latencies: Mapping[Rival, Latency], zoo: Mapping[str, float]) -> dict[str, float]:
    """Return the milliseconds of each budget, by its name: for both sides, those of a network and `HEADROOM`."""
    lite0 = {name: share * latencies[Rival(LITE0, side)].upper_ms for name, (side, share) in LITE0_BUDGETS.items()}
    return {name: HEADROOM * latency_ms for name, latency_ms in {**lite0, **zoo}.items()}


def candidates(upper_ms: Mapping[str, float], budget_ms: float) -> list[Rival]:
    """Return the largest resolution of each network that is within a budget; none if no network is."""
    within = [rival for rival in rivals() if upper_ms[rival.name] <= budget_ms]
    largest = {rival.network: rival for rival in sorted(within)}
    return list(largest.values())
