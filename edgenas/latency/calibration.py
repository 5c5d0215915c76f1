"""Calibration of summed block costs on whole networks, with conformal intervals.

Sums of blocks timed in isolation are off by 10 % or more, in either direction. Each block adds its own layout reorders,
but its weights are already in the cache. The error depends on the stages that most time is spent in, the number of
blocks, their weights and activations, and the size of the network. So the ratio of measured latency to the sum is
regressed on these by Bayesian ridge regression, whose shrinkage follows from the data (MacKay 1992; Tipping 2001).
Huber's weights (1964) bound the influence of a network timed during a burst of foreign load.

Ten networks are too few for that. In this case the sum gets a factor and each quantity a non-negative coefficient
(Lawson & Hanson 1974). Most coefficients are usually zero.
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
"""Features of networks, shape (n, features), or one such array per fold if block costs are refitted too."""
MIN_NETWORKS = 2
NONNEGATIVE_NETWORKS, SIGNED_NETWORKS = 8, 15
"""Smallest numbers of networks for non-negative coefficients, and for coefficients of any sign.

On int8, two threads and a browser, non-negative coefficients had smaller errors below 15 networks, and coefficients of
any sign from 15 to 60 networks.
"""
MAX_FOLDS = 40
HUBER_SIGMAS = 2.5
HUBER_STEPS = 8
EXACT = 1e-9


@dataclass(frozen=True)
class Calibration:
    """Linear model of the ratio of network latency to the sum of block costs, with a refit without each fold.

    The features of a network are the sum of block costs in microseconds, 1, and the features that the ratio depends on.

    Attributes:
        weights: weights of the features after the sum, shape (features - 1,).
        fold_weights: weights fitted without each fold, shape (folds, features - 1).
        folds: fold of every calibration network, shape (networks,).
        residuals: (measured - predicted) / predicted of every network by the fit without it, shape (networks,).
    """

    weights: Floats
    fold_weights: Floats
    folds: npt.NDArray[np.int64]
    residuals: Floats

    def predict(self, features: Floats) -> Floats:
        """Return predicted microseconds, (n, features) → (n,)."""
        return np.asarray(features[:, 0] * (features[:, 1:] @ self.weights))

    def interval(self, features: FoldFeatures, coverage: float) -> Floats:
        """Return the two-sided prediction interval, (n, features) → (n, 2), by CV+ on relative residuals.

        The method is CV+, or jackknife+ with a fold for each network (Barber, Candès, Ramdas & Tibshirani 2021, arXiv
        1905.02928). Its actual coverage is about `coverage`, and guaranteed to be at least 2 × coverage - 1.

        Raises:
            TableError: the networks are too few for this coverage.
        """
        rank = self._rank(coverage)
        refits, width = self._refits(features), np.abs(self.residuals)
        upper = np.partition(refits * (1 + width), rank - 1, axis=1)[:, rank - 1]
        lower = np.partition(refits * (1 - width), len(width) - rank, axis=1)[:, len(width) - rank]
        return np.column_stack([lower, upper])

    def upper(self, features: FoldFeatures, risk: float) -> Floats:
        """Return the one-sided bound that a network exceeds with probability `risk`, (n, features) → (n,).

        Raises:
            TableError: the networks are too few for this risk.
        """
        rank = self._rank(1 - risk)
        bounds = self._refits(features) * (1 + self.residuals)
        return np.asarray(np.partition(bounds, rank - 1, axis=1)[:, rank - 1])

    def _refits(self, features: FoldFeatures) -> Floats:
        """Return the predictions of the fit without each calibration network, (n, features) → (n, networks)."""
        return _by_fold(features, self.fold_weights)[:, self.folds]

    def _rank(self, coverage: float) -> int:
        count = len(self.residuals)
        if not 0 < coverage < 1:
            raise TableError(f"coverage: expected a number between 0 and 1, got {coverage}")
        # Rounded first, because 0.9 * 10 is 9.000000000000002 in floating point, which would give rank 10.
        rank = math.ceil(round(coverage * (count + 1), 9))
        if rank > count:
            raise TableError(
                f"a coverage of {coverage:g} needs more than {count} measured networks; the largest that they "
                f"support is {largest_coverage(count):.3f}: measure more (profile.networks), or lower the coverage"
            )
        return rank

    def to_json(self) -> dict[str, Any]:
        """Return the arrays as lists."""
        return {name: value.tolist() for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], n_features: int) -> Calibration:
        """Read the output of `to_json`.

        Raises:
            ValueError: an array has another shape, or values that are not finite.
        """
        arrays = {name: np.array(value[name], dtype=float) for name in ("weights", "fold_weights", "residuals")}
        calibration = cls(folds=np.array(value["folds"], dtype=np.int64), **arrays)
        refits, networks = len(calibration.fold_weights), len(calibration.residuals)
        shapes = {"weights": (n_features - 1,), "fold_weights": (refits, n_features - 1), "residuals": (networks,)}
        check_arrays(vars(calibration), {**shapes, "folds": (networks,)})
        if networks < MIN_NETWORKS or not ((calibration.folds >= 0) & (calibration.folds < refits)).all():
            raise ValueError(f"expected folds of 0 to {refits - 1} for at least {MIN_NETWORKS} networks")
        return calibration


def check_arrays(arrays: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise an error unless all arrays have the expected shapes and finite values.

    Raises:
        ValueError: an array has another shape, or values that are not finite.
    """
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name}: expected shape {shape}, got {arrays[name].shape}")
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name}: expected finite numbers")


