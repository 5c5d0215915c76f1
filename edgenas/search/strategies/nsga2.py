"""NSGA-II with an archive, on integer genes, by pymoo.

Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE TEC 6(2), 2002.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.config import Config
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.ux import UniformCrossover

from edgenas.search.strategies.archive import Archive
from edgenas.search.strategies.effects_model import EffectsModel
from edgenas.search.strategies.protocol import Floats, Genes, GenesFunction, Repair, Strategy
from edgenas.search.strategies.variation import mixed, moved, mutated, near_mates
from edgenas.space.covering_samples import leaning

MATING_SHARE, MOVE_SHARE = 0.6, 0.3
"""Shares of offspring of neighbours along the front, and of single moves from it; the rest is NSGA-II's own."""
LITTER = 3
"""Offspring made of each parent in the archive, of which the one is proposed that promises most."""
ARCHIVE, POPULATION, FIRST = "archive", "population", "first"
"""What made a candidate; the first ones are random, or were given to the search."""
RANDOM_PHASE = 10
"""Random draws before the first generation are at most this many populations, however few are feasible."""

# Without its compiled parts pymoo prints an advertisement to standard output, where --json speaks.
Config.warnings["not_compiled"] = False


class _NSGA2(NSGA2):  # type: ignore[misc]
    def _set_optimum(self, **_: Any) -> None:
        """Of no use here, and a sixth of the time."""


class GeneMutation(Mutation):  # type: ignore[misc]  # pymoo has no types
    """`variation.mutated` for pymoo."""

    def __init__(self, n_choices: Genes) -> None:
        super().__init__()
        self._n_choices = n_choices

    def _do(self, problem: Any, X: Genes, *, random_state: np.random.Generator, algorithm: Any = None) -> Genes:
        return mutated(random_state, self._n_choices, X)


