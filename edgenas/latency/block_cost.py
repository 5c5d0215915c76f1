"""Latencies of single blocks, measured or regressed from measured blocks of the same kind within their range."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.errors import TableError, one_of, shortened
from edgenas.latency.calibration import check_arrays
from edgenas.latency.network_features import paper_values
from edgenas.space.blocks import SPECS, parse_block
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.cost import cost

Floats = npt.NDArray[np.float64]
ACTIVATION_COST = {"relu": 1, "relu6": 1.2, "hardswish": 2, "silu": 3}
MIN_BLOCKS = 6
"""Smallest number of measured blocks that a kind's regression is fitted to."""


def block_features(block: BlockSpec) -> dict[str, float]:
    """Return the logarithms of the costs, dimensions and switches that a block's latency depends on.

    `elements` is the number of elements read and written: activations of all convolutions, and weights.
    """
    computed = cost([block])
    moved = sum(c.out_channels * c.out_size**2 + c.in_channels * block.in_size**2 for c in block.convs())
    # A cell without convolutions has neither.
    raw: dict[str, float] = {"macs": max(computed.macs, 1), "elements": max(moved + computed.weight_bytes / 4, 1)}
    for field in block.dimensions():
        value = getattr(block, field.name)
        # Zero, which stands for an absent part, has no logarithm.
        raw[field.name] = ACTIVATION_COST[value] if field.name == "activation" else value + field.metadata["optional"]
    raw |= {name: getattr(block, name) + 1 for name in block.switches}
    return {name: math.log(value) for name, value in raw.items()}


def n_block_features(kind: str) -> int:
    """Return the number of `block_features` of a kind of block, or of a `BlockSpec.family`.

    Raises:
        ValueError: the kind does not exist.
    """
    kind = kind.split("_")[0]
    if kind not in SPECS:
        raise ValueError(f"block kind {kind!r} is unknown; {one_of(kind, SPECS)}")
    return 2 + len(SPECS[kind].dimensions()) + len(SPECS[kind].switches)


@dataclass(frozen=True)
class KindRegression:
    """Fitted values of a Gaussian process regression of log latency on standardised log features.

    Attributes:
        low: smallest value of every feature among the fitted blocks, shape (features,).
        high: largest value of every feature among the fitted blocks, shape (features,).
        mean: mean of every feature, shape (features,).
        scale: standard deviation of every feature, 1 where it is 0; shape (features,).
        points: standardised features of the fitted blocks, shape (blocks, features).
        theta: log hyperparameters of `_kernel()`.
        weights: dual coefficients, shape (blocks,).
        offset: mean of the log latencies.
        unit: standard deviation of the log latencies.
        deviation: leave-one-out root mean square error of the log latency.
    """

    low: Floats
    high: Floats
    mean: Floats
    scale: Floats
    points: Floats
    theta: Floats
    weights: Floats
    offset: float
    unit: float
    deviation: float

    def covers(self, features: Floats) -> npt.NDArray[np.bool_]:
        """Return which blocks lie inside the fitted range of every feature, (n, features) → (n,)."""
        inside = (features >= self.low - 1e-9) & (features <= self.high + 1e-9)
        return np.asarray(inside.all(axis=1))

    def predict(self, features: Floats) -> Floats:
        """Return predicted microseconds, (n, features) → (n,)."""
        kernel = _kernel().clone_with_theta(self.theta)
        similarity = kernel((features - self.mean) / self.scale, self.points)
        return np.asarray(np.exp(self.offset + self.unit * (similarity @ self.weights)))

    def to_json(self) -> dict[str, Any]:
        """Return the fitted values as lists and numbers."""
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()}

    @classmethod
    def from_json(cls, kind: str, value: Mapping[str, Any]) -> KindRegression:
        """Read the output of `to_json` for a kind of block.

        Raises:
            ValueError: an array has another shape, or values that are not finite.
        """
        arrays: dict[str, Any] = {name: np.array(numbers, dtype=float) for name, numbers in value.items()}
        regression = cls(**arrays)
        n_features, n_blocks = n_block_features(kind), len(regression.points)
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("low", "high", "mean", "scale"), (n_features,))
        shapes |= {"points": (n_blocks, n_features), "weights": (n_blocks,), "theta": _kernel().theta.shape}
        check_arrays(vars(regression), {**shapes, "offset": (), "unit": (), "deviation": ()})
        return regression


def _kernel() -> Any:
    """Return a kernel with a linear trend, smooth deviations from it, and noise."""
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    return ConstantKernel() * RBF(3.0) + ConstantKernel() * DotProduct() + WhiteKernel(1e-3)