def largest_coverage(count: int) -> float:
    """Return the largest coverage that `count` networks support, rounded down to three digits."""
    return math.floor(1000 * count / (count + 1)) / 1000


def calibration_folds(latency_us: Floats) -> npt.NDArray[np.int64]:
    """Return the fold of each network, shape (n,), stratified by latency.

    Raises:
        TableError: there are fewer than two networks.
    """
    count = len(latency_us)
    if count < MIN_NETWORKS:
        raise TableError(f"calibration: expected at least {MIN_NETWORKS} measured networks, got {count}")
    folds = np.empty(count, dtype=np.int64)
    folds[np.argsort(latency_us, kind="stable")] = np.arange(count) % min(count, MAX_FOLDS)
    return folds


def fit_calibration(features: Floats, latency_us: Floats, fold_features: Sequence[Floats] | None = None) -> Calibration:
    """Fit a calibration to whole networks.

    Args:
        features: features of the networks, shape (n, features).
        latency_us: measured microseconds, shape (n,).
        fold_features: features of the same networks without each of `calibration_folds`, for features that depend on
            measured networks.

    Raises:
        TableError: there are fewer than two networks.
    """
    count, folds = len(latency_us), calibration_folds(latency_us)
    by_fold = [features] * (folds.max() + 1) if fold_features is None else fold_features
    # The same method is used with and without each fold.
    fit = (
        single_factor
        if count < NONNEGATIVE_NETWORKS
        else nonnegative_weights
        if count < SIGNED_NETWORKS
        else signed_weights
    )
    fold_weights = np.array([fit(part[folds != fold], latency_us[folds != fold]) for fold, part in enumerate(by_fold)])
    predicted_us = _by_fold(by_fold, fold_weights)[np.arange(count), folds]
    return Calibration(fit(features, latency_us), fold_weights, folds, latency_us / predicted_us - 1)


def _by_fold(features: FoldFeatures, fold_weights: Floats) -> Floats:
    """Return the predictions of each fold's fit, (n, features) and (folds, features - 1) → (n, folds)."""
    parts = repeat(features, len(fold_weights)) if isinstance(features, np.ndarray) else features
    predicted = [part[:, 0] * (part[:, 1:] @ weights) for part, weights in zip(parts, fold_weights, strict=True)]
    return np.column_stack(predicted)


def single_factor(features: Floats, latency_us: Floats) -> Floats:
    """Return one factor for the sum, as weights of the features after it, (n, features) → (features - 1,)."""
    weights = np.zeros(features.shape[1] - 1)
    weights[0] = np.median(latency_us / features[:, 0])
    return weights


def nonnegative_weights(features: Floats, latency_us: Floats) -> Floats:
    """Return non-negative weights of the sum and the additive quantities, (n, features) → (features - 1,).

    They minimise the squares of relative errors. The weights of other features are 0.
    """
    from scipy.optimize import nnls

    relative = features[:, :1] * features[:, 1 : 1 + ADDITIVE] / latency_us[:, None]
    # A quantity that no network has gets the coefficient 0.
    scale = np.maximum(relative.mean(axis=0), EXACT)
    weights = np.zeros(features.shape[1] - 1)
    weights[:ADDITIVE] = nnls(relative / scale, np.ones(len(latency_us)))[0] / scale
    return weights


def signed_weights(features: Floats, latency_us: Floats) -> Floats:
    """Return weights of any sign of all features after the sum, (n, features) → (features - 1,).

    The ratio is fitted because its residuals are relative errors.
    """
    ratio = latency_us / features[:, 0]
    weights = np.zeros(features.shape[1] - 1)
    varied = features[:, 2:]
    mean, scale = varied.mean(axis=0), varied.std(axis=0)
    # The spread of a constant feature is a rounding error.
    scale = np.where(scale > EXACT * np.maximum(np.abs(mean), 1), scale, np.inf)
    slopes, offset = _robust((varied - mean) / scale, ratio)
    weights[1:] = slopes / scale
    weights[0] = offset - mean @ weights[1:]
    return weights


def _robust(points: Floats, ratio: Floats) -> tuple[Floats, float]:
    """Fit Bayesian ridge regression with Huber weights, and return coefficients and intercept."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import BayesianRidge

    weights = np.ones(len(ratio))
    model = BayesianRidge(max_iter=1000, tol=1e-6)
    for _ in range(HUBER_STEPS):
        with warnings.catch_warnings():
            # Shrinkage that is not fully converged has no effect on the result.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(points, ratio, sample_weight=weights)
        deviation = np.abs(ratio - model.predict(points))
        sigma = 1.4826 * float(np.median(deviation)) + EXACT
        weights = np.minimum(1.0, HUBER_SIGMAS * sigma / np.maximum(deviation, EXACT))
    return np.asarray(model.coef_, dtype=np.float64), float(model.intercept_)


def line_fit(features: Floats, latency_us: Floats) -> Floats:
    """Return the least-squares fit of relative errors for baselines, (n, features) → (features,)."""
    relative = features / latency_us[:, None]
    return np.asarray(np.linalg.lstsq(relative, np.ones(len(latency_us)), rcond=None)[0])
