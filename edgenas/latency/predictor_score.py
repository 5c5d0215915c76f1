"""Cross-validated accuracy of latency predictors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.blas import one_blas_thread
from edgenas.errors import TableError
from edgenas.latency.calibration import largest_coverage, line_fit
from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.table import LatencyTable
from edgenas.records.latency import LatencyRow
from edgenas.records.profile import HeldOutNetwork, PredictorScore
from edgenas.space.arch import Arch
from edgenas.space.cost import cost
from edgenas.space.space import SearchSpace

Floats = npt.NDArray[np.float64]
SCORED_COVERAGE = 0.9


@one_blas_thread()
def score_predictor(
    space: SearchSpace,
    table: LatencyTable,
    seed: int = 0,
    folds: int = 5,
    base: LatencyPredictor | None = None,
) -> PredictorScore:
    """Score a predictor by cross-validation on the networks of `space` in a table.

    Args:
        space: space of the networks.
        table: latency table with at least two networks per fold.
        seed: seed of the assignment of networks to folds.
        folds: number of folds.
        base: predictor of another device that the fits start from, as in `LatencyPredictor.fit`.

    Raises:
        TableError: there are fewer than two networks per fold.
    """
    predictor = LatencyPredictor(space).fit(table, base)
    rows = table.networks(predictor.space_.structure_id, predictor.space_.num_classes)
    if len(rows) < 2 * folds:
        raise TableError(f"cross-validation in {folds} folds needs {2 * folds} measured networks, got {len(rows)}")
    archs = [space.parse(row.key) for row in rows]
    macs = np.array([[cost(predictor.space_.unroll(arch)).macs, 1.0] for arch in archs])
    measured = np.array([row.p50_us for row in rows])
    fold = np.random.default_rng(seed).permutation(len(rows)) % folds
    held_out = _held_out(predictor, archs, macs, measured, fold)
    return _score(rows, archs, held_out, len(rows) - int(np.bincount(fold).max()))


@dataclass(frozen=True)
class _HeldOut:
    """Predictions of each network by the fit on the other folds, microseconds.

    Attributes:
        predicted: calibrated predictions, shape (n,).
        plain_sum: sums of block latencies, shape (n,).
        macs_linear: predictions of a linear model of MACs, shape (n,).
        bounds: prediction intervals, shape (n, 2); NaN if the networks are too few for the coverage.
    """

    predicted: Floats
    plain_sum: Floats
    macs_linear: Floats
    bounds: Floats


def _held_out(
    predictor: LatencyPredictor,
    archs: Sequence[Arch],
    macs: Floats,
    measured: Floats,
    fold: npt.NDArray[np.int64],
) -> _HeldOut:
    count = len(fold)
    held_out = _HeldOut(np.empty(count), np.empty(count), np.empty(count), np.full((count, 2), np.nan))
    for number in range(int(fold.max()) + 1):
        out = fold == number
        fitted, unseen = list(compress(archs, ~out)), list(compress(archs, out))
        refit = predictor.refit(fitted, measured[~out])
        held_out.predicted[out] = refit.predict(unseen)
        held_out.plain_sum[out] = refit.features(unseen)[:, 0]
        held_out.macs_linear[out] = macs[out] @ line_fit(macs[~out], measured[~out])
        if largest_coverage(len(fitted)) >= SCORED_COVERAGE:
            held_out.bounds[out] = refit.interval(unseen, SCORED_COVERAGE)
    return held_out


def _score(rows: Sequence[LatencyRow], archs: Sequence[Arch], held_out: _HeldOut, n_fit: int) -> PredictorScore:
    from scipy.stats import kendalltau

    measured, predicted, bounds = np.array([row.p50_us for row in rows]), held_out.predicted, held_out.bounds
    error = predicted / measured - 1
    coverage = half_width = None
    if not np.isnan(bounds).any():
        coverage = float(np.mean((bounds[:, 0] <= measured) & (measured <= bounds[:, 1])))
        half_width = float(np.median((bounds[:, 1] - bounds[:, 0]) / 2 / predicted))
    return PredictorScore(
        mape=float(np.abs(error).mean()),
        within_5=float(np.mean(np.abs(error) <= 0.05)),
        within_10=float(np.mean(np.abs(error) <= 0.10)),
        kendall_tau=_finite(kendalltau(predicted, measured).statistic),
        rmspe=float(np.sqrt(np.mean(error**2))),
        bias=float(error.mean()),
        n_fit=n_fit,
        n_test=len(rows),
        repeat_noise=_finite(np.mean([row.repeat_noise for row in rows])),
        coverage_90=coverage,
        median_half_width_90=half_width,
        mape_macs_linear=float(np.abs(held_out.macs_linear / measured - 1).mean()),
        mape_plain_sum=float(np.abs(held_out.plain_sum / measured - 1).mean()),
        held_out=tuple(
            HeldOutNetwork(arch=arch, predicted_us=float(predicted_us), measured_us=row.p50_us)
            for arch, row, predicted_us in zip(archs, rows, predicted, strict=True)
        ),
    )


def _finite(value: float | np.floating[Any]) -> float | None:
    """Return the value, or None instead of NaN."""
    return None if np.isnan(value) else float(value)
