"""Recipes: which architectures each training step draws, which teacher they have, and at which learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np

from edgenas.config.train_config import TrainConfig
from edgenas.space.arch import Arch
from edgenas.space.covering_samples import leaning
from edgenas.space.space import SearchSpace
from edgenas.training.schedule import learning_rate, sandwich

Teacher = Literal["first", "frozen", "tuned"]
FROZEN: tuple[Teacher, ...] = ("frozen", "tuned")
"""Teachers that are kept as they were when the first phase with one began."""
Divergence = Literal["cross-entropy", "alpha"]


@dataclass(frozen=True)
class Phase:
    """A part of a training.

    Attributes:
        share: fraction of all steps.
        draw: `largest` draws the largest architecture; `sandwich` draws the largest, the smallest and random
            architectures; `random` draws every gene independently; `all-sizes` spreads random architectures evenly over
            the sizes; `pool` does the same with the architectures of a given pool.
        choices: by gene (`depth`, `width`, `kernel`, `expand`), how many of its largest choices may be drawn; genes
            that are not named are free.
        teacher: `first` distils the first architecture of a step into the others; `frozen` distils the largest
            network, as it was when the first such phase began, into all of them; `tuned` does the same, at the
            network's own resolution and with the batch-norm statistics of its training, instead of the students'
            resolution and the statistics of each batch; None trains all on labels.
        labels: whether students also train on labels.
        count: architectures a step; None takes the number of the config.
        rate: peak learning rate, as a fraction of the one in the config.
        restarts: whether the phase has its own warm-up and cosine.
        sorts: whether channels are sorted by their weights when the phase begins.
        ramp: fraction of the phase over which the weight of students in the loss rises to its full value.
    """

    share: float
    draw: Literal["largest", "sandwich", "random", "all-sizes", "pool"] = "random"
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
    """A way to train a supernet: its phases in order, and the divergence of students from their teacher."""

    phases: tuple[Phase, ...]
    divergence: Divergence = "cross-entropy"


def _shrinking(epochs: float, rate: float, count: int, *, sorts: bool = False, **choices: int) -> Phase:
    """Return a phase of progressive shrinking, with the epochs and the learning rate of the paper."""
    return Phase(
        epochs / SHRINKING_EPOCHS,
        choices=choices,
        teacher="frozen",
        labels=True,
        count=count,
        rate=rate / SHRINKING_PEAK,
        restarts=True,
        sorts=sorts,
    )


SHRINKING_EPOCHS, SHRINKING_PEAK = 605, 2.6
"""Once-for-all's ImageNet training (arXiv 1908.09791, appendix B): all epochs, learning rate of the largest network."""
LARGEST = {"depth": 1, "width": 1, "kernel": 1, "expand": 1}
SMALLEST_STUDENT_WEIGHT = 0.01
"""Weight of students in the loss at the beginning of a ramp."""

