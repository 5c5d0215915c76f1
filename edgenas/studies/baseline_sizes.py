"""Sizes of the baselines, chosen by measured latency before training, and the number of training steps of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, chain
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from edgenas.errors import ConfigError, RunFolderError, explained
from edgenas.files import read_json, write_json
from edgenas.latency.predictor import LatencyPredictor
from edgenas.progress import Progress
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.cost import cost
from edgenas.space.space import SearchSpace
from edgenas.stages.predictors import run_predictors
from edgenas.stages.standalone_networks import TIMED_TOGETHER, StandaloneTrainer, in_groups
from edgenas.studies.baseline_networks import (
    CHOSEN,
    Scale,
    Timer,
    at_scale,
    baseline_device,
    draw,
    equal,
    finer_scales,
    latency_shares,
    scales,
    widest,
    within_tolerance,
)

MOBILENET, RANDOM = "mobilenet-v3-small", "random-search"
MOST_NETWORKS = 50
"""Maximum number of networks of a random search."""
SPARE = 2
"""Networks drawn for each one needed: some are slower than predicted."""
PROBES, PROBE_SEED = 8, 0
"""Networks drawn to estimate how far the chosen one's latency is underestimated; a search has its own seeds."""


@dataclass(frozen=True)
class BaselineNetwork:
    """A network to train as a baseline; `arch` is None for MobileNetV3-Small."""

    baseline: str
    seed: int
    number: int
    network: str
    steps: int
    arch: Arch | None = None

    @property
    def key(self) -> tuple[str, int, int]:
        """Return what identifies it in a comparison: baseline, seed and number."""
        return self.baseline, self.seed, self.number


@dataclass(frozen=True)
class BaselineSizes:
    """The sizes and training steps of the baselines, as saved in a file.

    Attributes:
        setting: digest of all settings that the sizes depend on.
        seconds: training time of each baseline and seed.
        scale: scale of MobileNetV3-Small, as `Scale.name`; None if it has the chosen network's latency at no scale.
        mobilenet_steps: its training steps.
        archs: networks of the random search by seed; empty if none has the chosen network's latency.
        random_steps: training steps of each of them, by seed.
        epoch_steps: steps of a standalone training for as many epochs as the chosen network had in all.
        step_seconds: time of a step of the chosen network, while nothing else was trained; see `SizingRequest`.
        step_times: every timing of that step, at intervals of minutes, and `SizingRequest.step_seconds`.
        latency_shares: p50 over that of the chosen network, measured with random weights, by network.
    """

    setting: str
    seconds: float
    scale: str | None
    mobilenet_steps: int
    archs: dict[str, list[str]]
    random_steps: dict[str, int]
    epoch_steps: int
    step_seconds: float
    step_times: list[float]
    latency_shares: dict[str, float]

    @classmethod
    def read(cls, path: Path, setting: str) -> BaselineSizes | None:
        """Read a file; return None if it is missing or for another setting.

        Raises:
            RunFolderError: the file is invalid.
        """
        if not path.exists():
            return None
        value = read_json(path, "run `edgenas study baselines` again")
        if value.get("setting") != setting:
            return None
        try:
            return TypeAdapter(cls).validate_python(value)
        except ValidationError as error:
            advice = "delete it and run `edgenas study baselines` again"
            raise RunFolderError(f"{path}: {explained(error.errors())}: {advice}") from None

    def select(self, seeds: Sequence[int]) -> BaselineSizes:
        """Return the sizes of some of its seeds."""
        archs = {str(seed): self.archs[str(seed)] for seed in seeds}
        return replace(self, archs=archs, random_steps={seed: self.random_steps[seed] for seed in archs})

    def networks(self, space: SearchSpace, seed: int) -> list[BaselineNetwork]:
        """Return the networks to train for one seed."""
        archs, steps = [space.parse(text) for text in self.archs[str(seed)]], self.random_steps[str(seed)]
        drawn = [BaselineNetwork(RANDOM, seed, i, arch.id, steps, arch) for i, arch in enumerate(archs)]
        scaled = [] if self.scale is None else [BaselineNetwork(MOBILENET, seed, 0, self.scale, self.mobilenet_steps)]
        return [*scaled, *drawn]

    @property
    def left_out(self) -> dict[str, list[int]]:
        """Return the seeds for which a baseline has no network of equal latency, by baseline."""
        seeds = {
            MOBILENET: [int(seed) for seed in self.archs if self.scale is None],
            RANDOM: [int(seed) for seed, archs in self.archs.items() if not archs],
        }
        return {baseline: missing for baseline, missing in seeds.items() if missing}

    def describe(self) -> str:
        """Return the numbers of networks and steps as text."""
        drawn = ", ".join(
            f"{len(archs)} of {self.random_steps[seed]:,} steps" for seed, archs in self.archs.items() if archs
        )
        missing = self.left_out.get(RANDOM, [])
        left_out = f"none for {len(missing)} seed(s), since no other network has equal latency" if missing else ""
        scaled = f"of {self.scale} for {self.mobilenet_steps:,} steps"
        if self.scale is None:
            scaled = "left out, since it has equal latency at no width and resolution"
        return f"sized: {MOBILENET} {scaled}; {RANDOM}, networks by seed: " + ", ".join(filter(None, (drawn, left_out)))


