"""Surrogate-assisted search: NSGA-II on what was learnt from the few candidates that were really evaluated.

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
"""Populations that the first design takes."""
CANDIDATES_PER_DESIGN = 32
ENUMERABLE = 10_000
"""Gene settings up to which the surrogates are asked about every one, and NSGA-II is spared."""
INNER_POPULATION, INNER_GENERATIONS = 100, 40
OPTIMISM = (0.5, 2.0)
"""Standard deviations by which a candidate is hoped to be better than expected; the second where too few are."""
MOST_LIMIT_ROWS = 300
"""Latest rows that constraints are learnt from."""
GROWTH = 1.2
"""More evaluations by this factor, and the kernels are chosen afresh; before, they are kept."""


class SurrogateStrategy(Strategy):
    """Evaluates few candidates, each picked from thousands that surrogates were asked about.

    A first design covers the space. Then, after each telling: surrogates of the objectives that are not `exact` are
    fitted, NSGA-II searches on them (and on the exact ones themselves), and of all that it saw the candidates are
    picked one by one that add most hypervolume to the front, those picked before them counted in.
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
        self._known: set[bytes] = set()
        self._genes = np.empty((0, len(self._n_choices)), dtype=np.int64)
        self._objectives: Floats | None = None
        self._models: list[Surrogate] = []
        self._chosen_on = 0
        self._limits: tuple[Genes, Floats] | None = None
        self._limit_models: list[Surrogate] = []
        self._rounds: list[Round] = []
        begun = 0 if initial is None else len(initial)
        self._queue = self._design(max(DESIGN * population - begun, 0), initial)

    @property
    def rounds(self) -> Sequence[Round]:
        """Every fit so far."""
        return self._rounds

    def ask(self, count: int) -> Genes:
        """The rest of the first design, then what the surrogates promise most of, then random genes."""
        self._queue = self._unknown(self._queue)
        if len(self._queue) < count and self._objectives is not None and len(self._genes) >= LEAST_ROWS:
            self._queue = np.concatenate([self._queue, self._promising(count - len(self._queue))])
        asked, self._queue = self._queue[:count], self._queue[count:]
        self._known.update(_keys(asked))
        return np.concatenate([asked, self._random(count - len(asked))])

    def tell(self, genes: Genes, objectives: Floats, violations: Floats) -> None:
        """Learn from a batch; what was queued for the next one is thought over again."""
        if not len(genes):
            return
        self._judge(genes, objectives)
        self._known.update(_keys(genes))
        self._genes = np.concatenate([self._genes, genes])
        known = np.empty((0, objectives.shape[1])) if self._objectives is None else self._objectives
        self._objectives = np.concatenate([known, objectives])
        self._learn_limits(genes, violations)
        if len(self._genes) >= DESIGN * self._population:
            self._queue = self._queue[:0]

    def reject(self, genes: Genes, violations: Floats) -> None:
        """Learn where candidates are infeasible."""
        self._known.update(_keys(genes))
        self._learn_limits(genes, violations)

    def _learn_limits(self, genes: Genes, violations: Floats) -> None:
        if not violations.shape[1]:
            return
        before = self._limits or (genes[:0], violations[:0])
        self._limits = (
            np.concatenate([before[0], genes])[-MOST_LIMIT_ROWS:],
            np.concatenate([before[1], violations])[-MOST_LIMIT_ROWS:],
        )

    def _fit_limits(self) -> None:
        """Model the constraints, if any was ever broken: the loop keeps them, but to ask in vain takes time."""
        if self._limits is None or not (self._limits[1] > 0).any():
            return
        genes, broken = self._limits
        kept: Sequence[Surrogate | None] = self._limit_models or [None] * broken.shape[1]
        self._limit_models = [
            Surrogate(self._n_choices, self._repair).fit(genes, column, like)
            for column, like in zip(broken.T, kept, strict=True)
        ]

    def _design(self, count: int, initial: Genes | None) -> Genes:
        """The smallest and the largest choices, then genes far from all before (maximin: Johnson et al. 1990).

        With exact objectives these count as much as all the genes together: equal steps along the front.
        """
        if count < 1:
            return self._genes
        # All sizes occur: points of the exact objectives' whole range are to be had.
        leans = self._rng.random(max(count, 8) * CANDIDATES_PER_DESIGN)
        drawn = leaning(self._rng, self._n_choices, leans)
        ends = np.stack([np.zeros_like(self._n_choices), self._n_choices - 1])
        given = ends[:0] if initial is None else initial
        genes = self._canonical(np.concatenate([given, ends, drawn]))
        points = self._places(genes)
        distance = np.full(len(genes), np.inf)
        chosen: list[int] = []
        for number in range(len(given) + count):
            place = number if number < len(given) + len(ends) else int(distance.argmax())
            distance = np.minimum(distance, np.linalg.norm(points - points[place], axis=1))
            chosen.append(place)
        return _distinct(genes[chosen[len(given) :]])

    def _places(self, genes: Genes) -> Floats:
        free = self._n_choices > 1
        points: Floats = genes[:, free] / (self._n_choices[free] - 1) / np.sqrt(max(free.sum(), 1))
        if self._exact is None:
            return points
        cheap = np.asarray(self._exact(genes), dtype=np.float64)
        ranks = np.argsort(np.argsort(cheap, axis=0), axis=0) / len(genes)
        return np.concatenate([points, ranks / np.sqrt(cheap.shape[1])], axis=1)

    def _promising(self, count: int) -> Genes:
        """The `count` unknown candidates, or fewer, that are hoped to add most hypervolume."""
        assert self._objectives is not None
        self._fit()
        self._fit_limits()
        few = math.prod(self._n_choices.tolist()) <= ENUMERABLE
        candidates = self._unknown(self._every() if few else self._searched())
        front, reference = self._objectives[non_dominated(self._objectives)], reference_of(self._objectives)
        taken = candidates[:0]
        for optimism in OPTIMISM:
            picked = _picked(front, self._hoped(candidates, optimism), reference, count - len(taken))
            taken = np.concatenate([taken, candidates[picked]])
            candidates = np.delete(candidates, picked, axis=0)
        return taken

    def _fit(self) -> None:
        assert self._objectives is not None
        if self._fitted():
            return
        afresh = len(self._genes) >= GROWTH * self._chosen_on
        if afresh:
            self._chosen_on = len(self._genes)
        values = self._objectives[:, : self._objectives.shape[1] - self._n_exact()]
        before: Sequence[Surrogate | None] = self._models or [None] * values.shape[1]
        self._models = [
            Surrogate(self._n_choices, self._repair).fit(self._genes, column, None if afresh else like)
            for column, like in zip(values.T, before, strict=True)
        ]
        kinds = tuple(model.kind_ for model in self._models)
        self._rounds.append(Round(len(self._genes), kinds, tuple(model.quality_ for model in self._models)))

    def _fitted(self) -> bool:
        """Whether the last round saw all that is known."""
        return bool(self._rounds) and self._rounds[-1].evaluations == len(self._genes)

    def _n_exact(self) -> int:
        return 0 if self._exact is None else np.asarray(self._exact(self._genes[:1])).shape[1]

    def _judge(self, genes: Genes, objectives: Floats) -> None:
        """Note how well the batch was foreseen."""
        if not self._fitted() or len(genes) < LEAST_ROWS:
            return
        last = self._rounds[-1]
        batch = tuple(
            quality_of(*model.predict(genes), objectives[:, number]) for number, model in enumerate(self._models)
        )
        self._rounds[-1] = Round(last.evaluations, last.kinds, last.quality, batch)

    def _searched(self) -> Genes:
        """Everything that NSGA-II saw on the surrogates, the front so far in its first population; distinct rows."""
        assert self._objectives is not None
        inner = NSGA2Strategy(
            self._n_choices, seed=int(self._rng.integers(2**31)), population=INNER_POPULATION, repair=self._repair
        )
        asked = np.concatenate(
            [self._genes[non_dominated(self._objectives)][:INNER_POPULATION], self._random(INNER_POPULATION)]
        )
        seen = []
        for _ in range(INNER_GENERATIONS):
            asked = _distinct(self._canonical(asked))
            broken = self._foreseen_violations(asked)
            feasible = (broken <= 0).all(axis=1)
            if feasible.any():
                inner.tell(asked[feasible], self._expected(asked[feasible]), broken[feasible])
                seen.append(asked[feasible])
            if not feasible.all():
                inner.reject(asked[~feasible], broken[~feasible])
            asked = inner.ask(INNER_POPULATION)
        return _distinct(np.concatenate(seen)) if seen else self._genes[:0]

    def _every(self) -> Genes:
        """All canonical genes that are expected to be feasible."""
        sizes = self._n_choices.tolist()
        genes = np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1).astype(np.int64)
        genes = _distinct(self._canonical(genes))
        return genes[(self._foreseen_violations(genes) <= 0).all(axis=1)]

    def _foreseen_violations(self, genes: Genes) -> Floats:
        """What the constraints are expected to say, shape (n, constraints)."""
        return np.column_stack([np.empty((len(genes), 0)), *(model.expect(genes) for model in self._limit_models)])

    def _expected(self, genes: Genes) -> Floats:
        return self._with_exact(genes, [model.expect(genes) for model in self._models])

    def _hoped(self, genes: Genes, optimism: float) -> Floats:
        told = [model.predict(genes) for model in self._models]
        return self._with_exact(genes, [mean - optimism * deviation for mean, deviation in told])

    def _with_exact(self, genes: Genes, columns: list[Floats]) -> Floats:
        cheap = [] if self._exact is None else [np.asarray(self._exact(genes), dtype=np.float64)]
        return np.concatenate([*(column[:, None] for column in columns), *cheap], axis=1)

    def _random(self, count: int) -> Genes:
        return self._rng.integers(0, self._n_choices, size=(count, len(self._n_choices)))

    def _canonical(self, genes: Genes) -> Genes:
        return genes if self._repair is None else self._repair(genes.copy())

    def _unknown(self, genes: Genes) -> Genes:
        return genes[[key not in self._known for key in _keys(genes)]]


