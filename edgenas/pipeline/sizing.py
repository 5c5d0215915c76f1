"""What is settled before rivals are taught: their sizes, by measured latency, and how many steps each is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, chain
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edgenas.errors import RunFolderError, explained
from edgenas.files import read_json, write_json
from edgenas.pipeline.lone import Lone
from edgenas.pipeline.profile import run_predictors
from edgenas.pipeline.rivals import Timer, as_fast, draw, fits, rival_device, widest, widths
from edgenas.pipeline.run import Progress, Run
from edgenas.space.arch import Arch
from edgenas.space.space import SearchSpace

MOBILENET, RANDOM = "mobilenet-v3-small", "random-search"
MOST_NETWORKS = 50
"""Of a random search."""
SPARE = 2
"""Networks drawn for each one wanted: some are slower than predicted."""


@dataclass(frozen=True)
class Entry:
    """A network that is taught for a rival; `arch` is None for MobileNetV3-Small."""

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
        width: of MobileNetV3-Small.
        mobilenet_steps: of its training.
        archs: by seed, the networks of the random search; none, where none is as fast.
        random_steps: by seed, of the training of each of them.
        epoch_steps: of a network taught alone for as many epochs as the supernet.
        step_seconds: of a step of the chosen network, timed.
        p50_us: measured with random weights, by network; `chosen` among them.
    """

    setting: str
    seconds: float
    width: float
    mobilenet_steps: int
    archs: dict[str, list[str]]
    random_steps: dict[str, int]
    epoch_steps: int
    step_seconds: float
    p50_us: dict[str, float]

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

    def entries(self, space: SearchSpace, seed: int) -> list[Entry]:
        """What is taught for one seed."""
        archs, steps = [space.parse(text) for text in self.archs[str(seed)]], self.random_steps[str(seed)]
        drawn = [Entry(RANDOM, seed, i, arch.id, steps, arch) for i, arch in enumerate(archs)]
        return [Entry(MOBILENET, seed, 0, f"width {self.width}", self.mobilenet_steps), *drawn]

    @property
    def left_out(self) -> list[int]:
        """Seeds without a random search: no other network of the space was found to be as fast."""
        return [int(seed) for seed, archs in self.archs.items() if not archs]

    def told(self) -> str:
        """How many networks of how many steps, in words."""
        drawn = ", ".join(f"{len(own)} of {self.random_steps[seed]:,} steps" for seed, own in self.archs.items() if own)
        left_out = f"none for {len(self.left_out)} seed(s), since no other network is as fast" if self.left_out else ""
        return (
            f"sized: {MOBILENET} of width {self.width} for {self.mobilenet_steps:,} steps; {RANDOM}, networks by seed: "
            + ", ".join(filter(None, (drawn, left_out)))
        )


@dataclass(frozen=True)
class Wanted:
    """What rivals are sized for.

    Attributes:
        chosen: the network that they are to be as fast as.
        classes: logits.
        seconds: of each rival and seed.
        seeds: of the random search.
        epochs: that each of its networks is to have, about.
    """

    chosen: Arch
    classes: int
    seconds: float
    seeds: Sequence[int]
    epochs: float


def settle(run: Run, lone: Lone, wanted: Wanted, timer: Timer, path: Path, setting: str, progress: Progress) -> Settled:
    """Decide, and write it down: a command that goes on must find the same rivals."""
    progress("sizing rivals", 0, 3)
    ladder = widths(run.space, wanted.classes)
    epoch_steps = lone.steps(wanted.epochs)
    step_seconds = lone.seconds(run.space.unroll(wanted.chosen, wanted.classes), 1)
    count = int(min(MOST_NETWORKS, max(1, wanted.seconds // (epoch_steps * step_seconds))))
    predictor = run_predictors(run)[rival_device(run).name]
    # Seeds of their own: the search's first archs are drawn from the run's.
    drawn = {seed: draw(run.space, predictor, wanted.chosen, SPARE * count + SPARE, seed + 1) for seed in wanted.seeds}
    progress("sizing rivals", 1, 3)
    networks = {f"width {width}": specs for width, specs in ladder.items()}
    networks |= {arch.id: run.space.unroll(arch, wanted.classes) for archs in drawn.values() for arch in archs}
    p50_us, chosen_us = as_fast(run, wanted.chosen, networks, wanted.classes, timer)
    progress("sizing rivals", 2, 3)
    width = widest({width: p50_us[f"width {width}"] for width in ladder}, chosen_us)
    archs = {str(seed): _kept(own, p50_us, chosen_us, count) for seed, own in drawn.items()}
    took = {name: lone.seconds(networks[name], 1) for name in dict.fromkeys(chain(*archs.values()))}
    shared = {seed: _shared([took[name] for name in own], wanted.seconds, epoch_steps) for seed, own in archs.items()}
    found = Settled(
        setting,
        wanted.seconds,
        width,
        max(1, int(wanted.seconds / lone.seconds(ladder[width], 1))),
        {seed: own[: shared[seed][0]] for seed, own in archs.items()},
        {seed: steps for seed, (_, steps) in shared.items()},
        epoch_steps,
        step_seconds,
        {**p50_us, "chosen": chosen_us},
    )
    write_json(path, asdict(found))
    progress("sizing rivals", 3, 3)
    return found


def _kept(archs: Sequence[Arch], p50_us: dict[str, float], chosen_us: float, count: int) -> list[str]:
    """Those that are as fast as the chosen one; the fastest, if none is; none, if none was predicted to be."""
    fast = [arch.id for arch in archs if fits(p50_us[arch.id], chosen_us)][:count]
    return fast or sorted((arch.id for arch in archs), key=p50_us.__getitem__)[:1]


def _shared(step_seconds: Sequence[float], seconds: float, least: int) -> tuple[int, int]:
    """How many of a seed's networks are taught, and for how many steps each, so that all together take `seconds`.

    Each has at least `least` steps, if more than one is taught; what is left over is shared among them.

    Args:
        step_seconds: of each network, by its own clock: as fast ones are not taught as fast.
        seconds: of the seed.
        least: steps of a network.
    """
    steps = [int(seconds / whole) for whole in accumulate(step_seconds)]
    count = max(sum(own >= least for own in steps), min(1, len(steps)))
    return count, max(1, steps[count - 1]) if count else 0
