"""How well a predictor does on networks it has not seen."""

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
    """Cross-validate: every network of `space` in the table is predicted by a fit on the other folds' ones.

    With `base`, the fits begin from another device's predictor, as in `LatencyPredictor.fit`.

    Raises:
        TableError: fewer than two networks a fold.
    """
    predictor = LatencyPredictor(space).fit(table, base)
    rows = table.networks(predictor.space_.structure_id, predictor.space_.num_classes)
    if len(rows) < 2 * folds:
        raise TableError(f"scoring in {folds} folds wants at least {2 * folds} measured networks, got {len(rows)}")
    archs = [space.parse(row.key) for row in rows]
    macs = np.array([[cost(predictor.space_.unroll(arch)).macs, 1.0] for arch in archs])
    measured = np.array([row.p50_us for row in rows])
    fold = np.random.default_rng(seed).permutation(len(rows)) % folds
    held_out = _held_out(predictor, archs, macs, measured, fold)
    return _score(rows, archs, held_out, len(rows) - int(np.bincount(fold).max()))


@dataclass(frozen=True)
class _HeldOut:
    """What fits on the other folds say of each network, microseconds; `bounds` (n, 2) are NaN where unsupported."""

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
    found = _HeldOut(np.empty(count), np.empty(count), np.empty(count), np.full((count, 2), np.nan))
    for number in range(int(fold.max()) + 1):
        out = fold == number
        own, unseen = list(compress(archs, ~out)), list(compress(archs, out))
        refit = predictor.refit(own, measured[~out])
        found.predicted[out] = refit.predict(unseen)
        found.plain_sum[out] = refit.features(unseen)[:, 0]
        found.macs_linear[out] = macs[out] @ line_fit(macs[~out], measured[~out])
        if largest_coverage(len(own)) >= SCORED_COVERAGE:
            found.bounds[out] = refit.interval(unseen, SCORED_COVERAGE)
    return found


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
        repeat_noise=_mean_stated([row.repeat_noise for row in rows]),
        coverage_90=coverage,
        median_half_width_90=half_width,
        mape_macs_linear=float(np.abs(held_out.macs_linear / measured - 1).mean()),
        mape_plain_sum=float(np.abs(held_out.plain_sum / measured - 1).mean()),
        held_out=tuple(
            HeldOutNetwork(arch=arch, predicted_us=float(expected), measured_us=row.p50_us)
            for arch, row, expected in zip(archs, rows, predicted, strict=True)
        ),
    )


def _mean_stated(values: Sequence[float]) -> float | None:
    return _finite(np.mean(values))


def _finite(value: float | np.floating[Any]) -> float | None:
    return None if np.isnan(value) else float(value)
