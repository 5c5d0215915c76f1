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
"""Shares of offspring by mating neighbours on the front, and by single moves; NSGA-II makes the rest."""
LITTER = 3
"""Offspring per parent of the archive, of which the most promising is proposed."""
ARCHIVE, POPULATION, FIRST = "archive", "population", "first"
"""Origins of candidates; the first ones are random or initial."""
RANDOM_PHASE = 10
"""Largest number of populations of random draws before the first generation, if few are feasible."""

# Without its compiled parts pymoo prints a notice to standard output, which would break --json.
Config.warnings["not_compiled"] = False


class _NSGA2(NSGA2):  # type: ignore[misc]
    def _set_optimum(self, **_: Any) -> None:
        """Do nothing: the optimum is not used, and computing it takes a sixth of the time."""


class GeneMutation(Mutation):  # type: ignore[misc]  # pymoo has no types
    """`variation.mutated` for pymoo."""

    def __init__(self, n_choices: Genes) -> None:
        super().__init__()
        self._n_choices = n_choices

    def _do(self, problem: Any, X: Genes, *, random_state: np.random.Generator, algorithm: Any = None) -> Genes:
        return mutated(random_state, self._n_choices, X)


class NSGA2Strategy(Strategy):
    """NSGA-II with an archive: uniform crossover and mutation of about one gene, and a local search along the front.

    It is not the published NSGA-II; `origins` counts the offspring of the archive. A population is too small for a
    front over several budgets. So an archive has all non-dominated candidates and those just behind them, and most
    offspring come from it: from two neighbours on the front, or from one member by a move (one gene up, another down).
    Of several such offspring the one is proposed that a model of the genes' effects predicts farthest ahead. The first
    generation has all sizes. While there are fewer than `population` feasible candidates, infeasible ones compete by
    their summed violation (Deb's constrained domination); later they are ignored.
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
        self._offspring = np.empty((0, len(n_choices)), dtype=np.int64)
        self._waiting: Any = Population.empty()
        self._proposed: dict[bytes, str] = {}
        self._origins = Counter[str]()
        # The loop removes duplicates of all earlier candidates.
        self._algorithm = _NSGA2(
            pop_size=population,
            crossover=UniformCrossover(),
            mutation=GeneMutation(n_choices),
            eliminate_duplicates=False,
            output=None,
            seed=seed,
        )

    def ask(self, count: int) -> Genes:
        """Propose genes of all sizes before the first generation, then offspring; shape (count, genes)."""
        if not self._algorithm.is_initialized:
            return leaning(self._rng, self._n_choices, self._rng.random(count))
        if len(self._archive) < 2:
            return self._recorded(self._of_population(count), np.zeros(count, dtype=bool))
        kind = self._rng.random(count)
        mating, moving = kind < MATING_SHARE, (kind >= MATING_SHARE) & (kind < MATING_SHARE + MOVE_SHARE)
        genes = np.empty((count, len(self._n_choices)), dtype=np.int64)
        genes[mating] = self._best_of(self._of_neighbours, int(mating.sum()))
        genes[moving] = self._best_of(self._by_a_move, int(moving.sum()))
        genes[~(mating | moving)] = self._of_population(int((~(mating | moving)).sum()))
        return self._recorded(genes, mating | moving)

    @property
    def origins(self) -> Mapping[str, int]:
        """Return the number of evaluated candidates from the `archive`, the `population`, or neither (`first`)."""
        return {name: self._origins[name] for name in (ARCHIVE, POPULATION, FIRST)}

    def _recorded(self, genes: Genes, of_archive: npt.NDArray[np.bool_]) -> Genes:
        """Record the origin of each row, by its canonical form, until its evaluations arrive."""
        canonical = genes if self._repair is None else self._repair(genes.copy())
        for row, archived in zip(canonical, of_archive.tolist(), strict=True):
            self._proposed.setdefault(row.tobytes(), ARCHIVE if archived else POPULATION)
        return genes

    def _best_of(self, make: Callable[[Genes], Genes], count: int) -> Genes:
        """Return the most promising offspring by `make` of each of `count` members of the archive."""
        archive = self._archive
        parents = archive.along(self._rng, count)
        if not self._effects.is_fitted:
            return make(parents)
        repeated = np.repeat(parents, LITTER)
        offspring = make(repeated)
        # Inactive genes would seem to have an effect.
        offspring = offspring if self._repair is None else self._repair(offspring)
        gain = self._effects.predict(offspring) - np.repeat(
            self._effects.predict(archive.genes[parents]), LITTER, axis=0
        )
        behind = archive.behind(archive.objectives[repeated] + gain)
        behind[(offspring == archive.genes[repeated]).all(axis=1)] = np.inf
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
        """Return offspring by NSGA-II's mating, made in bulk: one call for 20 takes no longer than for 5."""
        if len(self._offspring) < count:
            self._offspring = np.vstack([self._offspring, self._mated(max(count, self._population // 5))])
        offspring, self._offspring = self._offspring[:count], self._offspring[count:]
        return offspring

    def _mated(self, count: int) -> Genes:
        algorithm = self._algorithm
        offspring = algorithm.mating.do(
            algorithm.problem, algorithm.pop, count, algorithm=algorithm, random_state=algorithm.random_state
        )
        return np.asarray(offspring.get("X"), dtype=np.int64)

    def tell(self, genes: Genes, objectives: Floats, violations: Floats) -> None:
        """Select the next population among it and `genes`, and update the archive and the effects model."""
        self._origins.update(self._proposed.get(row.tobytes(), FIRST) for row in np.ascontiguousarray(genes, np.int64))
        self._proposed.clear()
        if not len(genes):
            return
        if self._width != objectives.shape[1]:
            self._set_objective_count(objectives.shape[1])
        self._archive.add(genes, objectives)
        self._effects.add(genes, objectives)
        self._learn(genes, objectives, violations)

    def reject(self, genes: Genes, violations: Floats) -> None:
        """Fill the population with the least infeasible candidates while there are too few feasible ones."""
        algorithm = self._algorithm
        full = algorithm.is_initialized and len(algorithm.pop) >= self._population
        if full and algorithm.pop.get("FEAS").all():
            return
        self._learn(genes, np.zeros((len(genes), self._width)), violations)

    def _set_objective_count(self, width: int) -> None:
        """Set the number of objectives, also of candidates rejected before the first evaluation, whose values are 0."""
        self._width = width
        for population in (self._waiting, self._algorithm.pop):
            if population is not None:
                population.set("F", np.zeros((len(population), width)))

    def _learn(self, genes: Genes, objectives: Floats, violations: Floats) -> None:
        self._offspring = self._offspring[:0]
        constrained = {"G": violations} if violations.shape[1] else {}
        evaluated = Population.new(X=genes, F=objectives, **constrained)
        if self._algorithm.is_initialized:
            self._algorithm.advance(infills=evaluated)
        else:
            self._waiting = Population.merge(self._waiting, evaluated)
            self._start_when_ready(violations.shape[1])

    def _start_when_ready(self, constraints: int) -> None:
        waiting, enough = self._waiting, self._population
        if waiting.get("FEAS").sum() < enough and len(waiting) < RANDOM_PHASE * enough:
            return
        # NSGA2 ignores the termination given to its constructor; its default would end the search.
        problem = Problem(len(self._n_choices), self._width, constraints)
        self._algorithm.setup(problem, termination=NoTermination())
        self._waiting = Population.empty()
        self._algorithm.advance(infills=waiting)