def _picked(front: Floats, candidates: Floats, reference: Floats, count: int) -> list[int]:
    """Indices of the candidates that one after the other add most to the front's hypervolume.

    Those that add nothing are not picked. A gain only shrinks as others are picked, so what led before is looked at
    first and the rest mostly never again (Minoux, "Accelerated greedy algorithms", 1978).
    """
    picked: list[int] = []
    before = hypervolume(front, reference)
    beaten = (front[:, None] <= candidates).all(axis=2).any(axis=0) | (candidates >= reference).any(axis=1)
    order = [(-np.inf, row, -1) for row in np.flatnonzero(~beaten).tolist()]
    while order and len(picked) < count:
        bound, row, round_ = heapq.heappop(order)
        if round_ == len(picked):
            picked.append(row)
            front = np.vstack([front, candidates[row]])
            front = front[non_dominated(front)]
            before -= bound
            continue
        gain = hypervolume(np.vstack([front, candidates[row]]), reference) - before
        if gain > 1e-12 * before:
            heapq.heappush(order, (-gain, row, len(picked)))
    return picked


def _distinct(genes: Genes) -> Genes:
    """Each row once, in order of first appearance."""
    return genes[np.sort(np.unique(genes, axis=0, return_index=True)[1])] if len(genes) else genes


def _keys(genes: Genes) -> list[bytes]:
    return [np.ascontiguousarray(row, dtype=np.int64).tobytes() for row in genes]
