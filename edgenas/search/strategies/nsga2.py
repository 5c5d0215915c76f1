"""NSGA-II on integer genes, by pymoo.

Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE TEC 6(2), 2002.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.config import Config
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.ux import UniformCrossover

from edgenas.search.strategies.protocol import Floats, Genes, GenesFunction, Repair, Strategy

STEP_SHARE = 0.5
"""Share of mutations that go to a neighbouring choice; the rest go to any other."""

RANDOM_PHASE = 10
"""Random draws before the first generation are at most this many populations, however few are feasible."""

# Without its compiled parts pymoo prints an advertisement to standard output, where --json speaks.
Config.warnings["not_compiled"] = False


class GeneMutation(Mutation):  # type: ignore[misc]  # pymoo has no types
    """Changes one gene on average: to a neighbouring choice or, as often, to any other.

    Choices are ordered (sizes, depths), so a neighbour is likely to be about as good; a reset keeps every
    choice within one step of every other. Genes of one choice stay.
    """

    def __init__(self, n_choices: Genes) -> None:
        super().__init__()
        self._n_choices = n_choices
        self._rate = 1 / max(1, int((n_choices > 1).sum()))

    def _do(self, problem: Any, X: Genes, *, random_state: np.random.Generator, algorithm: Any = None) -> Genes:
        changed = (random_state.random(X.shape) < self._rate) & (self._n_choices > 1)
        step = random_state.choice([-1, 1], size=X.shape)
        # At either end the one neighbour is inwards.
        step = np.where((X + step < 0) | (X + step >= self._n_choices), -step, step)
        reset = random_state.integers(1, np.maximum(self._n_choices, 2), size=X.shape)
        near = random_state.random(X.shape) < STEP_SHARE
        return np.where(changed, (X + np.where(near, step, reset)) % self._n_choices, X)


class NSGA2Strategy(Strategy):
    """NSGA-II with uniform crossover and `GeneMutation`.

    The first generation is random. Infeasible candidates steer it by their summed violation while fewer than
    `population` feasible ones are known (Deb's constrained domination), and are ignored after.
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
        self._rng = np.random.default_rng([seed, 0])
        self._width = 1
        self._waiting: Any = Population.empty()
        # Duplicates are removed by the loop, against everything ever proposed.
        self._algorithm = NSGA2(
            pop_size=population,
            crossover=UniformCrossover(),
            mutation=GeneMutation(n_choices),
            eliminate_duplicates=False,
            output=None,
            seed=seed,
        )

    def ask(self, count: int) -> Genes:
        """Random genes before the first generation, offspring after; shape (count, genes)."""
        algorithm = self._algorithm
        if not algorithm.is_initialized:
            return self._rng.integers(0, self._n_choices, size=(count, len(self._n_choices)))
        offspring = algorithm.mating.do(
            algorithm.problem, algorithm.pop, count, algorithm=algorithm, random_state=algorithm.random_state
        )
        return np.asarray(offspring.get("X"), dtype=np.int64)

    def tell(self, genes: Genes, objectives: Floats, violations: Floats) -> None:
        """Let the fittest of the population and `genes` survive."""
        if self._width != objectives.shape[1]:
            self._widen(objectives.shape[1])
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
        if not len(genes):
            return
        told = Population.new(X=genes, F=objectives, G=violations)
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
