"""Surrogates: what an objective is worth at genes that were not evaluated, learnt from a few that were."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.errors import UserError

Genes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Repair = Callable[[Genes], Genes]

INACTIVE = -1.0
"""Where a gene without a say lies, its choices lying in 0..1: no block is less than the smallest block."""
LEAST_ROWS = 3
COVERAGE, HALF_WIDTH = 0.9, 1.6449
"""Share of values that an interval of so many standard deviations either side is meant to hold."""
SEPARATE_SCALES = 12
"""Most genes for which every gene may get a length scale of its own: beyond, fitting takes long."""
SEARCH_STEPS = 40


@dataclass(frozen=True)
class Quality:
    """How well a surrogate predicts values that it was not shown."""

    rows: int
    """Rows predicted."""
    rmse: float
    """Root mean square error, in the objective's unit."""
    kendall_tau: float
    """Rank correlation of predicted and true."""
    coverage_90: float
    """Share of true values inside their 90 % interval."""


@dataclass(frozen=True)
class Round:
    """One fit of the surrogates, and what became of it."""

    evaluations: int
    """Rows fitted on."""
    kinds: tuple[str, ...]
    """The kind of surrogate of each modelled objective."""
    quality: tuple[Quality, ...]
    """Of each, leaving one out."""
    batch: tuple[Quality, ...] | None = None
    """Of each on the batch evaluated next, none of it known before; None until that is told."""


def quality_of(predicted: Floats, deviation: Floats, values: Floats) -> Quality:
    """Quality of predictions and their standard deviations; all of shape (n,)."""
    from scipy.stats import kendalltau

    error = predicted - values
    # Of a constant there is no order to get wrong.
    tau = 0.0 if np.ptp(predicted) == 0 or np.ptp(values) == 0 else float(kendalltau(predicted, values).statistic)
    inside = float(np.mean(np.abs(error) <= HALF_WIDTH * deviation)) if len(error) else 0.0
    return Quality(len(error), float(np.sqrt(np.mean(error**2))), tau, inside)


class Encoding:
    """Genes as numbers: `ordinal`, choices evenly in 0..1, or `one-hot`, every choice as far from every other.

    Where a `repair` is given, genes that it does not let a row choose (those of blocks beyond a stage's depth) are
    told from the smallest choice: they lie at `INACTIVE`, or are a choice of their own.
    """

    def __init__(self, kind: str, n_choices: Genes, repair: Repair | None = None) -> None:
        self.kind = kind
        self._free = np.flatnonzero(n_choices > 1)
        self._top = n_choices[self._free] - 1
        self._repair = repair

    def __call__(self, genes: Genes) -> Floats:
        """Genes, shape (n, genes), to features, shape (n, features)."""
        free = genes[:, self._free]
        if not len(self._free):
            return np.zeros((len(genes), 1))
        active = self._active(genes)
        if self.kind == "ordinal":
            places: Floats = np.where(active, free / self._top, INACTIVE)
            return places
        chosen = np.where(active, free, -1)
        lowest = 0 if self._repair is None else -1
        columns = [
            chosen[:, [gene]] == np.arange(lowest, top + 1, dtype=np.int64) for gene, top in enumerate(self._top)
        ]
        # A difference of choice moves two columns; both together are as far as the ends of an ordinal gene.
        features: Floats = np.concatenate(columns, axis=1) / np.sqrt(2)
        return features

    def _active(self, genes: Genes) -> npt.NDArray[np.bool_]:
        """Which free genes a row may choose: those that stay when set to another choice."""
        free = self._free
        if self._repair is None or not len(genes):
            return np.ones((len(genes), len(free)), dtype=bool)
        trial = np.repeat(genes[:, None], len(free), axis=1)
        trial[:, np.arange(len(free)), free] = self._top
        kept = self._repair(trial.reshape(-1, genes.shape[1])).reshape(trial.shape)
        active: npt.NDArray[np.bool_] = kept[:, np.arange(len(free)), free] == self._top
        return active


@dataclass(frozen=True)
class _Fit:
    """One kind of surrogate, fitted."""

    kind: str
    encoding: Encoding
    process: Any
    quality: Quality