@dataclass(frozen=True)
class SizingRequest:
    """The conditions that baselines are sized for.

    Attributes:
        chosen: the network whose latency they should have.
        classes: number of logits.
        seconds: training time of each baseline and seed.
        seeds: seeds of the random search.
        epochs: minimum epochs of each of its networks.
        step_seconds: time of a step of the chosen network during the run. Steps are counted at this clock, which may
            differ when baselines are sized; None: the clock of the sizing.
    """

    chosen: Arch
    classes: int
    seconds: float
    seeds: Sequence[int]
    epochs: float
    step_seconds: float | None = None


@dataclass(frozen=True)
class Sizer:
    """Chooses the sizes and steps of the baselines."""

    run: Run
    trainer: StandaloneTrainer
    request: SizingRequest
    timer: Timer
    progress: Progress

    def choose(self, path: Path, setting: str, before: BaselineSizes | None = None) -> BaselineSizes:
        """Choose sizes and save them, so that a resumed command trains the same baselines.

        Args:
            path: file to write.
            setting: see `BaselineSizes`.
            before: sizes of other seeds, which stay as they are.
        """
        self.progress("sizing baselines", 0, 3)
        base = before or self._with_mobilenet(setting)
        self.progress("sizing baselines", 1, 3)
        sizes = self._with_random_search(base)
        if sizes.scale is None and not any(sizes.archs.values()):
            raise ConfigError(
                f"{self.run.folder}: neither another network of the space nor {MOBILENET} at any scale has the "
                "measured latency of the chosen network: there is nothing to compare it with"
            )
        write_json(path, asdict(sizes))
        self.progress("sizing baselines", 3, 3)
        return sizes

    def _with_mobilenet(self, setting: str) -> BaselineSizes:
        request, shares = self.request, dict[Scale, float]()
        best = self._equal_mobilenet(shares)
        networks = {} if best is None else {MOBILENET: at_scale(self.run.space, request.classes, best)}
        step_seconds, times = self._step_seconds(networks, request.step_seconds)
        if request.step_seconds is not None:
            # The clock that steps are counted at is a timing, too, and a long one.
            times.append(request.step_seconds)
        return BaselineSizes(
            setting=setting,
            seconds=request.seconds,
            scale=None if best is None else best.name,
            mobilenet_steps=0 if best is None else max(1, int(request.seconds / step_seconds[MOBILENET])),
            archs={},
            random_steps={},
            epoch_steps=self.trainer.steps(request.epochs),
            step_seconds=step_seconds[CHOSEN],
            step_times=times,
            latency_shares={scale.name: share for scale, share in shares.items()},
        )

    def _equal_mobilenet(self, shares: dict[Scale, float]) -> Scale | None:
        """Return the scale of equal latency with most MACs; None if no scale has it. Add the measured shares."""
        space, classes = self.run.space, self.request.classes
        networks = scales(space, classes)
        shares |= self._scale_shares(networks)
        finer: dict[Scale, Sequence[BlockSpec]] = {}
        for scale in widest(shares):
            wider = [s.width for s in networks if s.resolution == scale.resolution and s.width > scale.width]
            finer |= finer_scales(space, classes, scale, min(wider, default=scale.width))
        if finer:
            shares |= self._scale_shares(finer)
        candidates = equal(shares)
        return max(candidates, key=lambda scale: cost(at_scale(space, classes, scale)).macs, default=None)

    def _scale_shares(self, networks: Mapping[Scale, Sequence[BlockSpec]]) -> dict[Scale, float]:
        shares = self._shares({scale.name: specs for scale, specs in networks.items()})
        return {scale: shares[scale.name] for scale in networks}

    def _with_random_search(self, base: BaselineSizes) -> BaselineSizes:
        """Add the networks and steps of the requested seeds."""
        request, space = self.request, self.run.space
        count = int(min(MOST_NETWORKS, max(1, request.seconds // (base.epoch_steps * base.step_seconds))))
        predictor = run_predictors(self.run)[baseline_device(self.run).name]
        underestimate, drafts = self._underestimate(predictor), SPARE * count + SPARE
        # The run's own seed draws the search's first architectures.
        drawn = {str(s): draw(space, predictor, request.chosen, drafts, s + 1, underestimate) for s in request.seeds}
        networks = {arch.id: space.with_classes(request.classes).unroll(arch) for arch in chain(*drawn.values())}
        shares = self._shares(networks) if networks else {}
        self.progress("sizing baselines", 2, 3)
        archs = {seed: _of_equal_latency(candidates, shares, count) for seed, candidates in drawn.items()}
        step_seconds, timings = self._step_seconds(
            {name: networks[name] for name in chain(*archs.values())}, base.step_seconds
        )
        divided = {
            seed: _divide([step_seconds[name] for name in names], request.seconds, base.epoch_steps)
            for seed, names in archs.items()
        }
        return replace(
            base,
            archs=base.archs | {seed: names[: divided[seed][0]] for seed, names in archs.items()},
            random_steps=base.random_steps | {seed: steps for seed, (_, steps) in divided.items()},
            step_times=base.step_times + timings,
            latency_shares=base.latency_shares | shares,
        )

    def _step_seconds(
        self, networks: Mapping[str, Sequence[BlockSpec]], clock: float | None
    ) -> tuple[dict[str, float], list[float]]:
        """Return seconds of a step of each network, and the chosen one's, timed again with every group of networks.

        Args:
            networks: by name.
            clock: seconds of the chosen network's step that all times are scaled to; None: its first timing.
        """
        chosen = {CHOSEN: self.run.space.with_classes(self.request.classes).unroll(self.request.chosen)}
        scaled: dict[str, float] = {}
        times: list[float] = []
        for group in list(in_groups(networks, TIMED_TOGETHER - len(chosen))) or [{}]:
            timed = self.trainer.step_seconds(chosen | group)
            clock = clock or timed[CHOSEN]
            times.append(timed[CHOSEN])
            scaled |= {name: seconds * clock / timed[CHOSEN] for name, seconds in timed.items()}
        return scaled, times

    def _underestimate(self, predictor: LatencyPredictor) -> float:
        """Return measured over predicted latency of the chosen network, relative to networks drawn at random.

        A search picks networks whose latency is underestimated: random ones of equal predicted latency are faster.
        """
        request, space = self.request, self.run.space
        archs = draw(space, predictor, request.chosen, PROBES, PROBE_SEED)
        if not archs:
            return 1.0
        measured = self._shares({arch.id: space.with_classes(request.classes).unroll(arch) for arch in archs})
        predicted = predictor.predict(archs) / predictor.predict([request.chosen])
        return float(np.median(predicted / np.array([measured[arch.id] for arch in archs])))

    def _shares(self, networks: Mapping[str, Sequence[BlockSpec]]) -> dict[str, float]:
        return latency_shares(self.run, self.request.chosen, networks, self.request.classes, self.timer)


def _of_equal_latency(archs: Sequence[Arch], shares: Mapping[str, float], count: int) -> list[str]:
    """Return the networks within the latency tolerance, or the fastest if none is; none if none was drawn."""
    feasible = [arch.id for arch in archs if within_tolerance(shares[arch.id])][:count]
    return feasible or sorted((arch.id for arch in archs), key=shares.__getitem__)[:1]


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
