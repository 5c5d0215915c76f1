"""What is settled before rivals are trained: their sizes, by measured latency, and how many steps each is given."""

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
from edgenas.runs.folder import Progress, Run
from edgenas.space.arch import Arch
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.cost import cost
from edgenas.space.space import SearchSpace
from edgenas.stages.profile import run_predictors
from edgenas.stages.standalone_networks import TIMED_TOGETHER, Lone, in_groups
from edgenas.studies.baseline_networks import (
    CHOSEN,
    Scale,
    Timer,
    as_fast,
    at_scale,
    draw,
    equal,
    finer_scales,
    fits,
    rival_device,
    scales,
    widest,
)

MOBILENET, RANDOM = "mobilenet-v3-small", "random-search"
MOST_NETWORKS = 50
"""Of a random search."""
SPARE = 2
"""Networks drawn for each one wanted: some are slower than predicted."""
PROBES, PROBE_SEED = 8, 0
"""Networks drawn to learn how far the chosen one's latency is underrated; those of a search have seeds of their own."""


@dataclass(frozen=True)
class Entry:
    """A network that is trained for a rival; `arch` is None for MobileNetV3-Small."""

    rival: str
    seed: int
    number: int
    network: str
    steps: int
    arch: Arch | None = None

    @property
    def place(self) -> tuple[str, int, int]:
        """Within a comparison."""
        return self.rival, self.seed, self.number