class Surrogate:
    """A Gaussian process on genes: a linear trend, smooth departures from it, and noise.

    Of several encodings and kernels the one stands whose leave-one-out predictions rank best. Leaving one out is
    worked out in closed form (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, eq. 5.12),
    with the kernel's parameters of the whole.

    Attributes:
        kind_: the encoding and kernel that stands: `ordinal`, `one-hot` or `ordinal, separate scales`.
        quality_: of its leave-one-out predictions.
    """

    kind_: str
    quality_: Quality
    _best: _Fit

    def __init__(self, n_choices: npt.ArrayLike, repair: Repair | None = None) -> None:
        """Store the number of choices of each gene, shape (genes,), and the map to canonical genes."""
        self.n_choices = np.asarray(n_choices, dtype=np.int64)
        self.repair = repair

    def fit(self, genes: Genes, values: Floats, like: Surrogate | None = None) -> Surrogate:
        """Learn values, shape (n,), of canonical genes, shape (n, genes).

        Args:
            genes: as evaluated; a row may come again with another value.
            values: to be learnt, finite.
            like: fitted before; its kind and its kernel's parameters are taken over as they are, which is much faster.

        Raises:
            UserError: fewer than three rows, or values that are not finite or of another number.
        """
        values = np.asarray(values, dtype=np.float64)
        if values.shape != (len(genes),) or len(values) < LEAST_ROWS or not np.isfinite(values).all():
            raise UserError(
                f"surrogate: wanted a finite value for each row of genes, {LEAST_ROWS} rows at least, "
                f"got {len(genes)} rows and values of shape {values.shape}"
            )
        # Kernels are sought from one start, never from earlier ones: a trend alone, all that few rows tell, would stay.
        kinds = self._kinds() if like is None else [(like.kind_, like._best.process.kernel_)]
        fits = [self._one(kind, kernel, genes, values, search=like is None) for kind, kernel in kinds]
        self._best = max(fits, key=lambda fit: fit.quality.kendall_tau)
        self.kind_, self.quality_ = self._best.kind, self._best.quality
        return self

    def _kinds(self) -> list[tuple[str, Any]]:
        free = int((self.n_choices > 1).sum())
        kinds = [("ordinal", _kernel(None))]
        if (self.n_choices > 2).any():
            kinds.append(("one-hot", _kernel(None)))
        if 1 < free <= SEPARATE_SCALES:
            kinds.append(("ordinal, separate scales", _kernel(free)))
        return kinds

    def _one(self, kind: str, kernel: Any, genes: Genes, values: Floats, *, search: bool) -> _Fit:
        encoding = Encoding(kind.split(",")[0], self.n_choices, self.repair)
        process = _fitted(kernel, encoding(genes), values, search=search)
        return _Fit(kind, encoding, process, quality_of(*_left_out(process, values), values))

    def predict(self, genes: Genes) -> tuple[Floats, Floats]:
        """Expected values of canonical genes and their standard deviations, both of shape (n,)."""
        if not len(genes):
            return np.empty(0), np.empty(0)
        mean, deviation = self._best.process.predict(self._best.encoding(genes), return_std=True)
        return mean, deviation

    def expect(self, genes: Genes) -> Floats:
        """Expected values alone, shape (n,): faster."""
        if not len(genes):
            return np.empty(0)
        expected: Floats = self._best.process.predict(self._best.encoding(genes))
        return expected


def _kernel(separate: int | None) -> Any:
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    weights, scales = (1e-6, 1e4), (0.1, 1e3)
    scale = 3.0 if separate is None else np.full(separate, 3.0)
    return (
        ConstantKernel(0.1, weights) * DotProduct(1.0, (1e-3, 1e3))
        + ConstantKernel(0.1, weights) * RBF(scale, scales)
        + WhiteKernel(0.01, (1e-6, 1.0))
    )


def _fitted(kernel: Any, features: Floats, values: Floats, *, search: bool) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor

    process = GaussianProcessRegressor(kernel, normalize_y=True, optimizer=_likeliest if search else None)
    with warnings.catch_warnings():
        # A parameter at its bound is an answer: no trend, no noise.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return process.fit(features, values)


def _likeliest(objective: Callable[..., Any], start: Floats, bounds: Floats) -> tuple[Floats, float]:
    from scipy.optimize import minimize

    found = minimize(objective, start, method="L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": SEARCH_STEPS})
    return found.x, float(found.fun)


def _left_out(process: Any, values: Floats) -> tuple[Floats, Floats]:
    """What each value is predicted to be, and how surely, by a process that was not shown it; both of shape (n,)."""
    from scipy.linalg import cho_solve

    precision = np.diag(cho_solve((process.L_, True), np.eye(len(values))))
    scale = values.std() or 1.0
    return values - process.alpha_ / precision * scale, np.sqrt(1 / precision) * scale
