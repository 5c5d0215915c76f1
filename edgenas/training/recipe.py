"""Recipes: which archs are trained at which step, by whom and how hard. Data, and functions of the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np

from edgenas.config.sections import TrainConfig
from edgenas.space.arch import Arch
from edgenas.space.covering_samples import leaning
from edgenas.space.space import SearchSpace
from edgenas.training.schedule import learning_rate, sandwich

Teacher = Literal["first", "frozen"]


@dataclass(frozen=True)
class Phase:
    """A part of a training.

    Attributes:
        share: of all steps.
        draw: `sandwich`: largest, smallest, the rest random; `random`: all random, every gene by itself; `all-sizes`:
            all random, of sizes from small to large alike; `pool`: likewise, of archs that the training is given.
        choices: of a gene's choices (`depth`, `width`, `kernel`, `expand`), how many of the largest may be drawn;
            genes that are not named are free.
        teacher: of all archs but the first (`first`); of all (`frozen`: the largest, as it was when the first such
            phase began); None: labels train all.
        labels: whether students learn labels, too.
        count: archs a step; None: as many as the config says.
        rate: peak of the learning rate, as a share of the config's.
        restarts: whether the learning rate begins anew, with warm-up and a cosine of its own.
        sorts: whether channels are sorted by their weights when the phase begins.
        ramp: share of the phase over which students gain their full weight in the loss.
    """

    share: float
    draw: Literal["sandwich", "random", "all-sizes", "pool"] = "random"
    choices: Mapping[str, int] | None = None
    teacher: Teacher | None = None
    labels: bool = False
    count: int | None = None
    rate: float = 1.0
    restarts: bool = False
    sorts: bool = False
    ramp: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """A way to train a supernet: its phases in order, and what students are held against."""

    phases: tuple[Phase, ...]
    divergence: Literal["cross-entropy", "alpha"] = "cross-entropy"


def _shrinking(epochs: float, rate: float, count: int, *, sorts: bool = False, **choices: int) -> Phase:
    """A phase of once-for-all's progressive shrinking, with the epochs and the rate that its paper trains it with."""
    share, peak = epochs / SHRINKING_EPOCHS, rate / SHRINKING_PEAK
    return Phase(
        share,
        choices=choices,
        teacher="frozen",
        labels=True,
        count=count,
        rate=peak,
        restarts=True,
        sorts=sorts,
    )


SHRINKING_EPOCHS, SHRINKING_PEAK = 605, 2.6
"""Of once-for-all's ImageNet training (arXiv 1908.09791, appendix B): in all, and of the largest network."""
LARGEST = {"depth": 1, "width": 1, "kernel": 1, "expand": 1}
SMALLEST_SHARE = 0.01
"""Of the weight in the loss that students begin with, where they gain it slowly."""

RECIPES: dict[str, Recipe] = {
    "sandwich": Recipe((Phase(1.0, "sandwich", teacher="first"),)),
    "sandwich-labels": Recipe((Phase(1.0, "sandwich"),)),
    "alpha-divergence": Recipe((Phase(1.0, "sandwich", teacher="first"),), divergence="alpha"),
    "uniform": Recipe((Phase(1.0),)),
    "all-sizes": Recipe((Phase(1.0, "all-sizes"),)),
    "within-budgets": Recipe((Phase(1.0, "pool"),)),
    "delayed-shrinking": Recipe(
        (Phase(0.5, choices=LARGEST, count=1), Phase(0.5, "sandwich", teacher="first", ramp=0.5))
    ),
    "progressive-shrinking": Recipe(
        (
            Phase(180 / SHRINKING_EPOCHS, choices=LARGEST, count=1, restarts=True),
            _shrinking(125, 0.96, 1, depth=1, width=1, expand=1),
            _shrinking(25, 0.08, 2, depth=2, width=1, expand=1),
            _shrinking(125, 0.24, 2, width=1, expand=1),
            _shrinking(25, 0.08, 4, sorts=True, width=2, expand=2),
            _shrinking(125, 0.24, 4, sorts=True),
        )
    ),
}
"""By the names of `train.recipe`.

sandwich: largest and smallest every step, the largest trains (arXiv 1903.05134, 2003.11142). sandwich-labels: the
same archs, labels train all, to tell what the teacher is worth. alpha-divergence: as sandwich, against an adaptive
alpha-divergence (AlphaNet, arXiv 2102.07954). uniform: random archs, labels alone (arXiv 1904.00420). all-sizes:
likewise, but of all sizes alike, where independent genes make nearly all archs of middling size (AttentiveNAS draws by
cost, too: arXiv 2011.09011, section 3.2). within-budgets: likewise, but of archs that the run's budgets allow: what can
be chosen in the end learns in all steps, and costs less than larger archs do.
delayed-shrinking: the largest alone for the first half, then a sandwich in which the others gain their weight slowly
(DεpS, arXiv 2407.06167, sections 3.1 and 3.2). progressive-shrinking: the largest, then elastic kernels, depths, and
ratios (arXiv 1908.09791, section 3.3).
"""


