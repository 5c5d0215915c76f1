"""Sizes of the baselines, chosen by measured latency before training, and the number of training steps of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path

import numpy as np

from edgenas.errors import ConfigError
from edgenas.latency.predictor import LatencyPredictor
from edgenas.progress import Progress
from edgenas.records.baselines import SizesRecord
from edgenas.space.arch import Arch, parse_arch
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.cost import cost
from edgenas.space.graph_variant import GraphVariant
from edgenas.space.space import ClassifierSpace
from edgenas.stages.weights.standalone_networks import TIMED_TOGETHER, StandaloneTrainer, in_groups
from edgenas.studies.baseline_networks import (
    CHOSEN,
    Scale,
    Timer,
    at_scale,
    draw,
    equal,
    finer_scales,
    latency_shares,
    scales,
    widest,
    within_tolerance,
)

SHELF, MOBILENET, RANDOM = "shelf", "mobilenet-v3-small", "random-search"
MOST_NETWORKS = 50
"""Maximum number of networks of a random search."""
SPARE = 2
"""Networks drawn for each one needed: some are slower than predicted."""
PROBES, PROBE_SEED = 8, 0
"""Networks drawn to estimate how far the chosen one's latency is underestimated; a search has its own seeds."""


@dataclass(frozen=True)
class BaselineNetwork:
    """A network to train as a baseline; `arch` is None for MobileNetV3-Small, and may be of the shelf."""

    baseline: str
    seed: int
    number: int
    network: str
    steps: int
    arch: Arch | None = None

    @property
    def key(self) -> tuple[str, int, int]:
        """Return its identity in a comparison: baseline, seed and number."""
        return self.baseline, self.seed, self.number


def seed_networks(sizes: SizesRecord, seed: int) -> list[BaselineNetwork]:
    """Return the networks to train for one seed."""
    networks = [
        BaselineNetwork(SHELF, seed, number, text, steps, parse_arch(text))
        for number, (text, steps) in enumerate(sizes.shelf.items())
    ]
    if sizes.scale is not None:
        networks.append(BaselineNetwork(MOBILENET, seed, 0, sizes.scale, sizes.mobilenet_steps))
    steps = sizes.random_steps[seed]
    drawn = [BaselineNetwork(RANDOM, seed, i, arch.id, steps, arch) for i, arch in enumerate(sizes.archs[seed])]
    return [*networks, *drawn]


