"""Surrogates: Gaussian processes that predict an objective from few evaluated genes."""

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
"""Value of an inactive gene; the choices of active ones are in 0..1: no block is less than the smallest block."""
LEAST_ROWS = 3
COVERAGE, HALF_WIDTH = 0.9, 1.6449
"""Nominal coverage of an interval of so many standard deviations on either side."""
SEPARATE_SCALES = 12
"""Largest number of genes with separate length scales: with more, fitting takes long."""
SEARCH_STEPS = 40


@dataclass(frozen=True)
class Quality:
    """Quality of a surrogate's predictions of held-out values."""

    rows: int
    """Rows predicted."""
    rmse: float
    """Root mean square error, in the objective's unit."""
    kendall_tau: float
    """Rank correlation of predicted and true values."""
    coverage_90: float
    """Share of true values inside their 90 % interval."""


@dataclass(frozen=True)
class Round:
    """One fit of the surrogates, and the quality of its predictions."""

    evaluations: int
    """Number of rows of the fit."""
    kinds: tuple[str, ...]
    """The kind of surrogate of each modelled objective."""
    quality: tuple[Quality, ...]
    """Leave-one-out quality of each."""
    batch: tuple[Quality, ...] | None = None
    """Quality of each on the next evaluated batch; None until it is evaluated."""


def quality_of(predicted: Floats, deviation: Floats, values: Floats) -> Quality:
    """Return the quality of predictions and their standard deviations, all of shape (n,)."""
    from scipy.stats import kendalltau

    error = predicted - values
    # Constant values have no order.
    tau = 0.0 if np.ptp(predicted) == 0 or np.ptp(values) == 0 else float(kendalltau(predicted, values).statistic)
    inside = float(np.mean(np.abs(error) <= HALF_WIDTH * deviation)) if len(error) else 0.0
    return Quality(len(error), float(np.sqrt(np.mean(error**2))), tau, inside)


class Encoding:
    """Genes as numbers: `ordinal`, with choices evenly in 0..1, or `one-hot`, with equally distant choices.

    With a `repair`, inactive genes (those of blocks beyond a stage's depth) differ from the smallest choice: they have
    the value `INACTIVE`, or an extra choice.
    """

    def __init__(self, kind: str, n_choices: Genes, repair: Repair | None = None) -> None:
        self.kind = kind
        self._free = np.flatnonzero(n_choices > 1)
        self._top = n_choices[self._free] - 1
        self._repair = repair

    def __call__(self, genes: Genes) -> Floats:
        """Return the features of genes, shape (n, genes) to (n, features)."""
        free = genes[:, self._free]
        if not len(self._free):
            return np.zeros((len(genes), 1))
        active = self._active(genes)
        if self.kind == "ordinal":
            ordinal: Floats = np.where(active, free / self._top, INACTIVE)
            return ordinal
        chosen = np.where(active, free, -1)
        lowest = 0 if self._repair is None else -1
        columns = [
            chosen[:, [gene]] == np.arange(lowest, top + 1, dtype=np.int64) for gene, top in enumerate(self._top)
        ]
        # Different choices differ in two columns; scaled, their distance is that of the ends of an ordinal gene.
        features: Floats = np.concatenate(columns, axis=1) / np.sqrt(2)
        return features

    def _active(self, genes: Genes) -> npt.NDArray[np.bool_]:
        """Return which free genes are active in a row: those that `repair` leaves at another choice."""
        free = self._free
        if self._repair is None or not len(genes):
            return np.ones((len(genes), len(free)), dtype=bool)
        trial = np.repeat(genes[:, None], len(free), axis=1)
        trial[:, np.arange(len(free)), free] = self._top
        repaired = self._repair(trial.reshape(-1, genes.shape[1])).reshape(trial.shape)
        active: npt.NDArray[np.bool_] = repaired[:, np.arange(len(free)), free] == self._top
        return active


@dataclass(frozen=True)
class _Fit:
    """A fitted surrogate of one kind."""

    kind: str
    encoding: Encoding
    process: Any
    quality: Quality


class Surrogate:
    """A Gaussian process on genes: a linear trend, smooth deviations from it, and noise.

    Of several encodings and kernels, the one with the best leave-one-out ranking is used. Leave-one-out predictions are
    computed in closed form (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, eq. 5.12),
    with the kernel parameters of all rows.

    Attributes:
        kind_: the chosen encoding and kernel: `ordinal`, `one-hot` or `ordinal, separate scales`.
        quality_: quality of its leave-one-out predictions.
    """

    kind_: str
    quality_: Quality
    _best: _Fit

    def __init__(self, n_choices: npt.ArrayLike, repair: Repair | None = None) -> None:
        """Store the number of choices of each gene, shape (genes,), and the map to canonical genes."""
        self.n_choices = np.asarray(n_choices, dtype=np.int64)
        self.repair = repair

    def fit(self, genes: Genes, values: Floats, like: Surrogate | None = None) -> Surrogate:
        """Fit to values, shape (n,), of canonical genes, shape (n, genes).

        Args:
            genes: evaluated genes; rows may repeat with different values.
            values: finite values.
            like: a fitted surrogate whose kind and kernel parameters are reused, which is much faster.

        Raises:
            UserError: fewer than three rows, or values that are not finite or not one per row.
        """
        values = np.asarray(values, dtype=np.float64)
        if values.shape != (len(genes),) or len(values) < LEAST_ROWS or not np.isfinite(values).all():
            raise UserError(
                f"surrogate: expected a finite value for each row of genes, {LEAST_ROWS} rows at least, "
                f"got {len(genes)} rows and values of shape {values.shape}"
            )
        # Always optimised from the same start: from earlier parameters, a pure trend, the fit to few rows, would stay.
        kinds = self._kinds() if like is None else [(like.kind_, like._best.process.kernel_)]
        fits = [self._fit_kind(kind, kernel, genes, values, search=like is None) for kind, kernel in kinds]
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

    def _fit_kind(self, kind: str, kernel: Any, genes: Genes, values: Floats, *, search: bool) -> _Fit:
        encoding = Encoding(kind.split(",")[0], self.n_choices, self.repair)
        process = _fitted(kernel, encoding(genes), values, search=search)
        return _Fit(kind, encoding, process, quality_of(*_left_out(process, values), values))

    def predict(self, genes: Genes) -> tuple[Floats, Floats]:
        """Return the predicted values of canonical genes and their standard deviations, both of shape (n,)."""
        if not len(genes):
            return np.empty(0), np.empty(0)
        mean, deviation = self._best.process.predict(self._best.encoding(genes), return_std=True)
        return mean, deviation

    def expect(self, genes: Genes) -> Floats:
        """Return only the predicted values, shape (n,), which is faster."""
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

    process = GaussianProcessRegressor(kernel, normalize_y=True, optimizer=_maximise_likelihood if search else None)
    with warnings.catch_warnings():
        # A parameter at its bound is a valid result: no trend, no noise.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return process.fit(features, values)


def _maximise_likelihood(objective: Callable[..., Any], start: Floats, bounds: Floats) -> tuple[Floats, float]:
    from scipy.optimize import minimize

    optimum = minimize(objective, start, method="L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": SEARCH_STEPS})
    return optimum.x, float(optimum.fun)


def _left_out(process: Any, values: Floats) -> tuple[Floats, Floats]:
    """Return the leave-one-out prediction of each value and its standard deviation, both of shape (n,)."""
    from scipy.linalg import cho_solve

    precision = np.diag(cho_solve((process.L_, True), np.eye(len(values))))
    scale = values.std() or 1.0
    return values - process.alpha_ / precision * scale, np.sqrt(1 / precision) * scale
