"""Latency predictions that were made before the network was measured. Interval coverage is counted over these.

After a refit, predictors were fitted on the networks of earlier fronts, so predictions for those test nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.table import LatencyTable
from edgenas.records.verify import FirstPrediction, PredictedLatency
from edgenas.space.arch import Arch


def first_predictions(
    predictor: LatencyPredictor,
    profiled: LatencyTable,
    before: Sequence[FirstPrediction],
    measured_us: Mapping[Arch, float],
    coverage: float,
) -> tuple[FirstPrediction, ...]:
    """Return those made before, and those of networks that are measured for the first time now.

    Args:
        predictor: fitted on the profile's table and on the networks of `before`.
        profiled: the profile's table.
        before: predictions of networks that were measured in earlier fronts.
        measured_us: median of the networks measured now, in microseconds.
        coverage: nominal coverage of intervals.
    """
    rows = profiled.networks(predictor.space_.structure_id, predictor.space_.num_classes)
    seen = {row.key for row in rows} | {prediction.arch.id for prediction in before}
    new = (
        first_prediction(predictor, arch, coverage, p50_us)
        for arch, p50_us in measured_us.items()
        if arch.id not in seen
    )
    return (*before, *new)


def first_prediction(predictor: LatencyPredictor, arch: Arch, coverage: float, p50_us: float) -> FirstPrediction:
    """Return the prediction for a network that the predictor was not fitted on, beside its measured median."""
    predicted = predicted_latency(predictor, arch, coverage)
    return FirstPrediction(**dict(predicted), arch=arch, p50_us=p50_us)


def predicted_latency(predictor: LatencyPredictor, arch: Arch, coverage: float) -> PredictedLatency:
    """Return the predicted latency of a network; without an interval where the predictor is not calibrated."""
    predicted_us = float(predictor.predict([arch])[0])
    if not predictor.calibrated_:
        return PredictedLatency(predicted_us=predicted_us, interval_us=None, coverage=None)
    low_us, high_us = predictor.interval([arch], coverage)[0].tolist()
    return PredictedLatency(predicted_us=predicted_us, interval_us=(low_us, high_us), coverage=coverage)
