"""Calibration of summed block costs on whole networks, with conformal intervals.

Summed isolated blocks are 10 % off or more, in either direction: each pays its own layout reorders, but none has to
fetch its weights from beyond the cache. How much depends on which stages hold the time, on the number of blocks, their
weights and activations, and the size of the whole. So the ratio of measured latency to the sum is regressed on these:
linear, shrunk as far as the networks' own evidence says (Bayesian ridge regression: MacKay 1992; Tipping 2001), and
with Huber's weights (1964), which bound what a network timed during a burst of foreign load can do.

Ten networks are too few for that. They leave each quantity a price, and the sum a factor, none below zero (Lawson &
Hanson 1974), which most of the time sets most prices to zero.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.errors import TableError
from edgenas.latency.network_features import ADDITIVE

Floats = npt.NDArray[np.float64]
FoldFeatures = Floats | Iterable[Floats]
"""Features of networks, shape (n, features); one such array for each fold where block costs are refitted, too."""
MIN_NETWORKS = 2
PRICED_NETWORKS, SLOPED_NETWORKS = 8, 15
"""Networks from which more than one factor is fitted: prices first, then slopes of any sign.

On int8, two threads and a browser, between 10 and 60 networks, prices were ahead below 15 and slopes from there on.
"""
MAX_FOLDS = 40
HUBER_SIGMAS = 2.5
HUBER_STEPS = 8
EXACT = 1e-9


@dataclass(frozen=True)
class Calibration:
    """A linear model of the ratio of network latency to the sum of block costs, and its refits without each part.

    Features are, per network: the sum of block costs in microseconds, then 1, then whatever the ratio may depend on.

    Attributes:
        weights: of the features behind the sum, shape (features - 1,).
        fold_weights: those fitted without fold k, shape (folds, features - 1).
        folds: fold of every calibration network, shape (networks,).
        residuals: (measured - predicted) / predicted of every network by the fit that did not see it,
            shape (networks,).
    """

    weights: Floats
    fold_weights: Floats
    folds: npt.NDArray[np.int64]
    residuals: Floats

    def predict(self, features: Floats) -> Floats:
        """Microseconds, (n, features) → (n,)."""
        return np.asarray(features[:, 0] * (features[:, 1:] @ self.weights))

    def interval(self, features: FoldFeatures, coverage: float) -> Floats:
        """Two-sided prediction interval, (n, features) → (n, 2), by CV+ on relative residuals.

        CV+ and, with a fold for each network, jackknife+ (Barber, Candès, Ramdas & Tibshirani 2021, arXiv
        1905.02928): about `coverage` in practice, 2 × coverage - 1 guaranteed.

        Raises:
            TableError: more coverage than the number of networks supports.
        """
        rank = self._rank(coverage)
        refits, width = self._refits(features), np.abs(self.residuals)
        upper = np.partition(refits * (1 + width), rank - 1, axis=1)[:, rank - 1]
        lower = np.partition(refits * (1 - width), len(width) - rank, axis=1)[:, len(width) - rank]
        return np.column_stack([lower, upper])

    def upper(self, features: FoldFeatures, risk: float) -> Floats:
        """One-sided bound that a network exceeds with probability `risk`, (n, features) → (n,).

        Raises:
            TableError: less risk than the number of networks supports.
        """
        rank = self._rank(1 - risk)
        bounds = self._refits(features) * (1 + self.residuals)
        return np.asarray(np.partition(bounds, rank - 1, axis=1)[:, rank - 1])

    def _refits(self, features: FoldFeatures) -> Floats:
        """What the fit that did not see each calibration network predicts, (n, features) → (n, networks)."""
        return _by_fold(features, self.fold_weights)[:, self.folds]

    def _rank(self, coverage: float) -> int:
        count = len(self.residuals)
        if not 0 < coverage < 1:
            raise TableError(f"coverage: wanted a number between 0 and 1, got {coverage}")
        # Rounded first: 0.9 * 10 is 9.000000000000002 in floating point, which would ask for rank 10.
        rank = math.ceil(round(coverage * (count + 1), 9))
        if rank > count:
            raise TableError(
                f"a coverage of {coverage:g} needs more than {count} measured networks; the largest that they "
                f"support is {largest_coverage(count):.3f}: measure more (profile.networks), or ask for less"
            )
        return rank

    def to_json(self) -> dict[str, Any]:
        """Plain lists."""
        return {name: value.tolist() for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], n_features: int) -> Calibration:
        """What `to_json` gave.

        Raises:
            ValueError: numbers of another shape, or none.
        """
        arrays = {name: np.array(value[name], dtype=float) for name in ("weights", "fold_weights", "residuals")}
        found = cls(folds=np.array(value["folds"], dtype=np.int64), **arrays)
        refits, networks = len(found.fold_weights), len(found.residuals)
        shapes = {"weights": (n_features - 1,), "fold_weights": (refits, n_features - 1), "residuals": (networks,)}
        check_arrays(vars(found), {**shapes, "folds": (networks,)})
        if networks < MIN_NETWORKS or not ((found.folds >= 0) & (found.folds < refits)).all():
            raise ValueError(f"wanted folds of 0 to {refits - 1} for at least {MIN_NETWORKS} networks")
        return found


def check_arrays(arrays: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse arrays of other shapes than `shapes`, and those that hold NaN or infinity.

    Raises:
        ValueError: the array is named.
    """
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name}: wanted shape {shape}, got {arrays[name].shape}")
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name}: wanted finite numbers")