class NSGA2Strategy(Strategy):
    """NSGA-II with an archive: uniform crossover and mutation of about one gene, and a local search along the front.

    It is not the published NSGA-II, and `origins` counts how much of its offspring the archive makes. A population
    is too few to hold a front of several budgets. So all non-dominated candidates are kept, and those
    just behind them, and most offspring come from these: of two that are neighbours along the front, or of one by a
    move (one gene up, another down). Of several such offspring the one is proposed that a model of the genes' effects
    puts farthest ahead. The first generation is of all sizes. Infeasible candidates steer by their summed violation
    while fewer than `population` feasible ones are known (Deb's constrained domination), and are ignored after.
    """

    def __init__(
        self,
        n_choices: Genes,
        *,
        seed: int,
        population: int,
        initial: Genes | None = None,
        repair: Repair | None = None,
        exact: GenesFunction | None = None,
    ) -> None:
        self._n_choices = n_choices
        self._population = population
        self._repair = repair
        self._rng = np.random.default_rng([seed, 0])
        self._effects = EffectsModel(n_choices)
        self._archive = Archive(len(n_choices))
        self._width = 1
        self._brood = np.empty((0, len(n_choices)), dtype=np.int64)
        self._waiting: Any = Population.empty()
        self._asked: dict[bytes, str] = {}
        self._origins = Counter[str]()
        # Duplicates are removed by the loop, against everything ever proposed.
        self._algorithm = _NSGA2(
            pop_size=population,
            crossover=UniformCrossover(),
            mutation=GeneMutation(n_choices),
            eliminate_duplicates=False,
            output=None,
            seed=seed,
        )

    def ask(self, count: int) -> Genes:
        """Genes of all sizes before the first generation, offspring after; shape (count, genes)."""
        if not self._algorithm.is_initialized:
            return leaning(self._rng, self._n_choices, self._rng.random(count))
        if len(self._archive) < 2:
            return self._noted(self._of_population(count), np.zeros(count, dtype=bool))
        kind = self._rng.random(count)
        mating, moving = kind < MATING_SHARE, (kind >= MATING_SHARE) & (kind < MATING_SHARE + MOVE_SHARE)
        genes = np.empty((count, len(self._n_choices)), dtype=np.int64)
        genes[mating] = self._best_of(self._of_neighbours, int(mating.sum()))
        genes[moving] = self._best_of(self._by_a_move, int(moving.sum()))
        genes[~(mating | moving)] = self._of_population(int((~(mating | moving)).sum()))
        return self._noted(genes, mating | moving)

    @property
    def origins(self) -> Mapping[str, int]:
        """Return how many evaluated candidates came from the `archive`, the `population`, or neither (`first`)."""
        return {name: self._origins[name] for name in (ARCHIVE, POPULATION, FIRST)}

    def _noted(self, genes: Genes, of_archive: npt.NDArray[np.bool_]) -> Genes:
        """Remember what made each row, by its canonical form, until its batch is told."""
        canonical = genes if self._repair is None else self._repair(genes.copy())
        for row, archived in zip(canonical, of_archive.tolist(), strict=True):
            self._asked.setdefault(row.tobytes(), ARCHIVE if archived else POPULATION)
        return genes

    def _best_of(self, make: Callable[[Genes], Genes], count: int) -> Genes:
        """Of each of `count` members of the archive the most promising offspring that `make` makes of it."""
        archive = self._archive
        parents = archive.along(self._rng, count)
        if not self._effects.known:
            return make(parents)
        among = np.repeat(parents, LITTER)
        offspring = make(among)
        # Genes without a say would seem to have an effect.
        offspring = offspring if self._repair is None else self._repair(offspring)
        gain = self._effects.of(offspring) - np.repeat(self._effects.of(archive.genes[parents]), LITTER, axis=0)
        behind = archive.behind(archive.objectives[among] + gain)
        behind[(offspring == archive.genes[among]).all(axis=1)] = np.inf
        first = np.arange(count) * LITTER
        best: Genes = offspring[first + behind.reshape(count, LITTER).argmin(axis=1)]
        return best

    def _by_a_move(self, parents: Genes) -> Genes:
        return moved(self._rng, self._n_choices, self._archive.genes[parents])

    def _of_neighbours(self, first: Genes) -> Genes:
        second = near_mates(self._rng, self._archive.objectives, first)
        children = mixed(self._rng, self._archive.genes[first], self._archive.genes[second])
        return mutated(self._rng, self._n_choices, children)

    def _of_population(self, count: int) -> Genes:
        """Offspring by NSGA-II's own mating, made many at a time: one call takes as long for 5 as for 20."""
        if len(self._brood) < count:
            self._brood = np.vstack([self._brood, self._mated(max(count, self._population // 5))])
        offspring, self._brood = self._brood[:count], self._brood[count:]
        return offspring

    def _mated(self, count: int) -> Genes:
        algorithm = self._algorithm
        offspring = algorithm.mating.do(
            algorithm.problem, algorithm.pop, count, algorithm=algorithm, random_state=algorithm.random_state
        )
        return np.asarray(offspring.get("X"), dtype=np.int64)

    def tell(self, genes: Genes, objectives: Floats, violations: Floats) -> None:
        """Let the fittest of the population and `genes` survive, and learn what genes are worth."""
        self._origins.update(self._asked.get(row.tobytes(), FIRST) for row in np.ascontiguousarray(genes, np.int64))
        self._asked.clear()
        if not len(genes):
            return
        if self._width != objectives.shape[1]:
            self._widen(objectives.shape[1])
        self._archive.add(genes, objectives)
        self._effects.learn(genes, objectives)
        self._learn(genes, objectives, violations)

    def reject(self, genes: Genes, violations: Floats) -> None:
        """Let the least infeasible fill what the feasible leave open in the population."""
        algorithm = self._algorithm
        full = algorithm.is_initialized and len(algorithm.pop) >= self._population
        if full and algorithm.pop.get("FEAS").all():
            return
        self._learn(genes, np.zeros((len(genes), self._width)), violations)

    def _widen(self, width: int) -> None:
        """Give candidates rejected before the first evaluation as many (void) objectives as others."""
        self._width = width
        for known in (self._waiting, self._algorithm.pop):
            if known is not None:
                known.set("F", np.zeros((len(known), width)))

    def _learn(self, genes: Genes, objectives: Floats, violations: Floats) -> None:
        self._brood = self._brood[:0]
        constrained = {"G": violations} if violations.shape[1] else {}
        told = Population.new(X=genes, F=objectives, **constrained)
        if self._algorithm.is_initialized:
            self._algorithm.advance(infills=told)
        else:
            self._waiting = Population.merge(self._waiting, told)
            self._start_when_ready(violations.shape[1])

    def _start_when_ready(self, constraints: int) -> None:
        waiting, enough = self._waiting, self._population
        if waiting.get("FEAS").sum() < enough and len(waiting) < RANDOM_PHASE * enough:
            return
        # NSGA2 ignores the termination given to its constructor; its own one would end the search.
        problem = Problem(len(self._n_choices), self._width, constraints)
        self._algorithm.setup(problem, termination=NoTermination())
        self._waiting = Population.empty()
        self._algorithm.advance(infills=waiting)
