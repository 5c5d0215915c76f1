"""Rivals of a run's chosen network: which networks are as fast, measured as everything else is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from edgenas.deploy.onnx.exporter import export_for_timing
from edgenas.errors import ConfigError
from edgenas.latency.device import Device
from edgenas.latency.predictor import LatencyPredictor
from edgenas.profiling.session import measure_networks
from edgenas.runs.folder import Progress, Run
from edgenas.runs.run_devices import measured_devices, run_transport
from edgenas.space.arch import Arch
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.mobilenet_v3 import WHOLE_STRIDE, mobilenet_v3_small
from edgenas.space.space import SearchSpace
from edgenas.stages.profile import run_variant
from edgenas.stages.standalone_networks import setting_id
from edgenas.training.checkpoint import file_digest

Timer = Callable[[Mapping[str, Path], str], Mapping[str, float]]
"""p50 in microseconds of ONNX files by name, measured side by side; the second argument names the session."""
WIDTHS = tuple(round(0.05 * step, 2) for step in range(2, 41))
"""0.1 to 2."""
RESOLUTION_SHARES = (1.0, 0.75, 0.5)
"""Resolutions of MobileNetV3-Small over the space's largest, to multiples of 4."""
FINER = 0.01
"""Between two of them."""
CHOSEN = "chosen"
"""What the chosen network is called among those that are timed."""
SLACK = 0.02
"""By how much more a rival's measured latency may be: what repeating a measurement may change. To its favour."""
DRAWS, DRAW_ROUNDS = 4096, 30
NEAREST, FARTHEST = 1.05, 0.95
"""Predicted latencies of drawn networks, over that of the chosen one, between which they are as good as equal.

Of a scaled MobileNetV3-Small the measured latency is no less than the latter, and fits.
"""


def rival_device(run: Run) -> Device:
    """The first device of a run that runs fp32 and can be asked.

    Raises:
        ConfigError: there is none.
    """
    for device in measured_devices(run).values():
        if device.run.precision == "fp32":
            return device
    raise ConfigError(f"{run.folder}: rivals are measured in fp32, and no device of this run is asked in it")


def session_timer(run: Run, device: Device, folder: Path, progress: Progress) -> Timer:
    """The timer and protocol of every stage; rows are kept in `folder`, where a session that was stopped goes on.

    Another model makes it another session: what is compared is timed side by side.
    """

    def timer(models: Mapping[str, Path], session: str) -> Mapping[str, float]:
        these = setting_id({name: file_digest(path) for name, path in models.items()})
        found = measure_networks(
            models,
            device,
            rounds=run.config.verify.rounds,
            seed=run.config.seed,
            out=folder / f"{session}-{these}-{device.name}.jsonl",
            transport=run_transport(run, device),
            progress=lambda _, done, total: progress(f"timing {session}", done, total),
        )
        return {name: one.p50_us for name, one in found.items()}

    return timer


@dataclass(frozen=True)
class Scale:
    """How wide a MobileNetV3-Small is, as a factor of its channels, and its input's height and width in pixels."""

    width: float
    resolution: int

    @property
    def name(self) -> str:
        """Return what entries and rows call it."""
        return f"width {self.width}, {self.resolution} pixels"

    @classmethod
    def parse(cls, name: str) -> Scale:
        """Return the scale of a name."""
        width, resolution = name.removeprefix("width ").removesuffix(" pixels").split(", ")
        return cls(float(width), int(resolution))


def at_scale(space: SearchSpace, num_classes: int, scale: Scale) -> tuple[BlockSpec, ...]:
    """Return a MobileNetV3-Small of a space's total stride."""
    stride = space.stem.stride * math.prod(stage.stride for stage in space.stages)
    stride = min(WHOLE_STRIDE, 2 ** int(math.log2(stride)))
    return mobilenet_v3_small(num_classes, scale.resolution, width=scale.width, stride=stride)


def scales(space: SearchSpace, num_classes: int) -> dict[Scale, tuple[BlockSpec, ...]]:
    """Return networks of several widths at several resolutions, equal networks once."""
    sizes = {max(4, 4 * round(share * space.resolution[-1] / 4)) for share in RESOLUTION_SHARES}
    ladder = [Scale(width, size) for size in sorted(sizes, reverse=True) for width in WIDTHS]
    return _distinct(space, num_classes, ladder)


def finer_scales(space: SearchSpace, num_classes: int, scale: Scale, end: float) -> dict[Scale, tuple[BlockSpec, ...]]:
    """Return networks of one resolution from a width on up to another one, which is left out; equal networks once."""
    steps = range(max(1, round((end - scale.width) / FINER)))
    wanted = [Scale(round(scale.width + FINER * step, 2), scale.resolution) for step in steps]
    return _distinct(space, num_classes, wanted)


def _distinct(space: SearchSpace, num_classes: int, wanted: Sequence[Scale]) -> dict[Scale, tuple[BlockSpec, ...]]:
    found: dict[tuple[BlockSpec, ...], Scale] = {}
    for scale in wanted:
        found.setdefault(at_scale(space, num_classes, scale), scale)
    return {scale: specs for specs, scale in found.items()}


def draw(
    space: SearchSpace, predictor: LatencyPredictor, chosen: Arch, count: int, seed: int, underrated: float = 1.0
) -> list[Arch]:
    """Up to `count` distinct random archs that are predicted to be as fast as the chosen one, which is not among them.

    Where the space has too few of these, faster ones follow, the slowest first.

    Args:
        space: of the archs.
        predictor: of the device.
        chosen: the network that they are to be as fast as.
        count: of archs.
        seed: of the draw.
        underrated: how many times as long the chosen network takes as is predicted of it.
    """
    rng, limit_us = np.random.default_rng(seed), underrated * float(predictor.predict([chosen])[0])
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


def as_fast(
    run: Run, chosen: Arch, networks: Mapping[str, Sequence[BlockSpec]], num_classes: int, timer: Timer
) -> dict[str, float]:
    """p50 of networks over that of the chosen one, measured side by side with random weights; see `fits`."""
    names = {**networks, CHOSEN: run.space.unroll(chosen, num_classes)}
    with TemporaryDirectory(prefix=".rivals.") as folder:
        found = timer(export_for_timing(names, Path(folder), variant=run_variant(run)), "sizing")
    return {name: found[name] / found[CHOSEN] for name in networks}


def fits(share: float) -> bool:
    """Whether a network is as fast as the chosen one, of whose latency it has this share."""
    return share <= 1 + SLACK


def widest(shares: Mapping[Scale, float]) -> list[Scale]:
    """Return for each resolution the widest scale that is as fast, where there is one."""
    fast: dict[int, Scale] = {}
    for scale in sorted((scale for scale, share in shares.items() if fits(share)), key=lambda scale: scale.width):
        fast[scale.resolution] = scale
    return list(fast.values())


def equal(shares: Mapping[Scale, float]) -> list[Scale]:
    """Return the scales of equal latency: as fast as the chosen network, and hardly faster."""
    return [scale for scale, share in shares.items() if fits(share) and share >= FARTHEST]