def largest_coverage(count: int) -> float:
    """The largest coverage that `count` networks support, rounded down to three digits."""
    return math.floor(1000 * count / (count + 1)) / 1000


def calibration_folds(latency_us: Floats) -> npt.NDArray[np.int64]:
    """Return the fold of each network, shape (n,); they follow the order of latency, so each has fast and slow ones.

    Raises:
        TableError: there are fewer than two networks.
    """
    count = len(latency_us)
    if count < MIN_NETWORKS:
        raise TableError(f"calibration: wanted at least {MIN_NETWORKS} measured networks, got {count}")
    folds = np.empty(count, dtype=np.int64)
    folds[np.argsort(latency_us, kind="stable")] = np.arange(count) % min(count, MAX_FOLDS)
    return folds


def fit_calibration(features: Floats, latency_us: Floats, fold_features: Sequence[Floats] | None = None) -> Calibration:
    """Fit on whole networks.

    Args:
        features: shape (n, features).
        latency_us: measured, shape (n,).
        fold_features: the same networks' features with what was learned without each of `calibration_folds`, where
            features depend on measured networks.

    Raises:
        TableError: there are fewer than two networks.
    """
    count, folds = len(latency_us), calibration_folds(latency_us)
    each = [features] * (folds.max() + 1) if fold_features is None else fold_features
    # What is judged without a network is what is fitted with it.
    fit = factor if count < PRICED_NETWORKS else prices if count < SLOPED_NETWORKS else slopes
    fold_weights = np.array([fit(own[folds != fold], latency_us[folds != fold]) for fold, own in enumerate(each)])
    unseen = _by_fold(each, fold_weights)[np.arange(count), folds]
    return Calibration(fit(features, latency_us), fold_weights, folds, latency_us / unseen - 1)


def _by_fold(features: FoldFeatures, fold_weights: Floats) -> Floats:
    """Return what each fold's fit predicts, (n, features) and (folds, features - 1) → (n, folds)."""
    each = repeat(features, len(fold_weights)) if isinstance(features, np.ndarray) else features
    predicted = [own[:, 0] * (own[:, 1:] @ weights) for own, weights in zip(each, fold_weights, strict=True)]
    return np.column_stack(predicted)


def factor(features: Floats, latency_us: Floats) -> Floats:
    """One factor for the sum, as weights of the features behind it, (n, features) → (features - 1,)."""
    weights = np.zeros(features.shape[1] - 1)
    weights[0] = np.median(latency_us / features[:, 0])
    return weights


def prices(features: Floats, latency_us: Floats) -> Floats:
    """A factor for the sum, and prices of the additive quantities, none below zero; as `factor` gives them.

    Least squares of relative errors, whatever a network's size.
    """
    from scipy.optimize import nnls

    relative = features[:, :1] * features[:, 1 : 1 + ADDITIVE] / latency_us[:, None]
    # A quantity that no network has is given no price.
    scale = np.maximum(relative.mean(axis=0), EXACT)
    weights = np.zeros(features.shape[1] - 1)
    weights[:ADDITIVE] = nnls(relative / scale, np.ones(len(latency_us)))[0] / scale
    return weights


def slopes(features: Floats, latency_us: Floats) -> Floats:
    """Weights of any sign for all that the ratio to the sum may depend on; as `factor` gives them.

    Residuals of a ratio are relative errors, whatever a network's size.
    """
    ratio = latency_us / features[:, 0]
    weights = np.zeros(features.shape[1] - 1)
    varied = features[:, 2:]
    mean, scale = varied.mean(axis=0), varied.std(axis=0)
    # A feature that never varies has rounding errors for a spread.
    scale = np.where(scale > EXACT * np.maximum(np.abs(mean), 1), scale, np.inf)
    slopes, offset = _robust((varied - mean) / scale, ratio)
    weights[1:] = slopes / scale
    weights[0] = offset - mean @ weights[1:]
    return weights


def _robust(points: Floats, ratio: Floats) -> tuple[Floats, float]:
    """Bayesian ridge regression, repeated with less weight for what departs far."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import BayesianRidge

    trust = np.ones(len(ratio))
    model = BayesianRidge(max_iter=1000, tol=1e-6)
    for _ in range(HUBER_STEPS):
        with warnings.catch_warnings():
            # Shrinkage that still drifts in its last digits decides nothing.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(points, ratio, sample_weight=trust)
        departure = np.abs(ratio - model.predict(points))
        sigma = 1.4826 * float(np.median(departure)) + EXACT
        trust = np.minimum(1.0, HUBER_SIGMAS * sigma / np.maximum(departure, EXACT))
    return np.asarray(model.coef_, dtype=np.float64), float(model.intercept_)


def line_fit(features: Floats, latency_us: Floats) -> Floats:
    """Least squares of relative errors, (n, features) → (features,): the baselines' fit."""
    relative = features / latency_us[:, None]
    return np.asarray(np.linalg.lstsq(relative, np.ones(len(latency_us)), rcond=None)[0])
