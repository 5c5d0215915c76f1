"""Find implausible block latencies by comparing them with the others; nothing is measured again."""

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
_PROGRAM = ("stride", "activation", "expands", "residual")
"""Dimensions and switches that choose between programs, which need not be ordered by size."""
Floats = npt.NDArray[np.float64]


def slower_than_larger(latency_us: Mapping[BlockSpec, float]) -> list[tuple[BlockSpec, BlockSpec]]:
    """Blocks that take 1.3 times as long as one that is as large in every dimension and has 1/0.9 times the MACs.

    Returns:
        (slower, larger) for each such block, beside the fastest larger one, the worst first.
    """
    groups: dict[tuple[Any, ...], list[BlockSpec]] = {}
    for spec in latency_us:
        # Blocks that differ in more than size are other programs, and may well be slower.
        program = (getattr(spec, name, None) for name in _PROGRAM)
        present = (getattr(spec, each.name) > 0 for each in spec.dimensions() if each.metadata["optional"])
        groups.setdefault((spec.family, *program, *present), []).append(spec)
    found = [pair for specs in groups.values() for pair in _slower_in(specs, latency_us)]
    return sorted(found, key=lambda pair: latency_us[pair[1]] / latency_us[pair[0]])


def _slower_in(specs: Sequence[BlockSpec], latency_us: Mapping[BlockSpec, float]) -> list[tuple[BlockSpec, BlockSpec]]:
    names = [each.name for each in specs[0].dimensions() if each.name not in _PROGRAM]
    sizes = np.array([[getattr(spec, name) for name in names] for spec in specs])
    macs = np.array([cost([spec]).macs for spec in specs])
    latency = np.array([latency_us[spec] for spec in specs])
    found = []
    for number, spec in enumerate(specs):
        larger = (sizes >= sizes[number]).all(axis=1) & (FEWER_MACS * macs >= macs[number])
        contradicting = np.flatnonzero(larger & (latency[number] > SLOWER * latency))
        if len(contradicting):
            found.append((spec, specs[contradicting[latency[contradicting].argmin()]]))
    return found


def blocks_unlike_the_rest(latency_us: Mapping[BlockSpec, float]) -> list[tuple[BlockSpec, float]]:
    """Blocks that a smooth fit through all others of their kind misses, see `unlike_the_rest`.

    Returns:
        (block, measured over fitted), the farthest first.
    """
    found = []
    for kind in dict.fromkeys(spec.family for spec in latency_us):
        specs = [spec for spec in latency_us if spec.family == kind]
        features = np.array([list(block_features(spec).values()) for spec in specs])
        ratios = unlike_the_rest(features, np.array([latency_us[spec] for spec in specs]))
        found += [(specs[row], ratio) for row, ratio in ratios.items()]
    return sorted(found, key=lambda entry: -abs(np.log(entry[1])))


@one_blas_thread()
def unlike_the_rest(features: Floats, latency_us: Floats) -> dict[int, float]:
    """Rows that a smooth fit through all others misses by more than half, and by six deviations.

    The fit is least squares of the log latency on the features and, as far as the rows carry these (three a term),
    their squares and products; each row is compared with what the fit without it says. The deviation is 1.48 times
    the median absolute error, which outliers do not move.

    Args:
        features: shape (rows, features), best logarithms.
        latency_us: shape (rows,).

    Returns:
        Measured over fitted, by row, the farthest first.
    """
    error = _left_out_errors(features, np.log(latency_us))
    limit = max(np.log(OFF), DEVIATIONS * 1.4826 * float(np.median(np.abs(error))))
    far = [row for row in np.argsort(-np.abs(error)).tolist() if abs(error[row]) > limit]
    return {row: float(np.exp(error[row])) for row in far}


def _left_out_errors(features: Floats, log_latency: Floats) -> Floats:
    """Error of each row against the fit on the others, shape (rows,); zeros where there are too few rows to fit."""
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
