"""Detection of implausible latencies by comparison with the other rows, without measuring again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.blas import one_blas_thread
from edgenas.latency.block_cost import block_features
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.cost import cost

SLOWER = 1.3
FEWER_MACS = 0.9
OFF = 1.5
DEVIATIONS = 6.0
ROWS_PER_TERM = 3
_KERNEL = ("stride", "activation", "expands", "residual")
"""Dimensions and switches that select another kernel, for which a larger block may be faster."""
Floats = npt.NDArray[np.float64]


def slower_than_larger(latency_us: Mapping[BlockSpec, float]) -> list[tuple[BlockSpec, BlockSpec]]:
    """Return blocks that take 1.3 times as long as a block at least as large in every dimension.

    The larger block has at least 1/0.9 times the MACs.

    Returns:
        Pairs (slower, larger) of each such block and the fastest of the larger ones, the worst first.
    """
    groups: dict[tuple[Any, ...], list[BlockSpec]] = {}
    for spec in latency_us:
        # Blocks that differ in more than size run other kernels, which may be slower.
        kernel = (getattr(spec, name, None) for name in _KERNEL)
        present = (getattr(spec, field.name) > 0 for field in spec.dimensions() if field.metadata["optional"])
        groups.setdefault((spec.family, *kernel, *present), []).append(spec)
    pairs = [pair for specs in groups.values() for pair in _slower_in(specs, latency_us)]
    return sorted(pairs, key=lambda pair: latency_us[pair[1]] / latency_us[pair[0]])


def _slower_in(specs: Sequence[BlockSpec], latency_us: Mapping[BlockSpec, float]) -> list[tuple[BlockSpec, BlockSpec]]:
    names = [field.name for field in specs[0].dimensions() if field.name not in _KERNEL]
    sizes = np.array([[getattr(spec, name) for name in names] for spec in specs])
    macs = np.array([cost([spec]).macs for spec in specs])
    latency = np.array([latency_us[spec] for spec in specs])
    pairs = []
    for index, spec in enumerate(specs):
        larger = (sizes >= sizes[index]).all(axis=1) & (FEWER_MACS * macs >= macs[index])
        contradicting = np.flatnonzero(larger & (latency[index] > SLOWER * latency))
        if len(contradicting):
            pairs.append((spec, specs[contradicting[latency[contradicting].argmin()]]))
    return pairs


def block_outliers(latency_us: Mapping[BlockSpec, float]) -> list[tuple[BlockSpec, float]]:
    """Return the `outliers` among the blocks of each family.

    Returns:
        Pairs (block, measured / fitted latency), the largest deviation first.
    """
    block_ratios = []
    for kind in dict.fromkeys(spec.family for spec in latency_us):
        specs = [spec for spec in latency_us if spec.family == kind]
        features = np.array([list(block_features(spec).values()) for spec in specs])
        ratios = outliers(features, np.array([latency_us[spec] for spec in specs]))
        block_ratios += [(specs[row], ratio) for row, ratio in ratios.items()]
    return sorted(block_ratios, key=lambda entry: -abs(np.log(entry[1])))


@one_blas_thread()
def outliers(features: Floats, latency_us: Floats) -> dict[int, float]:
    """Return rows that differ from a smooth fit to the other rows by a factor of 1.5 and by six deviations.

    Log latency is fitted by least squares on the features. Their squares and products are included if there are at
    least three rows for each term. Each row is compared with the prediction of the fit without it. The deviation is
    1.48 times the median absolute error, which is robust against outliers.

    Args:
        features: features of the rows, preferably logarithms, shape (rows, features).
        latency_us: measured microseconds, shape (rows,).

    Returns:
        Measured / fitted latency by row, the largest deviation first.
    """
    error = _left_out_errors(features, np.log(latency_us))
    limit = max(np.log(OFF), DEVIATIONS * 1.4826 * float(np.median(np.abs(error))))
    far = [row for row in np.argsort(-np.abs(error)).tolist() if abs(error[row]) > limit]
    return {row: float(np.exp(error[row])) for row in far}


def _left_out_errors(features: Floats, log_latency: Floats) -> Floats:
    """Return each row's error of the fit to the other rows, shape (rows,), or zeros if the rows are too few."""
    spread = features.std(axis=0)
    features = (features - features.mean(axis=0))[:, spread > 1e-9] / spread[spread > 1e-9]
    first, second = np.triu_indices(features.shape[1])
    linear = np.column_stack([np.ones(len(features)), features])
    for terms in (np.column_stack([linear, features[:, first] * features[:, second]]), linear):
        basis, strengths, _ = np.linalg.svd(terms, full_matrices=False)
        basis = basis[:, strengths > 1e-6 * strengths[0]]
        if len(features) >= ROWS_PER_TERM * basis.shape[1]:
            leverage = np.minimum((basis**2).sum(axis=1), 0.99)
            error: Floats = (log_latency - basis @ (basis.T @ log_latency)) / (1 - leverage)
            return error
    return np.zeros(len(features))
