"""Baseline networks of the same measured latency as a run's chosen network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from edgenas.deploy.onnx.exporter import export_for_timing
from edgenas.files import file_digest
from edgenas.latency.device import Device
from edgenas.latency.predictor import LatencyPredictor
from edgenas.profiling.session import measure_networks
from edgenas.profiling.transport import Transport
from edgenas.progress import Progress
from edgenas.space.arch import Arch
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.graph_variant import GraphVariant
from edgenas.space.mobilenet_v3 import WHOLE_STRIDE, mobilenet_v3_small
from edgenas.space.space import ClassifierSpace, SearchSpace
from edgenas.stages.weights.standalone_networks import setting_id

Timer = Callable[[Mapping[str, Path], str], Mapping[str, float]]
"""p50 in microseconds of ONNX files by name, measured in turns; the second argument names the session."""
WIDTHS = tuple(round(0.05 * step, 2) for step in range(2, 41))
"""Width factors of MobileNetV3-Small, 0.1 to 2."""
RESOLUTION_SHARES = (1.0, 0.75, 0.5)
"""Resolutions of MobileNetV3-Small over the space's largest, to multiples of 4."""
FINER = 0.01
"""Step between width factors of the second pass."""
CHOSEN = "chosen"
"""Name of the chosen network in a timing session."""
LATENCY_TOLERANCE = 0.02
"""Latency tolerance, as a fraction, in favour of a baseline: the change between repeated measurements."""
DRAWS, DRAW_ROUNDS = 4096, 30
NEAREST, FARTHEST = 1.05, 0.95
"""Bounds of the predicted latency of a drawn network, over that of the chosen one, that counts as equal.

The measured latency of a scaled MobileNetV3-Small must be at least the lower bound, and within the latency tolerance.
"""


def baseline_timer(
    device: Device, transport: Transport, folder: Path, progress: Progress, *, rounds: int, seed: int
) -> Timer:
    """Return a timer with the protocol of every stage; its rows are in `folder`, where a stopped session resumes.

    A session is keyed by its models: networks that are compared are timed in the same session.
    """

    def timer(models: Mapping[str, Path], session: str) -> Mapping[str, float]:
        models_id = setting_id({name: file_digest(path) for name, path in models.items()})
        measured = measure_networks(
            models,
            device,
            rounds=rounds,
            seed=seed,
            out=folder / f"{session}-{models_id}-{device.name}.jsonl",
            transport=transport,
            progress=lambda _, done, total: progress(f"timing {session}", done, total),
        )
        return {name: timing.p50_us for name, timing in measured.items()}

    return timer


@dataclass(frozen=True)
class Scale:
    """Scale of a MobileNetV3-Small: a factor of its channels, and its input's height and width in pixels."""

    width: float
    resolution: int

    @property
    def name(self) -> str:
        """Return its name in rows."""
        return f"width {self.width}, {self.resolution} pixels"

    @classmethod
    def parse(cls, name: str) -> Scale:
        """Return the scale of a name."""
        width, resolution = name.removeprefix("width ").removesuffix(" pixels").split(", ")
        return cls(float(width), int(resolution))


def at_scale(space: ClassifierSpace, scale: Scale) -> tuple[BlockSpec, ...]:
    """Return a MobileNetV3-Small of a space's total stride."""
    stride = space.stem.stride * math.prod(stage.stride for stage in space.stages)
    stride = min(WHOLE_STRIDE, 2 ** int(math.log2(stride)))
    return mobilenet_v3_small(space.num_classes, scale.resolution, width=scale.width, stride=stride)


def scales(space: ClassifierSpace) -> dict[Scale, tuple[BlockSpec, ...]]:
    """Return networks of several widths at several resolutions, equal networks once."""
    sizes = {max(4, 4 * round(share * space.resolution[-1] / 4)) for share in RESOLUTION_SHARES}
    ladder = [Scale(width, size) for size in sorted(sizes, reverse=True) for width in WIDTHS]
    return _distinct(space, ladder)


def finer_scales(space: ClassifierSpace, scale: Scale, end: float) -> dict[Scale, tuple[BlockSpec, ...]]:
    """Return networks of one resolution from a width on up to another one, which is left out; equal networks once."""
    steps = range(max(1, round((end - scale.width) / FINER)))
    scales = [Scale(round(scale.width + FINER * step, 2), scale.resolution) for step in steps]
    return _distinct(space, scales)


def _distinct(space: ClassifierSpace, scales: Sequence[Scale]) -> dict[Scale, tuple[BlockSpec, ...]]:
    by_specs: dict[tuple[BlockSpec, ...], Scale] = {}
    for scale in scales:
        by_specs.setdefault(at_scale(space, scale), scale)
    return {scale: specs for specs, scale in by_specs.items()}


def draw(
    space: SearchSpace, predictor: LatencyPredictor, chosen: Arch, count: int, seed: int, underestimate: float = 1.0
) -> list[Arch]:
    """Return up to `count` distinct random architectures of the chosen one's predicted latency, without it.

    If the space has too few of these, faster ones follow, the slowest first.

    Args:
        space: the space that they are drawn from.
        predictor: the device's.
        chosen: the architecture whose latency they should have.
        count: maximum number of architectures.
        seed: seed of the draw.
        underestimate: measured over predicted latency of the chosen network.
    """
    rng, limit_us = np.random.default_rng(seed), underestimate * float(predictor.predict([chosen])[0])
    equal: dict[Arch, float] = {}
    faster: dict[Arch, float] = {}
    for _ in range(DRAW_ROUNDS):
        genes = space.canonical(rng.integers(0, space.n_choices, (DRAWS, len(space.n_choices))))
        shares = predictor.predict(genes) / limit_us
        for row, share in zip(genes[shares <= NEAREST], shares[shares <= NEAREST], strict=True):
            arch = space.decode(row[None])[0]
            (equal if share >= FARTHEST else faster).setdefault(arch, float(share))
            if len(equal) > count:
                break
        if len(equal) > count:
            break
    rest = sorted(faster, key=lambda arch: -faster[arch])
    return [arch for arch in (*equal, *rest) if arch != chosen][:count]


def latency_shares(
    space: ClassifierSpace,
    chosen: Arch,
    networks: Mapping[str, Sequence[BlockSpec]],
    variant: GraphVariant,
    timer: Timer,
) -> dict[str, float]:
    """Return p50 of networks over that of the chosen one, measured in one session with random weights."""
    names = {**networks, CHOSEN: space.unroll(chosen)}
    with TemporaryDirectory(prefix=".baselines.") as folder:
        p50_us = timer(export_for_timing(names, Path(folder), variant=variant), "sizing")
    return {name: p50_us[name] / p50_us[CHOSEN] for name in networks}


def within_tolerance(share: float) -> bool:
    """Return whether a network with this share of the chosen one's latency is within the latency tolerance."""
    return share <= 1 + LATENCY_TOLERANCE


def widest(shares: Mapping[Scale, float]) -> list[Scale]:
    """Return for each resolution the widest scale within the latency tolerance, if any."""
    by_resolution: dict[int, Scale] = {}
    feasible = [scale for scale, share in shares.items() if within_tolerance(share)]
    for scale in sorted(feasible, key=lambda scale: scale.width):
        by_resolution[scale.resolution] = scale
    return list(by_resolution.values())


def equal(shares: Mapping[Scale, float]) -> list[Scale]:
    """Return the scales of equal latency: within the tolerance of the chosen network's, and hardly faster."""
    return [scale for scale, share in shares.items() if within_tolerance(share) and share >= FARTHEST]
