"""Surrogate-assisted search: NSGA-II on surrogates that are fitted to few evaluated candidates.

After Knowles, "ParEGO", IEEE TEC 10(1), 2006, and Lu et al., "NSGANetV2", ECCV 2020, in outline.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

import numpy as np

from edgenas.search.front import hypervolume, non_dominated, reference_of
from edgenas.search.gaussian_process import LEAST_ROWS, Round, Surrogate, quality_of
from edgenas.search.strategies.nsga2 import NSGA2Strategy
from edgenas.search.strategies.protocol import Floats, Genes, GenesFunction, Repair, Strategy
from edgenas.space.covering_samples import leaning

DESIGN = 2
"""Size of the initial design, in populations."""
CANDIDATES_PER_DESIGN = 32
ENUMERABLE = 10_000
"""Largest number of gene settings that the surrogates predict in full, without NSGA-II."""
INNER_POPULATION, INNER_GENERATIONS = 100, 40
OPTIMISM = (0.5, 2.0)
"""Standard deviations subtracted from predictions (lower confidence bound); the second if too few improve."""
MAX_LIMIT_ROWS = 300
"""Number of latest rows that models of constraints are fitted to."""
GROWTH = 1.2
"""Growth of evaluations after which the kernels are chosen again."""


class SurrogateStrategy(Strategy):
    """Evaluate few candidates, each selected from thousands by surrogates.

    An initial design covers the space. After each `tell`, surrogates of the objectives that are not `exact` are fitted,
    and NSGA-II searches on them and on the exact objectives. Of all its candidates, those that add most hypervolume to
    the front are selected one by one, each counting the ones before it.
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
        self._n_choices = np.asarray(n_choices, dtype=np.int64)
        self._population = population
        self._repair = repair
        self._exact = exact
        self._rng = np.random.default_rng([seed, 1])
        self._seen: set[bytes] = set()
        self._genes = np.empty((0, len(self._n_choices)), dtype=np.int64)
        self._objectives: Floats | None = None
        self._models: list[Surrogate] = []
        self._rows_at_choice = 0
        self._limits: tuple[Genes, Floats] | None = None
        self._limit_models: list[Surrogate] = []
        self._rounds: list[Round] = []
        n_initial = 0 if initial is None else len(initial)
        self._queue = self._design(max(DESIGN * population - n_initial, 0), initial)

    @property
    def rounds(self) -> Sequence[Round]:
        """Return every fit so far."""
        return self._rounds

    def ask(self, count: int) -> Genes:
        """Propose the rest of the initial design, then the most promising candidates, then random genes."""
        self._queue = self._unseen(self._queue)
        if len(self._queue) < count and self._objectives is not None and len(self._genes) >= LEAST_ROWS:
            self._queue = np.concatenate([self._queue, self._promising(count - len(self._queue))])
        proposed, self._queue = self._queue[:count], self._queue[count:]
        self._seen.update(_keys(proposed))
        return np.concatenate([proposed, self._random(count - len(proposed))])

    def tell(self, genes: Genes, objectives: Floats, violations: Floats) -> None:
        """Add a batch of evaluations; the queue for the next batch is computed again."""
        if not len(genes):
            return
        self._record_quality(genes, objectives)
        self._seen.update(_keys(genes))
        self._genes = np.concatenate([self._genes, genes])
        earlier = np.empty((0, objectives.shape[1])) if self._objectives is None else self._objectives
        self._objectives = np.concatenate([earlier, objectives])
        self._add_limits(genes, violations)
        if len(self._genes) >= DESIGN * self._population:
            self._queue = self._queue[:0]

    def reject(self, genes: Genes, violations: Floats) -> None:
        """Add infeasible candidates to the data of the constraint models."""
        self._seen.update(_keys(genes))
        self._add_limits(genes, violations)

    def _add_limits(self, genes: Genes, violations: Floats) -> None:
        if not violations.shape[1]:
            return
        before = self._limits or (genes[:0], violations[:0])
        self._limits = (
            np.concatenate([before[0], genes])[-MAX_LIMIT_ROWS:],
            np.concatenate([before[1], violations])[-MAX_LIMIT_ROWS:],
        )

    def _fit_limits(self) -> None:
        """Model the constraints, if any was violated: infeasible proposals waste time even if the loop rejects them."""
        if self._limits is None or not (self._limits[1] > 0).any():
            return
        genes, violations = self._limits
        before: Sequence[Surrogate | None] = self._limit_models or [None] * violations.shape[1]
        self._limit_models = [
            Surrogate(self._n_choices, self._repair).fit(genes, column, like)
            for column, like in zip(violations.T, before, strict=True)
        ]

    def _design(self, count: int, initial: Genes | None) -> Genes:
        """Return the smallest and the largest choices, then genes far from all before (maximin: Johnson et al. 1990).

        Exact objectives have the same weight as all genes together, which gives equal steps along the front.
        """
        if count < 1:
            return self._genes
        # All sizes occur, so the candidates span the whole range of the exact objectives.
        leans = self._rng.random(max(count, 8) * CANDIDATES_PER_DESIGN)
        drawn = leaning(self._rng, self._n_choices, leans)
        ends = np.stack([np.zeros_like(self._n_choices), self._n_choices - 1])
        given = ends[:0] if initial is None else initial
        genes = self._canonical(np.concatenate([given, ends, drawn]))
        points = self._points(genes)
        distance = np.full(len(genes), np.inf)
        chosen: list[int] = []
        for number in range(len(given) + count):
            index = number if number < len(given) + len(ends) else int(distance.argmax())
            distance = np.minimum(distance, np.linalg.norm(points - points[index], axis=1))
            chosen.append(index)
        return _distinct(genes[chosen[len(given) :]])

    def _points(self, genes: Genes) -> Floats:
        free = self._n_choices > 1
        points: Floats = genes[:, free] / (self._n_choices[free] - 1) / np.sqrt(max(free.sum(), 1))
        if self._exact is None:
            return points
        cheap = np.asarray(self._exact(genes), dtype=np.float64)
        ranks = np.argsort(np.argsort(cheap, axis=0), axis=0) / len(genes)
        return np.concatenate([points, ranks / np.sqrt(cheap.shape[1])], axis=1)

    def _promising(self, count: int) -> Genes:
        """Return up to `count` unseen candidates with the largest optimistic gain of hypervolume."""
        assert self._objectives is not None
        self._fit()
        self._fit_limits()
        enumerable = math.prod(self._n_choices.tolist()) <= ENUMERABLE
        candidates = self._unseen(self._enumerated() if enumerable else self._searched())
        front, reference = self._objectives[non_dominated(self._objectives)], reference_of(self._objectives)
        selected = candidates[:0]
        for optimism in OPTIMISM:
            indices = _most_gain(front, self._optimistic(candidates, optimism), reference, count - len(selected))
            selected = np.concatenate([selected, candidates[indices]])
            candidates = np.delete(candidates, indices, axis=0)
        return selected

    def _fit(self) -> None:
        assert self._objectives is not None
        if self._is_fitted():
            return
        choose_kernels = len(self._genes) >= GROWTH * self._rows_at_choice
        if choose_kernels:
            self._rows_at_choice = len(self._genes)
        values = self._objectives[:, : self._objectives.shape[1] - self._n_exact()]
        before: Sequence[Surrogate | None] = self._models or [None] * values.shape[1]
        self._models = [
            Surrogate(self._n_choices, self._repair).fit(self._genes, column, None if choose_kernels else like)
            for column, like in zip(values.T, before, strict=True)
        ]
        kinds = tuple(model.kind_ for model in self._models)
        self._rounds.append(Round(len(self._genes), kinds, tuple(model.quality_ for model in self._models)))

    def _is_fitted(self) -> bool:
        """Return whether the last fit used all evaluations."""
        return bool(self._rounds) and self._rounds[-1].evaluations == len(self._genes)

    def _n_exact(self) -> int:
        return 0 if self._exact is None else np.asarray(self._exact(self._genes[:1])).shape[1]

    def _record_quality(self, genes: Genes, objectives: Floats) -> None:
        """Record the quality of the predictions for a batch."""
        if not self._is_fitted() or len(genes) < LEAST_ROWS:
            return
        last = self._rounds[-1]
        batch = tuple(
            quality_of(*model.predict(genes), objectives[:, number]) for number, model in enumerate(self._models)
        )
        self._rounds[-1] = Round(last.evaluations, last.kinds, last.quality, batch)

    def _searched(self) -> Genes:
        """Return all distinct candidates of NSGA-II on the surrogates; its first population includes the front."""
        assert self._objectives is not None
        inner = NSGA2Strategy(
            self._n_choices, seed=int(self._rng.integers(2**31)), population=INNER_POPULATION, repair=self._repair
        )
        proposed = np.concatenate(
            [self._genes[non_dominated(self._objectives)][:INNER_POPULATION], self._random(INNER_POPULATION)]
        )
        seen = []
        for _ in range(INNER_GENERATIONS):
            proposed = _distinct(self._canonical(proposed))
            violations = self._predicted_violations(proposed)
            feasible = (violations <= 0).all(axis=1)
            if feasible.any():
                inner.tell(proposed[feasible], self._expected(proposed[feasible]), violations[feasible])
                seen.append(proposed[feasible])
            if not feasible.all():
                inner.reject(proposed[~feasible], violations[~feasible])
            proposed = inner.ask(INNER_POPULATION)
        return _distinct(np.concatenate(seen)) if seen else self._genes[:0]

    def _enumerated(self) -> Genes:
        """Return all canonical genes that are predicted to be feasible."""
        sizes = self._n_choices.tolist()
        genes = np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1).astype(np.int64)
        genes = _distinct(self._canonical(genes))
        return genes[(self._predicted_violations(genes) <= 0).all(axis=1)]

    def _predicted_violations(self, genes: Genes) -> Floats:
        """Return the predicted violations, shape (n, constraints)."""
        return np.column_stack([np.empty((len(genes), 0)), *(model.expect(genes) for model in self._limit_models)])

    def _expected(self, genes: Genes) -> Floats:
        return self._with_exact(genes, [model.expect(genes) for model in self._models])

    def _optimistic(self, genes: Genes, optimism: float) -> Floats:
        predictions = [model.predict(genes) for model in self._models]
        return self._with_exact(genes, [mean - optimism * deviation for mean, deviation in predictions])

    def _with_exact(self, genes: Genes, columns: list[Floats]) -> Floats:
        cheap = [] if self._exact is None else [np.asarray(self._exact(genes), dtype=np.float64)]
        return np.concatenate([*(column[:, None] for column in columns), *cheap], axis=1)

    def _random(self, count: int) -> Genes:
        return self._rng.integers(0, self._n_choices, size=(count, len(self._n_choices)))

    def _canonical(self, genes: Genes) -> Genes:
        return genes if self._repair is None else self._repair(genes.copy())

    def _unseen(self, genes: Genes) -> Genes:
        return genes[[key not in self._seen for key in _keys(genes)]]