@dataclass(frozen=True)
class Span:
    """A phase with the steps it goes from and to."""

    phase: Phase
    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class Lesson:
    """What one step trains.

    Attributes:
        archs: in order; with teacher `first`, the first learns labels, and the others from it.
        teacher: see Phase.
        labels: whether those who have a teacher learn labels, too.
        divergence: of a student from its teacher.
        student_weight: of students in the loss.
    """

    archs: tuple[Arch, ...]
    teacher: Teacher | None = "first"
    labels: bool = False
    divergence: Literal["cross-entropy", "alpha"] = "cross-entropy"
    student_weight: float = 1.0


def spans(recipe: Recipe, steps: int) -> list[Span]:
    """All phases of a training of `steps`; short trainings have phases without a step."""
    ends = [round(end * steps) for end in accumulate(phase.share for phase in recipe.phases)]
    bounds = zip(recipe.phases, [0, *ends[:-1]], ends, strict=True)
    return [Span(phase, number, start, stop) for number, (phase, start, stop) in enumerate(bounds)]


def span_at(recipe: Recipe, step: int, steps: int) -> Span:
    """The phase that a step of a training of `steps` belongs to."""
    return next(span for span in spans(recipe, steps) if step < span.stop)


def takes_pool(config: TrainConfig) -> bool:
    """Whether the recipe trains archs out of a pool that it is given."""
    return any(phase.draw == "pool" for phase in RECIPES[config.recipe].phases)


def lesson_at(
    space: SearchSpace, config: TrainConfig, seed: int, step: int, steps: int, pool: Sequence[Arch] | None = None
) -> Lesson:
    """What a step trains.

    Args:
        space: of the archs.
        config: of the training.
        seed: of the run.
        step: from 0 on.
        steps: of the whole training.
        pool: archs, the smallest first, that recipes with a pool draw from; where there is none yet, since budgets want
            a profile, they draw from the whole space: to be timed, not to be trained.
    """
    recipe = RECIPES[config.recipe]
    span = span_at(recipe, step, steps)
    phase, count = span.phase, span.phase.count or config.subnets_per_step
    rng = np.random.default_rng((seed, step))
    if phase.draw == "sandwich":
        archs = sandwich(space, count, seed, step)
    elif phase.draw in ("all-sizes", "pool"):
        # Evenly spread within a step, too: one of its archs is small, one is large.
        leans = (np.arange(count) + rng.random(count)) / count
        if phase.draw == "pool" and pool is not None:
            archs = [pool[int(lean * len(pool))] for lean in leans]
        else:
            archs = space.decode(leaning(rng, space.n_choices, leans))
    else:
        archs = draw(space, phase.choices or {}, count, rng, one_resolution=phase.teacher == "frozen")
    weight = 1.0
    if phase.ramp:
        done = (step - span.start) / max(1.0, phase.ramp * (span.stop - span.start))
        weight = min(1.0, SMALLEST_SHARE + (1 - SMALLEST_SHARE) * done)
    return Lesson(tuple(archs), phase.teacher, phase.labels, recipe.divergence, weight)


def draw(
    space: SearchSpace, choices: Mapping[str, int], count: int, rng: np.random.Generator, *, one_resolution: bool
) -> list[Arch]:
    """Random archs of which some genes have only so many of their largest choices; perhaps all of one resolution."""
    kinds = [name.rpartition(".")[2] for name in space.choices]
    allowed = np.array([min(choices.get(kind, end), end) for kind, end in zip(kinds, space.n_choices, strict=True)])
    genes = np.array([rng.integers(space.n_choices - allowed, space.n_choices) for _ in range(count)])
    if one_resolution:
        genes[:, 0] = genes[0, 0]
    return space.decode(genes)


def rate_at(config: TrainConfig, step: int, steps: int) -> float:
    """The learning rate of a step."""
    span = span_at(RECIPES[config.recipe], step, steps)
    peak = config.learning_rate * span.phase.rate
    if span.phase.restarts:
        return learning_rate(step - span.start, span.stop - span.start, peak, config.warmup)
    return learning_rate(step, steps, peak, config.warmup)