RECIPES: dict[str, Recipe] = {
    "sandwich": Recipe((Phase(1.0, "sandwich", teacher="first"),)),
    "sandwich-labels": Recipe((Phase(1.0, "sandwich"),)),
    "alpha-divergence": Recipe((Phase(1.0, "sandwich", teacher="first"),), divergence="alpha"),
    "uniform": Recipe((Phase(1.0),)),
    "all-sizes": Recipe((Phase(1.0, "all-sizes"),)),
    "within-budgets": Recipe((Phase(1.0, "pool"),)),
    "from-pretrained": Recipe((Phase(1.0, "pool"),)),
    "teacher-first": Recipe(
        (
            Phase(0.4, "largest", count=1, restarts=True),
            Phase(0.6, "pool", teacher="tuned", labels=True, restarts=True),
        )
    ),
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
"""Recipes by the name that `train.recipe` gives.

- sandwich: the largest and the smallest network in every step, in-place distillation from the largest (arXiv
  1903.05134, 2003.11142).
- sandwich-labels: the same architectures, all trained on labels. The difference is the gain of distillation.
- alpha-divergence: sandwich with an adaptive alpha-divergence (AlphaNet, arXiv 2102.07954).
- uniform: random architectures, labels only (arXiv 1904.00420).
- all-sizes: random architectures of all sizes alike, labels only. Independent genes give nearly only networks of medium
  size. AttentiveNAS also draws by cost (arXiv 2011.09011, section 3.2).
- within-budgets: like all-sizes, but only architectures within the budgets of the run. Every step then trains networks
  that can be chosen, and these cost less than larger ones.
- from-pretrained: within-budgets, with the defaults of `RECIPE_DEFAULTS` for pretrained weights and a new classifier.
- teacher-first: the same defaults. The largest network is fine-tuned; it is then the teacher of architectures within
  the budgets of the run, beside the labels. Short trainings have no time for it, see examples/results/LOG.md.
- delayed-shrinking: only the largest network in the first half, then a sandwich with a ramp (DεpS, arXiv 2407.06167,
  sections 3.1 and 3.2).
- progressive-shrinking: the largest network, then elastic kernels, depths and expand ratios (arXiv 1908.09791, section
  3.3).
"""


@dataclass(frozen=True)
class PhaseSteps:
    """A phase of a training with its steps `start` to `stop`, the latter excluded."""

    phase: Phase
    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class StepPlan:
    """What one step trains.

    Attributes:
        archs: the architectures. With teacher `first`, the first trains on labels and the others on its output.
        teacher: see Phase.
        labels: whether students also train on labels.
        divergence: divergence of a student from its teacher.
        student_weight: weight of students in the loss.
    """

    archs: tuple[Arch, ...]
    teacher: Teacher | None = "first"
    labels: bool = False
    divergence: Divergence = "cross-entropy"
    student_weight: float = 1.0


def phase_steps(recipe: Recipe, steps: int) -> list[PhaseSteps]:
    """Return all phases of a training of `steps` steps; in short trainings some phases have no step."""
    ends = [round(end * steps) for end in accumulate(phase.share for phase in recipe.phases)]
    bounds = zip(recipe.phases, [0, *ends[:-1]], ends, strict=True)
    return [PhaseSteps(phase, number, start, stop) for number, (phase, start, stop) in enumerate(bounds)]


def phase_at(recipe: Recipe, step: int, steps: int) -> PhaseSteps:
    """Return the phase of one step of a training of `steps` steps."""
    return next(phase for phase in phase_steps(recipe, steps) if step < phase.stop)


def takes_pool(config: TrainConfig) -> bool:
    """Return whether the recipe draws architectures from a pool."""
    return any(phase.draw == "pool" for phase in RECIPES[config.recipe].phases)


def has_tuned_teacher(config: TrainConfig) -> bool:
    """Return whether the training leaves the file of a fine-tuned largest network."""
    return config.epochs != 0 and any(phase.teacher == "tuned" for phase in RECIPES[config.recipe].phases)


def plan_step(
    space: SearchSpace, config: TrainConfig, seed: int, step: int, steps: int, pool: Sequence[Arch] | None = None
) -> StepPlan:
    """Return the plan of one step.

    Args:
        space: the search space.
        config: settings of the training.
        seed: seed of the run.
        step: number of the step, from 0.
        steps: steps of the whole training.
        pool: architectures that recipes with a pool draw from, the smallest first. None draws from the whole space
            instead; such a step is for timing only, since the pool needs a profile.
    """
    recipe = RECIPES[config.recipe]
    current = phase_at(recipe, step, steps)
    phase = current.phase
    archs = _draw(phase, space, phase.count or config.subnets_per_step, (seed, step), pool)
    weight = 1.0
    if phase.ramp:
        done = (step - current.start) / max(1.0, phase.ramp * (current.stop - current.start))
        weight = min(1.0, SMALLEST_STUDENT_WEIGHT + (1 - SMALLEST_STUDENT_WEIGHT) * done)
    return StepPlan(tuple(archs), phase.teacher, phase.labels, recipe.divergence, weight)


def _draw(
    phase: Phase, space: SearchSpace, count: int, seed: tuple[int, int], pool: Sequence[Arch] | None
) -> list[Arch]:
    if phase.draw == "largest":
        return [space.largest] * count
    if phase.draw == "sandwich":
        return sandwich(space, count, *seed)
    rng = np.random.default_rng(seed)
    if phase.draw == "random":
        return draw_limited(space, phase.choices or {}, count, rng, one_resolution=phase.teacher == "frozen")
    # Sizes are spread evenly within a step, too: one of its architectures is small, one is large.
    leans = (np.arange(count) + rng.random(count)) / count
    if phase.draw == "pool" and pool is not None:
        return [pool[int(lean * len(pool))] for lean in leans]
    return space.decode(leaning(rng, space.n_choices, leans))


def draw_limited(
    space: SearchSpace, choices: Mapping[str, int], count: int, rng: np.random.Generator, *, one_resolution: bool
) -> list[Arch]:
    """Draw random architectures, limiting some genes to their largest choices, optionally all at one resolution."""
    kinds = [name.rpartition(".")[2] for name in space.choices]
    allowed = np.array([min(choices.get(kind, end), end) for kind, end in zip(kinds, space.n_choices, strict=True)])
    genes = np.array([rng.integers(space.n_choices - allowed, space.n_choices) for _ in range(count)])
    if one_resolution:
        genes[:, 0] = genes[0, 0]
    return space.decode(genes)


def learning_rate_at(config: TrainConfig, step: int, steps: int) -> float:
    """Return the learning rate of a step."""
    current = phase_at(RECIPES[config.recipe], step, steps)
    peak = config.learning_rate * current.phase.rate
    if current.phase.restarts:
        return learning_rate(step - current.start, current.stop - current.start, peak, config.warmup)
    return learning_rate(step, steps, peak, config.warmup)