def fit_kind(features: Floats, latency_us: Floats) -> KindRegression:
    """Fit the regression of one kind of block.

    Args:
        features: values of `block_features`, shape (n, features), n ≥ `MIN_BLOCKS`.
        latency_us: measured microseconds, shape (n,).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor

    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    logs = np.log(latency_us)
    offset, unit = float(logs.mean()), float(logs.std()) or 1.0
    points, targets = (features - mean) / scale, (logs - offset) / unit
    with warnings.catch_warnings():
        # A hyperparameter at its bound only means that a term is not needed.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process = GaussianProcessRegressor(_kernel(), random_state=0).fit(points, targets)
    inverse = np.linalg.inv(process.kernel_(points) + process.alpha * np.eye(len(points)))
    # Leave-one-out residuals in closed form (Rasmussen & Williams 2006, eq. 5.12).
    residuals = (inverse @ targets) / np.diag(inverse)
    return KindRegression(
        low=features.min(axis=0),
        high=features.max(axis=0),
        mean=mean,
        scale=scale,
        points=points,
        theta=process.kernel_.theta,
        weights=np.ravel(process.alpha_),
        offset=offset,
        unit=unit,
        deviation=float(unit * np.sqrt(np.mean(residuals**2))),
    )


@dataclass(frozen=True)
class BlockCosts:
    """Latencies of blocks in microseconds, measured or from the regression of their kind.

    Attributes:
        measured_us: measured microseconds by `BlockSpec.key`.
        regressions: regression of every kind with at least `MIN_BLOCKS` measured blocks.
    """

    measured_us: Mapping[str, float]
    regressions: Mapping[str, KindRegression]

    @classmethod
    def fit(cls, measured_us: Mapping[str, float]) -> BlockCosts:
        """Fit the regressions to measured blocks, given in microseconds by `BlockSpec.key`."""
        by_kind: dict[str, list[tuple[list[float], float]]] = {}
        for key, latency_us in measured_us.items():
            block = parse_block(key)
            by_kind.setdefault(block.family, []).append((list(block_features(block).values()), latency_us))
        regressions = {
            kind: fit_kind(np.array([f for f, _ in rows]), np.array([t for _, t in rows]))
            for kind, rows in by_kind.items()
            if len(rows) >= MIN_BLOCKS
        }
        return cls(dict(measured_us), regressions)

    def require(self, blocks: Iterable[BlockSpec]) -> dict[BlockSpec, float]:
        """Return the microseconds of each block.

        Raises:
            TableError: some blocks are neither measured nor inside the fitted range.
        """
        unique = list(dict.fromkeys(blocks))
        costs_us = self.estimate_us(unique)
        outside = [block.key for block, cost_us in zip(unique, costs_us, strict=True) if math.isnan(cost_us)]
        if outside:
            raise TableError(
                f"{len(outside)} blocks are neither measured nor inside the measured range: "
                f"{shortened(outside)}; "
                "measure them with `edgenas profile RUN`"
            )
        return dict(zip(unique, costs_us.tolist(), strict=True))

    def estimate_us(self, blocks: Sequence[BlockSpec]) -> Floats:
        """Return the microseconds of each block, NaN if neither measured nor in the fitted range; shape (blocks,)."""
        costs_us = {block: self.measured_us[block.key] for block in blocks if block.key in self.measured_us}
        missing = list(dict.fromkeys(block for block in blocks if block not in costs_us))
        for kind in dict.fromkeys(block.family for block in missing):
            costs_us |= self._regress_us(kind, [block for block in missing if block.family == kind])
        return np.array([costs_us.get(block, math.nan) for block in blocks])

    def _regress_us(self, kind: str, blocks: list[BlockSpec]) -> dict[BlockSpec, float]:
        if kind not in self.regressions:
            return {}
        features = np.array([list(block_features(b).values()) for b in blocks])
        covered = self.regressions[kind].covers(features)
        values = self.regressions[kind].predict(features)
        return {b: float(v) for b, v, ok in zip(blocks, values, covered, strict=True) if ok}


@dataclass(frozen=True)
class PaperCosts:
    """Latencies of blocks for tables with only whole networks, linear in the quantities `PAPER`.

    Attributes:
        coefficients_us: microseconds per unit of each quantity, at least 0.
    """

    coefficients_us: tuple[float, ...]

    @classmethod
    def fit(cls, paper: Floats, latency_us: Floats) -> PaperCosts:
        """Fit the coefficients by non-negative least squares of relative errors.

        Args:
            paper: quantities `PAPER` of whole networks, shape (networks, 7).
            latency_us: measured microseconds, shape (networks,).
        """
        from scipy.optimize import nnls

        coefficients, _ = nnls(paper / latency_us[:, None], np.ones(len(latency_us)))
        return cls(tuple(coefficients.tolist()))

    def estimate_us(self, blocks: Sequence[BlockSpec]) -> Floats:
        """Return the microseconds of each block, shape (blocks,)."""
        return np.asarray(paper_values(blocks) @ np.array(self.coefficients_us))