def _most_gain(front: Floats, candidates: Floats, reference: Floats, count: int) -> list[int]:
    """Return indices of candidates that, one after the other, add most to the front's hypervolume.

    Candidates without gain are not selected. Gains only shrink as others are selected, so most need not be computed
    again (Minoux, "Accelerated greedy algorithms", 1978).
    """
    selected: list[int] = []
    before = hypervolume(front, reference)
    dominated = (front[:, None] <= candidates).all(axis=2).any(axis=0) | (candidates >= reference).any(axis=1)
    order = [(-np.inf, row, -1) for row in np.flatnonzero(~dominated).tolist()]
    while order and len(selected) < count:
        bound, row, round_ = heapq.heappop(order)
        if round_ == len(selected):
            selected.append(row)
            front = np.vstack([front, candidates[row]])
            front = front[non_dominated(front)]
            before -= bound
            continue
        gain = hypervolume(np.vstack([front, candidates[row]]), reference) - before
        if gain > 1e-12 * before:
            heapq.heappush(order, (-gain, row, len(selected)))
    return selected


def _distinct(genes: Genes) -> Genes:
    """Return each row once, in order of first appearance."""
    return genes[np.sort(np.unique(genes, axis=0, return_index=True)[1])] if len(genes) else genes


def _keys(genes: Genes) -> list[bytes]:
    return [np.ascontiguousarray(row, dtype=np.int64).tobytes() for row in genes]
