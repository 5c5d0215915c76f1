"""Coverage after a refit is counted over predictions by predictors that had not seen the network."""

from __future__ import annotations

import numpy as np
import pytest

from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.table import LatencyTable
from edgenas.records.latency import NETWORK, Identity, LatencyRow
from edgenas.records.verify import FirstPrediction
from edgenas.space.covering_samples import covering
from edgenas.space.loading import load_space
from edgenas.stages.devices.first_predictions import first_prediction, first_predictions

SPACE = load_space("digits-24")
IDENTITY = Identity("pi", "onnxruntime", "1.31.1", "cpu", "fp32", 1, "all", False, 1)
ARCHS = covering(SPACE, 30, 0)


def table(latencies_us: dict[str, float]) -> LatencyTable:
    rows = (
        LatencyRow(NETWORK, SPACE.structure_id, 10, arch, *6 * (latency_us,), 80, 8, 0.0)
        for arch, latency_us in latencies_us.items()
    )
    return LatencyTable(IDENTITY, {}, tuple(rows))


@pytest.fixture(scope="module")
def latencies_us() -> dict[str, float]:
    noise = np.random.default_rng(0).normal(1, 0.1, len(ARCHS))
    return {
        arch.id: float(20 * len(SPACE.with_classes(10).unroll(arch)) * factor)
        for arch, factor in zip(ARCHS, noise, strict=True)
    }


def test_a_network_keeps_what_was_predicted_before_it_was_measured(latencies_us: dict[str, float]) -> None:
    names = list(latencies_us)
    profiled, first, second = (
        table({name: latencies_us[name] for name in part}) for part in (names[:20], names[18:24], names[22:])
    )
    fitted = LatencyPredictor(SPACE).fit(profiled)
    measured = {SPACE.parse(row.key): row.p50_us for row in first.rows}
    before = first_predictions(fitted, profiled, (), measured, 0.8)
    # Those that the profile had are no test of its predictor.
    assert [one.arch.id for one in before] == names[20:24]
    low, high = fitted.interval([SPACE.parse(names[20])], 0.8)[0]
    predicted_us = float(fitted.predict([SPACE.parse(names[20])])[0])
    assert before[0] == FirstPrediction(
        arch=SPACE.parse(names[20]),
        predicted_us=predicted_us,
        interval_us=(float(low), float(high)),
        coverage=0.8,
        p50_us=latencies_us[names[20]],
    )

    refitted = LatencyPredictor(SPACE).fit(profiled.extended(first.rows))
    again = first_predictions(
        refitted, profiled, before, {SPACE.parse(row.key): row.p50_us for row in second.rows}, 0.8
    )
    assert again[: len(before)] == before
    assert [one.arch.id for one in again[len(before) :]] == names[24:]
    assert again[-1].predicted_us == float(refitted.predict([ARCHS[-1]])[0])


def test_a_refitted_predictor_would_look_better_than_it_is(latencies_us: dict[str, float]) -> None:
    """A predictor's output for networks that it was fitted on is nearer to the measurement than its prediction."""
    names = list(latencies_us)
    profiled, front = (table({name: latencies_us[name] for name in part}) for part in (names[:15], names[15:]))
    measured = {SPACE.parse(row.key): row.p50_us for row in front.rows}
    before = first_predictions(LatencyPredictor(SPACE).fit(profiled), profiled, (), measured, 0.8)
    after = LatencyPredictor(SPACE).fit(profiled.extended(front.rows)).predict(ARCHS[15:])
    took = np.array(list(measured.values()))
    assert [one.arch.id for one in before] == names[15:]
    errors = [np.abs(np.array(predicted) / took - 1).mean() for predicted in ([b.predicted_us for b in before], after)]
    assert errors[1] < errors[0]


def test_without_a_calibration_there_is_no_interval(latencies_us: dict[str, float]) -> None:
    predictor = LatencyPredictor(SPACE).fit(table(latencies_us))
    predictor.calibrated_ = False
    found = first_prediction(predictor, ARCHS[0], 0.8, 5.0)
    assert (found.interval_us, found.coverage, found.p50_us) == (None, None, 5.0)
    assert found.predicted_us > 0