@dataclass(frozen=True)
class Settled:
    """What was decided, and kept.

    Attributes:
        setting: digest of all that it depends on.
        seconds: of each rival and seed.
        scale: of MobileNetV3-Small, as `Scale.name`; None where it has the chosen network's latency at no scale.
        mobilenet_steps: of its training.
        archs: by seed, the networks of the random search; none, where none is as fast.
        random_steps: by seed, of the training of each of them.
        epoch_steps: of a network trained from scratch for as many epochs as the chosen one had in all.
        step_seconds: of a step of the chosen network, timed while nothing else was trained; see `Wanted.step_seconds`.
        step_times: every timing of that step, each minutes apart from the next, and `Wanted.step_seconds`.
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
    def read(cls, path: Path, setting: str) -> Settled | None:
        """What stands in a file, if it was decided for this setting.

        Raises:
            RunFolderError: the file is none of ours.
        """
        if not path.exists():
            return None
        value = read_json(path, "run `edgenas worth` again")
        if value.get("setting") != setting:
            return None
        try:
            return TypeAdapter(cls).validate_python(value)
        except ValidationError as error:
            again = "delete it and run `edgenas worth` again"
            raise RunFolderError(f"{path}: {explained(error.errors())}: {again}") from None

    def of(self, seeds: Sequence[int]) -> Settled:
        """The part of some of its seeds."""
        archs = {str(seed): self.archs[str(seed)] for seed in seeds}
        return replace(self, archs=archs, random_steps={seed: self.random_steps[seed] for seed in archs})

    def entries(self, space: SearchSpace, seed: int) -> list[Entry]:
        """What is trained for one seed."""
        archs, steps = [space.parse(text) for text in self.archs[str(seed)]], self.random_steps[str(seed)]
        drawn = [Entry(RANDOM, seed, i, arch.id, steps, arch) for i, arch in enumerate(archs)]
        scaled = [] if self.scale is None else [Entry(MOBILENET, seed, 0, self.scale, self.mobilenet_steps)]
        return [*scaled, *drawn]

    @property
    def left_out(self) -> dict[str, list[int]]:
        """Return the seeds that each rival is left out for, since it has no network of equal latency."""
        seeds = {
            MOBILENET: [int(seed) for seed in self.archs if self.scale is None],
            RANDOM: [int(seed) for seed, archs in self.archs.items() if not archs],
        }
        return {rival: own for rival, own in seeds.items() if own}

    def told(self) -> str:
        """How many networks of how many steps, in words."""
        drawn = ", ".join(f"{len(own)} of {self.random_steps[seed]:,} steps" for seed, own in self.archs.items() if own)
        absent = self.left_out.get(RANDOM, [])
        left_out = f"none for {len(absent)} seed(s), since no other network is as fast" if absent else ""
        scaled = f"of {self.scale} for {self.mobilenet_steps:,} steps"
        if self.scale is None:
            scaled = "left out, since it is as fast at no width and resolution"
        return f"sized: {MOBILENET} {scaled}; {RANDOM}, networks by seed: " + ", ".join(filter(None, (drawn, left_out)))


@dataclass(frozen=True)
class Wanted:
    """What rivals are sized for.

    Attributes:
        chosen: the network that they are to be as fast as.
        classes: logits.
        seconds: of each rival and seed.
        seeds: of the random search.
        epochs: that each of its networks is to have, about.
        step_seconds: of a step of the chosen network while the run's time was taken. Steps are told at this clock,
            which may be another one when rivals are sized; None: at that of the sizing.
    """

    chosen: Arch
    classes: int
    seconds: float
    seeds: Sequence[int]
    epochs: float
    step_seconds: float | None = None


@dataclass(frozen=True)
class Sizer:
    """What it takes to decide on rivals."""

    run: Run
    lone: Lone
    wanted: Wanted
    timer: Timer
    progress: Progress

    def settle(self, path: Path, setting: str, before: Settled | None = None) -> Settled:
        """Decide, and write it down: a command that goes on must find the same rivals.

        Args:
            path: of the file.
            setting: see `Settled`.
            before: what was decided of other seeds, and is kept.
        """
        self.progress("sizing rivals", 0, 3)
        base = before or self._with_mobilenet(setting)
        self.progress("sizing rivals", 1, 3)
        found = self._with_random_search(base)
        if found.scale is None and not any(found.archs.values()):
            raise ConfigError(
                f"{self.run.folder}: neither another network of the space nor {MOBILENET} at any scale was measured to "
                "be as fast as the chosen network: there is nothing to compare it with"
            )
        write_json(path, asdict(found))
        self.progress("sizing rivals", 3, 3)
        return found

    def _with_mobilenet(self, setting: str) -> Settled:
        wanted, shares = self.wanted, dict[Scale, float]()
        best = self._equal_mobilenet(shares)
        networks = {} if best is None else {MOBILENET: at_scale(self.run.space, wanted.classes, best)}
        took, times = self._step_seconds(networks, wanted.step_seconds)
        # The clock that steps are counted at is a timing, too, and a long one.
        times += [clock for clock in (wanted.step_seconds,) if clock is not None]
        steps = 0 if best is None else max(1, int(wanted.seconds / took[MOBILENET]))
        epoch_steps, named = self.lone.steps(wanted.epochs), {scale.name: share for scale, share in shares.items()}
        name = None if best is None else best.name
        return Settled(setting, wanted.seconds, name, steps, {}, {}, epoch_steps, took[CHOSEN], times, named)

    def _equal_mobilenet(self, shares: dict[Scale, float]) -> Scale | None:
        """Return the scale of equal latency that computes most; None where none is equal. Adds what was measured."""
        space, classes = self.run.space, self.wanted.classes
        networks = scales(space, classes)
        shares |= self._scale_shares(networks)
        finer: dict[Scale, Sequence[BlockSpec]] = {}
        for scale in widest(shares):
            same = [each.width for each in networks if each.resolution == scale.resolution]
            wider = [width for width in same if width > scale.width]
            finer |= finer_scales(space, classes, scale, min(wider, default=scale.width))
        if finer:
            shares |= self._scale_shares(finer)
        candidates = equal(shares)
        return max(candidates, key=lambda each: cost(at_scale(space, classes, each)).macs, default=None)

    def _scale_shares(self, networks: Mapping[Scale, Sequence[BlockSpec]]) -> dict[Scale, float]:
        found = self._shares({scale.name: specs for scale, specs in networks.items()})
        return {scale: found[scale.name] for scale in networks}

    def _with_random_search(self, base: Settled) -> Settled:
        """Networks and steps of the seeds that are wanted, beside those that are known."""
        wanted, space = self.wanted, self.run.space
        count = int(min(MOST_NETWORKS, max(1, wanted.seconds // (base.epoch_steps * base.step_seconds))))
        predictor = run_predictors(self.run)[rival_device(self.run).name]
        # Seeds of their own: the search's first archs are drawn from the run's.
        times, drafts = self._underrated(predictor), SPARE * count + SPARE
        drawn = {str(s): draw(space, predictor, wanted.chosen, drafts, s + 1, times) for s in wanted.seeds}
        networks = {arch.id: space.unroll(arch, wanted.classes) for arch in chain(*drawn.values())}
        shares = self._shares(networks) if networks else {}
        self.progress("sizing rivals", 2, 3)
        archs = {seed: _kept(own, shares, count) for seed, own in drawn.items()}
        took, timings = self._step_seconds({name: networks[name] for name in chain(*archs.values())}, base.step_seconds)
        divided = {
            seed: _divided([took[name] for name in own], wanted.seconds, base.epoch_steps)
            for seed, own in archs.items()
        }
        return replace(
            base,
            archs=base.archs | {seed: own[: divided[seed][0]] for seed, own in archs.items()},
            random_steps=base.random_steps | {seed: steps for seed, (_, steps) in divided.items()},
            step_times=base.step_times + timings,
            latency_shares=base.latency_shares | shares,
        )

    def _step_seconds(
        self, networks: Mapping[str, Sequence[BlockSpec]], clock: float | None
    ) -> tuple[dict[str, float], list[float]]:
        """Return seconds of a step of each network, and every timing of the chosen one's beside a few of them.

        Args:
            networks: by name.
            clock: seconds of the chosen one's step by which all are told; None: as it is timed first.
        """
        chosen = {CHOSEN: self.run.space.unroll(self.wanted.chosen, self.wanted.classes)}
        found: dict[str, float] = {}
        times: list[float] = []
        for some in list(in_groups(networks, TIMED_TOGETHER - len(chosen))) or [{}]:
            took = self.lone.step_seconds(chosen | some)
            clock = clock or took[CHOSEN]
            times.append(took[CHOSEN])
            found |= {name: seconds * clock / took[CHOSEN] for name, seconds in took.items()}
        return found, times

    def _underrated(self, predictor: LatencyPredictor) -> float:
        """How many times as long the chosen network takes as is predicted of it, beside networks drawn at random.

        What a search picks is what prediction underrates: networks that are predicted to be as fast are faster.
        """
        wanted, space = self.wanted, self.run.space
        archs = draw(space, predictor, wanted.chosen, PROBES, PROBE_SEED)
        if not archs:
            return 1.0
        measured = self._shares({arch.id: space.unroll(arch, wanted.classes) for arch in archs})
        predicted = predictor.predict(archs) / predictor.predict([wanted.chosen])
        return float(np.median(predicted / np.array([measured[arch.id] for arch in archs])))

    def _shares(self, networks: Mapping[str, Sequence[BlockSpec]]) -> dict[str, float]:
        return as_fast(self.run, self.wanted.chosen, networks, self.wanted.classes, self.timer)


def _kept(archs: Sequence[Arch], shares: Mapping[str, float], count: int) -> list[str]:
    """Those that are as fast as the chosen one; the fastest, if none is; none, if none was predicted to be."""
    fast = [arch.id for arch in archs if fits(shares[arch.id])][:count]
    return fast or sorted((arch.id for arch in archs), key=shares.__getitem__)[:1]


def _divided(step_seconds: Sequence[float], seconds: float, least: int) -> tuple[int, int]:
    """How many of a seed's networks are trained, and for how many steps each, so that all together take `seconds`.

    Each has at least `least` steps, if more than one is trained; what is left over is shared among them.

    Args:
        step_seconds: of each network, by its own clock: as fast ones are not trained as fast.
        seconds: of the seed.
        least: steps of a network.
    """
    steps = [int(seconds / whole) for whole in accumulate(step_seconds)]
    count = max(sum(own >= least for own in steps), min(1, len(steps)))
    return count, max(1, steps[count - 1]) if count else 0