def left_out(sizes: SizesRecord, shelf: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Return the seeds for which a baseline has no network of equal latency, by baseline.

    Args:
        sizes: the sizes of the baselines.
        shelf: networks of the run's shelf; without any, it is no baseline.
    """
    seeds = {
        SHELF: tuple(seed for seed in sizes.archs if shelf and not sizes.shelf),
        MOBILENET: tuple(seed for seed in sizes.archs if sizes.scale is None),
        RANDOM: tuple(seed for seed, archs in sizes.archs.items() if not archs),
    }
    return {baseline: missing for baseline, missing in seeds.items() if missing}


def describe(sizes: SizesRecord) -> str:
    """Return the numbers of networks and steps as text."""
    shelved = [f"{text} for {steps:,} steps" for text, steps in sizes.shelf.items()]
    shelf = f"{SHELF}, {', '.join(shelved)}; " if shelved else ""
    parts = [f"{len(archs)} of {sizes.random_steps[seed]:,} steps" for seed, archs in sizes.archs.items() if archs]
    if missing := left_out(sizes, ()).get(RANDOM):
        parts.append(f"none for {len(missing)} seed(s), since no other network has equal latency")
    scaled = f"of {sizes.scale} for {sizes.mobilenet_steps:,} steps"
    if sizes.scale is None:
        scaled = "left out, since it has equal latency at no width and resolution"
    return f"sized: {shelf}{MOBILENET} {scaled}; {RANDOM}, networks by seed: {', '.join(parts)}"


@dataclass(frozen=True)
class SizingRequest:
    """The conditions that baselines are sized for.

    Attributes:
        chosen: the network whose latency they should have.
        seconds: training time of each baseline and seed.
        seeds: seeds of the random search.
        epochs: minimum epochs of each of its networks.
        step_seconds: time of a step of the chosen network during the run. Steps are counted at this clock, which may
            differ when baselines are sized; None: the clock of the sizing.
    """

    chosen: Arch
    seconds: float
    seeds: Sequence[int]
    epochs: float
    step_seconds: float | None = None


@dataclass(frozen=True)
class Sizer:
    """Chooses the sizes and steps of the baselines.

    Attributes:
        space: the run's space, with its classes.
        shelf: the spaces of the shelf's networks, with these classes, by name.
        predictor: the device's predictor, which random networks are drawn by.
        variant: graph variant of the run.
        trainer: times training steps.
        request: the conditions.
        timer: measures latencies.
        progress: called with a label, steps done and in all.
    """

    space: ClassifierSpace
    shelf: Mapping[str, ClassifierSpace]
    predictor: LatencyPredictor
    variant: GraphVariant
    trainer: StandaloneTrainer
    request: SizingRequest
    timer: Timer
    progress: Progress

    def choose(self, path: Path, setting: str, before: SizesRecord | None = None) -> SizesRecord:
        """Choose sizes and save them, so that a resumed command trains the same baselines.

        Args:
            path: file to write.
            setting: see `SizesRecord`.
            before: sizes of other seeds, which stay as they are.

        Raises:
            ConfigError: there is no network of equal latency.
        """
        self.progress("sizing baselines", 0, 3)
        base = before or self._with_shelf(self._with_mobilenet(setting))
        self.progress("sizing baselines", 1, 3)
        sizes = self._with_random_search(base)
        if not sizes.shelf and sizes.scale is None and not any(sizes.archs.values()):
            raise ConfigError(
                f"no network of the shelf, no other network of the space and no {MOBILENET} at any scale has the "
                f"measured latency of the chosen network {self.request.chosen}: there is nothing to compare it with"
            )
        sizes.write(path)
        self.progress("sizing baselines", 3, 3)
        return sizes

    def _with_mobilenet(self, setting: str) -> SizesRecord:
        request, shares = self.request, dict[Scale, float]()
        best = self._equal_mobilenet(shares)
        networks = {} if best is None else {MOBILENET: at_scale(self.space, best)}
        step_seconds, times = self._step_seconds(networks, request.step_seconds)
        if request.step_seconds is not None:
            # The clock that steps are counted at is a timing, too, and a long one.
            times.append(request.step_seconds)
        return SizesRecord(
            setting=setting,
            seconds=request.seconds,
            shelf={},
            scale=None if best is None else best.name,
            mobilenet_steps=0 if best is None else max(1, int(request.seconds / step_seconds[MOBILENET])),
            archs={},
            random_steps={},
            epoch_steps=self.trainer.steps(request.epochs),
            step_seconds=step_seconds[CHOSEN],
            step_times=tuple(times),
            latency_shares={scale.name: share for scale, share in shares.items()},
        )

    def _with_shelf(self, base: SizesRecord) -> SizesRecord:
        """Add of each network of the shelf the largest resolution within the latency tolerance, and its steps.

        All of them share the time of a seed, and validation chooses among them.
        """
        networks = {
            arch.id: space.unroll(arch)
            for space in self.shelf.values()
            for arch in (dataclasses.replace(space.largest, resolution=size) for size in space.resolution)
        }
        if not networks:
            return base
        shares = self._shares(networks)
        feasible = [parse_arch(text) for text in networks if within_tolerance(shares[text])]
        largest = {arch.network: arch.id for arch in sorted(feasible, key=lambda arch: arch.resolution)}
        chosen = {text: networks[text] for text in largest.values()}
        step_seconds, timings = self._step_seconds(chosen, base.step_seconds)
        steps = {text: max(1, int(base.seconds / len(largest) / step_seconds[text])) for text in largest.values()}
        return base.model_copy(
            update={
                "shelf": steps,
                "step_times": (*base.step_times, *timings),
                "latency_shares": base.latency_shares | shares,
            }
        )

    def _equal_mobilenet(self, shares: dict[Scale, float]) -> Scale | None:
        """Return the scale of equal latency with most MACs; None if no scale has it. Add the measured shares."""
        networks = scales(self.space)
        shares |= self._scale_shares(networks)
        finer: dict[Scale, Sequence[BlockSpec]] = {}
        for scale in widest(shares):
            wider = [s.width for s in networks if s.resolution == scale.resolution and s.width > scale.width]
            finer |= finer_scales(self.space, scale, min(wider, default=scale.width))
        if finer:
            shares |= self._scale_shares(finer)
        candidates = equal(shares)
        return max(candidates, key=lambda scale: cost(at_scale(self.space, scale)).macs, default=None)

    def _scale_shares(self, networks: Mapping[Scale, Sequence[BlockSpec]]) -> dict[Scale, float]:
        shares = self._shares({scale.name: specs for scale, specs in networks.items()})
        return {scale: shares[scale.name] for scale in networks}

    def _with_random_search(self, base: SizesRecord) -> SizesRecord:
        """Add the networks and steps of the requested seeds."""
        request = self.request
        count = int(min(MOST_NETWORKS, max(1, request.seconds // (base.epoch_steps * base.step_seconds))))
        underestimate, drafts = self._underestimate(), SPARE * count + SPARE
        # The run's own seed draws the search's first architectures.
        drawn = {
            seed: draw(self.space, self.predictor, request.chosen, drafts, seed + 1, underestimate)
            for seed in request.seeds
        }
        networks = {arch.id: self.space.unroll(arch) for arch in chain(*drawn.values())}
        shares = self._shares(networks) if networks else {}
        self.progress("sizing baselines", 2, 3)
        archs = {seed: _of_equal_latency(candidates, shares, count) for seed, candidates in drawn.items()}
        equal_networks = {arch.id: networks[arch.id] for arch in chain(*archs.values())}
        step_seconds, timings = self._step_seconds(equal_networks, base.step_seconds)
        divided = {
            seed: _divide([step_seconds[arch.id] for arch in candidates], request.seconds, base.epoch_steps)
            for seed, candidates in archs.items()
        }
        return base.model_copy(
            update={
                "archs": base.archs | {seed: tuple(archs[seed][:count]) for seed, (count, _) in divided.items()},
                "random_steps": base.random_steps | {seed: steps for seed, (_, steps) in divided.items()},
                "step_times": (*base.step_times, *timings),
                "latency_shares": base.latency_shares | shares,
            }
        )

    def _step_seconds(
        self, networks: Mapping[str, Sequence[BlockSpec]], clock: float | None
    ) -> tuple[dict[str, float], list[float]]:
        """Return seconds of a step of each network, and the chosen one's, timed again with every group of networks.

        Args:
            networks: by name.
            clock: seconds of the chosen network's step that all times are scaled to; None: its first timing.
        """
        chosen = {CHOSEN: self.space.unroll(self.request.chosen)}
        scaled: dict[str, float] = {}
        times: list[float] = []
        for group in list(in_groups(networks, TIMED_TOGETHER - len(chosen))) or [{}]:
            timed = self.trainer.step_seconds(chosen | group)
            clock = clock or timed[CHOSEN]
            times.append(timed[CHOSEN])
            scaled |= {name: seconds * clock / timed[CHOSEN] for name, seconds in timed.items()}
        return scaled, times

    def _underestimate(self) -> float:
        """Return measured over predicted latency of the chosen network, relative to networks drawn at random.

        A search picks networks whose latency is underestimated: random ones of equal predicted latency are faster.
        """
        chosen, predict = self.request.chosen, self.predictor.predict
        archs = draw(self.space, self.predictor, chosen, PROBES, PROBE_SEED)
        if not archs:
            return 1.0
        measured = self._shares({arch.id: self.space.unroll(arch) for arch in archs})
        predicted = predict(archs) / predict([chosen])
        return float(np.median(predicted / np.array([measured[arch.id] for arch in archs])))

    def _shares(self, networks: Mapping[str, Sequence[BlockSpec]]) -> dict[str, float]:
        return latency_shares(self.space, self.request.chosen, networks, self.variant, self.timer)


def _of_equal_latency(archs: Sequence[Arch], shares: Mapping[str, float], count: int) -> list[Arch]:
    """Return the networks within the latency tolerance, or the fastest if none is; none if none was drawn."""
    feasible = [arch for arch in archs if within_tolerance(shares[arch.id])][:count]
    return feasible or sorted(archs, key=lambda arch: shares[arch.id])[:1]


def _divide(step_seconds: Sequence[float], seconds: float, min_steps: int) -> tuple[int, int]:
    """Return how many of a seed's networks to train, and the steps of each, so that together they take `seconds`.

    If several are trained, each has at least `min_steps` steps; the remaining time is shared among them.

    Args:
        step_seconds: time of a step of each network: networks of equal latency differ in training time.
        seconds: training time of the seed.
        min_steps: minimum steps of a network.
    """
    steps = [int(seconds / total) for total in accumulate(step_seconds)]
    count = max(sum(number >= min_steps for number in steps), min(1, len(steps)))
    return count, max(1, steps[count - 1]) if count else 0
