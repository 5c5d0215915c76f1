"""Predictions of latency that were made before the network was measured: what interval coverage is counted over.

After a refit, predictors have seen the networks of earlier fronts. What they predict of those is no test of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.table import LatencyTable


@dataclass(frozen=True)
class FirstPrediction:
    """What was predicted of a network on one device before it was measured there, and what it then took.

    Attributes:
        arch: its text.
        predicted_us: median, microseconds.
        interval_us: lower and upper end, microseconds; None where the predictor is not calibrated.
        coverage: that the interval was to have.
        p50_us: first measured, microseconds.
    """

    arch: str
    predicted_us: float
    interval_us: tuple[float, float] | None
    coverage: float | None
    p50_us: float

    @classmethod
    def of(cls, predictor: LatencyPredictor, arch: str, coverage: float, p50_us: float) -> FirstPrediction:
        """Return what a predictor says that has not seen the network."""
        archs = [predictor.space.parse(arch)]
        predicted_us = float(predictor.predict(archs)[0])
        if not predictor.calibrated_:
            return cls(arch, predicted_us, None, None, p50_us)
        low, high = predictor.interval(archs, coverage)[0].tolist()
        return cls(arch, predicted_us, (low, high), coverage, p50_us)


def first_predictions(
    predictor: LatencyPredictor,
    profiled: LatencyTable,
    before: Sequence[FirstPrediction],
    measured_us: Mapping[str, float],
    coverage: float,
) -> tuple[FirstPrediction, ...]:
    """Return those made before, and those of networks that are measured for the first time now.

    Args:
        predictor: fitted on the profile's table and on the networks of `before`.
        profiled: the profile's table.
        before: of networks that were measured in earlier fronts.
        measured_us: p50 of the networks measured now, by arch.
        coverage: of intervals.
    """
    rows = profiled.networks(predictor.space.structure_id, predictor.num_classes_)
    seen = {row.key for row in rows} | {one.arch for one in before}
    new = (
        FirstPrediction.of(predictor, arch, coverage, p50_us)
        for arch, p50_us in measured_us.items()
        if arch not in seen
    )
    return (*before, *new)
