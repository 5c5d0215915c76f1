"""Calibration of summed block costs on whole networks, with conformal intervals.

Summed isolated blocks come out 10 % off or more: each pays its own layout reorders, but none has to fetch its
weights from beyond the cache. How much depends on how many there are, how much they compute and how heavy they
are; a small linear model takes that out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.errors import TableError

Floats = npt.NDArray[np.float64]
MIN_NETWORKS = 2
N_FEATURES = 5
"""Sum of block costs, 1, number of blocks, MACs, weights."""
FULL_MODEL_NETWORKS = 8
"""Networks from which constant, block count, MACs and weights are fitted beside the sum."""
MAX_FOLDS = 40
RANK_TOLERANCE = 1e-6
EXACT = 1e-9


@dataclass(frozen=True)
class Calibration:
    """A linear model of network latency, and its refits without each part of the networks.

    Attributes:
        weights: shape (features,), features being sum of block costs, 1, number of blocks, MACs, weights.
        fold_weights: weights fitted without fold k, shape (folds, features).
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
        return features @ self.weights

    def interval(self, features: Floats, coverage: float) -> Floats:
        """Two-sided prediction interval, (n, features) → (n, 2), by CV+ on relative residuals.

        CV+ and, with a fold for each network, jackknife+ (Barber, Candès, Ramdas & Tibshirani 2021, arXiv
        1905.02928): about `coverage` in practice, 2 × coverage - 1 guaranteed.

        Raises:
            TableError: more coverage than the number of networks supports.
        """
        rank = self._rank(coverage)
        refits = (features @ self.fold_weights.T)[:, self.folds]
        width = np.abs(self.residuals)
        upper = np.sort(refits * (1 + width), axis=1)[:, rank - 1]
        lower = np.sort(refits * (1 - width), axis=1)[:, len(width) - rank]
        return np.column_stack([lower, upper])

    def upper(self, features: Floats, risk: float) -> Floats:
        """One-sided bound that a network exceeds with probability `risk`, (n, features) → (n,).

        Raises:
            TableError: less risk than the number of networks supports.
        """
        rank = self._rank(1 - risk)
        refits = (features @ self.fold_weights.T)[:, self.folds]
        return np.asarray(np.sort(refits * (1 + self.residuals), axis=1)[:, rank - 1])

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
    def from_json(cls, value: Mapping[str, Any]) -> Calibration:
        """What `to_json` gave.

        Raises:
            ValueError: numbers of another shape, or none.
        """
        arrays = {name: np.array(value[name], dtype=float) for name in ("weights", "fold_weights", "residuals")}
        found = cls(folds=np.array(value["folds"], dtype=np.int64), **arrays)
        refits, networks = len(found.fold_weights), len(found.residuals)
        shapes = {"weights": (N_FEATURES,), "fold_weights": (refits, N_FEATURES), "residuals": (networks,)}
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


def fit_calibration(features: Floats, latency_us: Floats) -> Calibration:
    """Fit on whole networks; features (n, 5), latency_us (n,).

    Raises:
        TableError: fewer than two networks.
    """
    count = len(latency_us)
    if count < MIN_NETWORKS:
        raise TableError(f"calibration: wanted at least {MIN_NETWORKS} measured networks, got {count}")
    # Folds follow the order of latency, so that every fold holds fast and slow networks.
    folds = np.empty(count, dtype=np.int64)
    folds[np.argsort(latency_us, kind="stable")] = np.arange(count) % min(count, MAX_FOLDS)
    fold_weights = np.array(
        [linear_fit(features[folds != fold], latency_us[folds != fold]) for fold in range(folds.max() + 1)]
    )
    unseen = np.einsum("nf,nf->n", features, fold_weights[folds])
    return Calibration(linear_fit(features, latency_us), fold_weights, folds, latency_us / unseen - 1)


def linear_fit(features: Floats, latency_us: Floats) -> Floats:
    """Weights of the features, (n, features) → (features,), least in Huber's loss of relative errors.

    Rows are divided by their latency, so that errors count relatively; Huber's loss (1964) bounds what a
    network timed during a burst of foreign load can do. With few networks only the sum's factor is fitted.
    """
    from sklearn.linear_model import HuberRegressor

    if len(latency_us) < FULL_MODEL_NETWORKS - 1:
        weights = np.zeros(features.shape[1])
        weights[0] = np.median(latency_us / features[:, 0])
        return weights
    relative = features / latency_us[:, None]
    norms = np.linalg.norm(relative, axis=0)
    left, size, right = np.linalg.svd(relative / norms, full_matrices=False)
    kept = size > RANK_TOLERANCE * size[0]
    # The solver is slow on correlated columns and small residuals, as these are; so it gets the principal
    # directions, and what least squares leaves of the relative errors in units of their spread.
    root = np.sqrt(len(latency_us))
    directions = left[:, kept] * root
    plain = left[:, kept].sum(axis=0) / root
    rest = 1 - directions @ plain
    spread = max(float(rest.std()), EXACT)
    huber = HuberRegressor(alpha=0.0, fit_intercept=False, max_iter=1000).fit(directions, rest / spread)
    robust = plain + spread * huber.coef_
    return np.asarray(right[kept].T @ (robust * root / size[kept]) / norms)
