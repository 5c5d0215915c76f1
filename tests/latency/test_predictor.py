"""The predictor against a synthetic device: a known cost model, so the truth needs no clock."""

import dataclasses
import functools
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from edgenas.errors import TableError
from edgenas.latency.block_cost import BlockCosts
from edgenas.latency.calibration import fit_calibration, largest_coverage, line_fit, nonnegative_weights, signed_weights
from edgenas.latency.network_features import ADDITIVE
from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.predictor_score import score_predictor
from edgenas.latency.table import LatencyTable
from edgenas.profiling.timing_plan import distinct_blocks, make_plan
from edgenas.records.latency import Identity, LatencyRow
from edgenas.space.blocks.inverted_residual import InvertedResidualSpec
from edgenas.space.cost import cost
from edgenas.space.covering_samples import covering
from edgenas.space.loading import load_space

SPACE = load_space(Path(__file__).parent / "small_space.yaml")
CLASSES = 10
IDENTITY = Identity("synthetic", "onnxruntime", "1.0", "cpu", "fp32", 1, "all", False, 1)


@dataclass(frozen=True)
class SyntheticDevice:
    """Charges each block for MACs and moved elements; whole networks pay less than the sum, and are noisy."""

    noise: float = 0.0
    share: float = 0.85
    saved_per_block_us: float = 0.3

    def block_us(self, block) -> float:
        paper = cost([block])
        return 1.5 + paper.macs / 40e3 + block.peak_activation_elements() / 8e3 + 0.1 * getattr(block, "kernel", 1)

    def network_us(self, arch) -> float:
        specs = SPACE.with_classes(CLASSES).unroll(arch)
        return 3 + self.share * sum(map(self.block_us, specs)) - self.saved_per_block_us * len(specs)

    def row(self, kind: str, key: str, us: float, rng: np.random.Generator) -> LatencyRow:
        seen = us * float(np.exp(self.noise * rng.standard_normal()))
        space, classes = (SPACE.structure_id, CLASSES) if kind == "network" else ("", 0)
        return LatencyRow(kind, space, classes, key, seen, seen, seen, 0.1, seen, seen, 100, 20, self.noise)

    def table(self, archs, blocks, seed: int = 0) -> LatencyTable:
        rng = np.random.default_rng(seed)
        rows = [self.row("block", block.key, self.block_us(block), rng) for block in blocks]
        rows += [self.row("network", arch.id, self.network_us(arch), rng) for arch in archs]
        return LatencyTable(IDENTITY, {}, tuple(rows))


BLOCKS = distinct_blocks(SPACE.with_classes(CLASSES))
FITTED = covering(SPACE, 24, 0)
_RNG = np.random.default_rng(7)
UNSEEN = [arch for arch in dict.fromkeys(SPACE.sample(_RNG) for _ in range(200)) if arch not in FITTED]


@functools.cache
def fitted(noise: float = 0.0) -> LatencyPredictor:
    """Return the predictor of a device, fitted on blocks and networks; tests share it and must not change it."""
    return LatencyPredictor(SPACE).fit(SyntheticDevice(noise).table(FITTED, BLOCKS))


def truth(device: SyntheticDevice, archs) -> np.ndarray:
    return np.array([device.network_us(arch) for arch in archs])


def test_a_quiet_device_is_recovered() -> None:
    assert fitted().predict(UNSEEN) == pytest.approx(truth(SyntheticDevice(), UNSEEN), rel=2e-3)


def test_a_noisy_device_is_recovered_better_than_its_noise() -> None:
    assert np.abs(fitted(0.02).predict(UNSEEN) / truth(SyntheticDevice(), UNSEEN) - 1).mean() < 0.015


def test_one_network_timed_in_a_burst_hardly_matters() -> None:
    device = SyntheticDevice(noise=0.01)
    table = device.table(FITTED, BLOCKS)
    spoilt = table.networks(SPACE.structure_id, CLASSES)[5]
    burst = LatencyRow(**{**vars(spoilt), "p50_us": 2 * spoilt.p50_us})
    errors = []
    for rows in (table, table.extended([burst])):
        predicted = LatencyPredictor(SPACE).fit(rows).predict(UNSEEN)
        errors.append(np.abs(predicted / truth(device, UNSEEN) - 1).mean())
    assert errors[1] < errors[0] + 0.01


def test_blocks_alone_give_the_plain_sum_without_intervals() -> None:
    device = SyntheticDevice()
    predictor = LatencyPredictor(SPACE.with_classes(CLASSES)).fit(device.table([], BLOCKS))
    sums = [sum(map(device.block_us, SPACE.with_classes(CLASSES).unroll(arch))) for arch in UNSEEN[:20]]
    assert predictor.predict(UNSEEN[:20]) == pytest.approx(sums)
    assert not predictor.calibrated_
    with pytest.raises(TableError, match="plain sum"):
        predictor.interval(UNSEEN[:1], 0.5)


def test_few_networks_calibrate_a_factor() -> None:
    device = SyntheticDevice(share=0.8, saved_per_block_us=0.0)
    predictor = LatencyPredictor(SPACE).fit(device.table(FITTED[:4], BLOCKS))
    error = predictor.predict(UNSEEN) / truth(device, UNSEEN) - 1
    assert predictor.calibrated_
    assert np.abs(error).mean() < 0.05


def test_unmeasured_blocks_inside_the_range_are_regressed() -> None:
    device = SyntheticDevice(noise=0.01)
    plan = make_plan(SPACE.with_classes(CLASSES), blocks=36, networks=24, seed=0)
    assert len(plan.blocks) == 36
    predicted = LatencyPredictor(SPACE).fit(device.table(plan.networks, plan.blocks)).predict(UNSEEN)
    assert np.abs(predicted / truth(device, UNSEEN) - 1).mean() < 0.04


def test_blocks_whose_channels_fill_no_whole_vector_are_regressed_apart() -> None:
    def stumbling_us(block: InvertedResidualSpec) -> float:
        return SyntheticDevice().block_us(block) * (3 if block.mid_channels % 16 else 1)

    space = load_space({"preset": "ofa-mbv3-w1.0", "resolution": [128, 224]})
    blocks = [
        block for block in distinct_blocks(space.with_classes(CLASSES)) if isinstance(block, InvertedResidualSpec)
    ]
    assert 0.1 < np.mean([block.mid_channels % 16 != 0 for block in blocks]) < 0.9
    chosen = make_plan(space.with_classes(CLASSES), blocks=120, networks=2, seed=0).blocks
    measured = {block.key: stumbling_us(block) for block in chosen if isinstance(block, InvertedResidualSpec)}
    unseen = [block for block in blocks if block.key not in measured]
    error = BlockCosts.fit(measured).estimate_us(unseen) / [stumbling_us(block) for block in unseen] - 1
    assert len(unseen) > 50
    assert np.abs(error).mean() < 0.03


def test_blocks_of_other_options_are_not_regressed() -> None:
    device = SyntheticDevice()
    costs = BlockCosts.fit({block.key: device.block_us(block) for block in BLOCKS[:-1]})
    block = BLOCKS[len(BLOCKS) // 2]
    other = dataclasses.replace(block, padding="same")
    assert list(np.isnan(costs.estimate_us([block, other]))) == [False, True]


def test_blocks_outside_the_range_are_named_with_the_command() -> None:
    device = SyntheticDevice()
    largest = SPACE.with_classes(CLASSES).unroll(SPACE.largest)[-2]
    mid = max(block.mid_channels for block in BLOCKS if block.kind == "ir")
    smaller = [block for block in BLOCKS if getattr(block, "mid_channels", 0) < mid]
    predictor = LatencyPredictor(SPACE.with_classes(CLASSES)).fit(device.table([], smaller))
    with pytest.raises(TableError, match="edgenas profile") as caught:
        predictor.predict([SPACE.largest])
    assert largest.key in str(caught.value)


def test_a_kind_with_too_few_blocks_is_not_regressed() -> None:
    device = SyntheticDevice()
    stems = [block for block in BLOCKS if block.kind == "stem"]
    predictor = LatencyPredictor(SPACE.with_classes(CLASSES)).fit(
        device.table([], [b for b in BLOCKS if b != stems[0]])
    )
    with pytest.raises(TableError, match=stems[0].key):
        predictor.predict([SPACE.smallest, SPACE.largest])


def synthetic_networks(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of networks, and latencies with 3 % noise around a law linear in them."""
    total, blocks = rng.uniform(50, 200, count), rng.integers(5, 9, count)
    features = np.column_stack([total, np.ones(count), 1 / total, blocks / total, rng.random(count)])
    return features, (4 + 0.9 * total) * np.exp(0.03 * rng.standard_normal(count))


@pytest.mark.parametrize("n_fit", [24, 60])
def test_coverage_over_many_seeds_is_near_nominal(n_fit: int) -> None:
    rng = np.random.default_rng(3)
    inside, over = [], []
    for _ in range(10):
        features, seen = synthetic_networks(rng, n_fit + 60)
        calibration = fit_calibration(features[:n_fit], seen[:n_fit])
        bounds = calibration.interval(features[n_fit:], 0.8)
        inside.append(np.mean((bounds[:, 0] <= seen[n_fit:]) & (seen[n_fit:] <= bounds[:, 1])))
        over.append(np.mean(seen[n_fit:] > calibration.upper(features[n_fit:], 0.2)))
    assert np.mean(inside) == pytest.approx(0.8, abs=0.05)
    assert np.mean(over) == pytest.approx(0.2, abs=0.05)


def test_wider_coverage_holds_the_narrower_interval_and_the_prediction() -> None:
    predictor = fitted(0.02)
    narrow, wide = predictor.interval(UNSEEN, 0.5), predictor.interval(UNSEEN, 0.95)
    predicted = predictor.predict(UNSEEN)
    assert (wide[:, 0] <= narrow[:, 0]).all()
    assert (narrow[:, 1] <= wide[:, 1]).all()
    assert ((wide[:, 0] < predicted) & (predicted < wide[:, 1])).all()


def test_more_coverage_than_the_networks_support_is_refused() -> None:
    predictor = fitted(0.01)
    assert predictor.interval(UNSEEN[:2], largest_coverage(24)).shape == (2, 2)
    with pytest.raises(TableError, match=r"more than 24 measured networks.*0\.960"):
        predictor.interval(UNSEEN[:1], 0.97)
    with pytest.raises(TableError, match="more than 24"):
        predictor.upper(UNSEEN[:1], 0.01)
    with pytest.raises(TableError, match="between 0 and 1"):
        predictor.interval(UNSEEN[:1], 1.0)


def law(features: np.ndarray) -> np.ndarray:
    return features[:, 0] * (0.9 + 5 * features[:, 2] - 0.4 * features[:, 3] + 0.05 * features[:, 4])


def test_with_many_networks_the_ratio_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    features, _ = synthetic_networks(rng, 200)
    seen = law(features) * (1 + 0.01 * rng.uniform(-1, 1, 200))
    least = np.linalg.lstsq(features[:, 1:], seen / features[:, 0], rcond=None)[0]
    assert features[:, 1:] @ signed_weights(features, seen) == pytest.approx(features[:, 1:] @ least, rel=3e-3)


def charged_networks(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Networks of the space, and what they take where the sum has a factor, and MACs and gates a coefficient."""
    features = fitted().features(UNSEEN[:count])
    true = np.zeros(features.shape[1] - 1)
    true[[0, 3, 6]] = 1.4, 30.0, 2.0
    return features, features[:, 0] * (features[:, 1:] @ true)


def test_ten_networks_give_nonnegative_coefficients() -> None:
    features, seen = charged_networks(40)
    rng = np.random.default_rng(0)
    noisy = seen * (1 + 0.02 * rng.standard_normal(len(seen)))
    errors: dict[str, list[float]] = {"nonnegative": [], "signed": []}
    for start in (0, 10, 20):
        own, other = slice(start, start + 10), slice(30, 40)
        for name, fit in (("nonnegative", nonnegative_weights), ("signed", signed_weights)):
            weights = fit(features[own], noisy[own])
            missed = features[other, 0] * (features[other, 1:] @ weights) / seen[other] - 1
            errors[name].append(float(np.abs(missed).mean()))
        assert (nonnegative_weights(features[own], noisy[own]) >= 0).all()
    assert np.mean(errors["nonnegative"]) < min(0.03, np.mean(errors["signed"]))


def test_coefficients_without_noise_are_the_true_ones() -> None:
    features, seen = charged_networks(40)
    assert features[:, 0] * (features[:, 1:] @ nonnegative_weights(features, seen)) == pytest.approx(seen, rel=1e-6)


@pytest.mark.parametrize(("count", "varied"), [(7, 1), (8, ADDITIVE), (14, ADDITIVE), (15, None)])
def test_what_is_fitted_grows_with_the_number_of_networks(count: int, varied: int | None) -> None:
    features, seen = charged_networks(count)
    found = fit_calibration(features, seen * (1 + 0.01 * np.random.default_rng(0).standard_normal(count)))
    # The same for the whole and for every fold.
    for weights in (found.weights, *found.fold_weights):
        assert (weights[varied:] == 0).all() if varied else (weights[ADDITIVE:] != 0).any()


def test_a_feature_that_never_varies_counts_for_nothing() -> None:
    rng = np.random.default_rng(0)
    features, _ = synthetic_networks(rng, 40)
    seen = law(features)
    constant = np.column_stack([features, np.full(40, 0.1 + 0.2)])
    weights = signed_weights(constant, seen)
    assert weights[-1] == 0
    assert features[:, 0] * (features[:, 1:] @ weights[:-1]) == pytest.approx(seen, rel=1e-3)


def test_a_line_through_one_column_is_least_squares_of_relative_errors() -> None:
    macs, seen = np.array([[1.0], [2.0], [4.0]]), np.array([10.0, 22.0, 36.0])
    steep = np.linspace(5, 15, 20_001)
    errors = [((macs[:, 0] * slope / seen - 1) ** 2).sum() for slope in steep]
    assert line_fit(macs, seen)[0] == pytest.approx(steep[int(np.argmin(errors))], abs=1e-3)


def test_genes_and_archs_are_predicted_alike() -> None:
    predictor = fitted(0.01)
    genes = SPACE.encode(UNSEEN)
    assert (predictor.predict(genes) == predictor.predict(UNSEEN)).all()
    assert (predictor.upper(genes, 0.1) == predictor.upper(UNSEEN, 0.1)).all()
    assert (predictor.interval(genes, 0.8) == predictor.interval(UNSEEN, 0.8)).all()


@dataclass(frozen=True)
class OtherDevice(SyntheticDevice):
    """Another machine: MACs cost a third, moving costs double, and so does every call."""

    def block_us(self, block) -> float:
        paper = cost([block])
        return 3.0 + paper.macs / 120e3 + block.peak_activation_elements() / 4e3 + 0.1 * getattr(block, "kernel", 1)


def test_ten_networks_carry_a_predictor_over_to_another_device() -> None:
    rich, other = SyntheticDevice(noise=0.01), OtherDevice(noise=0.01)
    base = LatencyPredictor(SPACE).fit(rich.table(FITTED, BLOCKS))
    few = other.table(covering(SPACE, 10, 1), [])
    carried = LatencyPredictor(SPACE).fit(few, base)
    alone = LatencyPredictor(SPACE).fit(few)
    wanted = truth(other, UNSEEN)
    errors = [np.abs(p.predict(UNSEEN) / wanted - 1).mean() for p in (carried, alone, base)]
    assert errors[0] < 0.05
    assert errors[0] < errors[2] / 3
    assert carried.calibrated_
    assert carried.interval(UNSEEN, 0.8).shape == (len(UNSEEN), 2)


def test_a_table_of_whole_networks_alone_is_enough() -> None:
    device = SyntheticDevice(noise=0.01)
    archs = covering(SPACE, 80, 0)
    predictor = LatencyPredictor(SPACE).fit(device.table(archs, []))
    unseen = [arch for arch in UNSEEN if arch not in archs]
    assert np.abs(predictor.predict(unseen) / truth(device, unseen) - 1).mean() < 0.03
    with pytest.raises(TableError, match="has no blocks and only 1 networks"):
        LatencyPredictor(SPACE).fit(device.table(archs[:1], []))


@pytest.mark.slow
def test_the_score_of_networks_alone_is_that_of_fresh_networks() -> None:
    """Block costs that saw a fold's networks would score 12 % too well, and hold 74 % of fresh networks, not 80 %."""
    device, scored, fresh, inside = SyntheticDevice(noise=0.03), [], [], []
    for seed in range(8):
        archs = covering(SPACE, 20, seed)
        table = device.table(archs, [], seed)
        predictor = LatencyPredictor(SPACE).fit(table)
        unseen = [arch for arch in UNSEEN if arch not in archs]
        seen = truth(device, unseen) * np.exp(0.03 * np.random.default_rng(99 + seed).standard_normal(len(unseen)))
        low, high = predictor.interval(unseen, 0.8).T
        scored.append(score_predictor(SPACE, table, seed=seed).mape)
        fresh.append(np.abs(predictor.predict(unseen) / seen - 1).mean())
        inside.append(np.mean((low <= seen) & (seen <= high)))
    assert np.mean(scored) > 0.95 * np.mean(fresh)
    assert np.mean(inside) > 0.77


def test_networks_alone_are_scored_by_fits_that_never_saw_them() -> None:
    archs = FITTED[:20]
    table = SyntheticDevice(noise=0.03).table(archs, [])
    by_arch = {network.arch: network.predicted_us for network in score_predictor(SPACE, table, folds=2).held_out}
    fold = np.random.default_rng(0).permutation(len(archs)) % 2
    for number in range(2):
        seen = [row for row, held in zip(table.rows, fold == number, strict=True) if not held]
        unseen = [arch for arch, held in zip(archs, fold == number, strict=True) if held]
        alone = LatencyPredictor(SPACE).fit(dataclasses.replace(table, rows=tuple(seen)))
        assert [by_arch[arch] for arch in unseen] == pytest.approx(alone.predict(unseen), rel=1e-6)


def test_a_fold_of_networks_alone_has_no_part_in_its_own_prediction() -> None:
    archs, p50_us = FITTED[:20], truth(SyntheticDevice(), FITTED[:20])
    table = SyntheticDevice().table(archs, [])
    predictor = LatencyPredictor(SPACE).fit(table)
    assert predictor.calibration_ is not None
    out = predictor.calibration_.folds == 3
    alone = LatencyPredictor(SPACE).fit(
        SyntheticDevice().table([arch for arch, held in zip(archs, out, strict=True) if not held], [])
    )
    features = list(predictor._fold_features(archs))[3]
    assert features == pytest.approx(alone.features(archs), rel=1e-9)
    assert alone.calibration_ is not None
    assert predictor.calibration_.fold_weights[3] == pytest.approx(alone.calibration_.weights, rel=1e-6)
    residuals = p50_us / alone.predict(archs) - 1
    assert predictor.calibration_.residuals[out] == pytest.approx(residuals[out], abs=1e-6)


def test_a_refit_on_the_same_networks_is_the_fit() -> None:
    device, p50_us = SyntheticDevice(), truth(SyntheticDevice(), FITTED)
    base = LatencyPredictor(SPACE).fit(OtherDevice().table(FITTED, BLOCKS))
    for blocks, start in ((BLOCKS, None), ([], None), ([], base)):
        fitted = LatencyPredictor(SPACE).fit(device.table(FITTED, blocks), start)
        refit = fitted.refit(FITTED, p50_us)
        assert refit.identity_ == IDENTITY
        assert refit.predict(UNSEEN) == pytest.approx(fitted.predict(UNSEEN), rel=1e-9)
        assert refit.interval(UNSEEN, 0.8) == pytest.approx(fitted.interval(UNSEEN, 0.8), rel=1e-9)


def test_a_base_of_another_space_is_refused() -> None:
    device = SyntheticDevice()
    base = LatencyPredictor(SPACE).fit(device.table(FITTED, BLOCKS))
    base.space_ = SPACE.with_classes(7)
    with pytest.raises(TableError, match=r"with 7 classes, expected small@\w+ with 10"):
        LatencyPredictor(SPACE).fit(device.table(FITTED, []), base)


@pytest.mark.parametrize("kind", ["carried", "networks alone", "blocks alone"])
def test_every_kind_of_predictor_survives_its_json(kind: str, tmp_path: Path) -> None:
    device = SyntheticDevice(0.01)
    base = fitted(0.01)
    predictor = {
        "carried": lambda: LatencyPredictor(SPACE).fit(device.table(FITTED[:10], []), base),
        "networks alone": lambda: LatencyPredictor(SPACE).fit(device.table(FITTED, [])),
        "blocks alone": lambda: LatencyPredictor(SPACE.with_classes(CLASSES)).fit(device.table([], BLOCKS)),
    }[kind]()
    predictor.save(tmp_path / "predictor.json")
    loaded = LatencyPredictor.load(tmp_path / "predictor.json", SPACE)
    assert loaded.calibrated_ == predictor.calibrated_
    assert loaded.predict(UNSEEN) == pytest.approx(predictor.predict(UNSEEN), rel=1e-12)
    if predictor.calibrated_:
        assert loaded.interval(UNSEEN, 0.8) == pytest.approx(predictor.interval(UNSEEN, 0.8), rel=1e-12)


def test_coefficients_of_other_folds_than_the_calibrations_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "predictor.json"
    LatencyPredictor(SPACE).fit(SyntheticDevice().table(FITTED, [])).save(path)
    saved = json.loads(path.read_text())
    del saved["blocks"]["fold_coefficients_us"][0]
    path.write_text(json.dumps(saved))
    with pytest.raises(TableError, match="coefficients of 24 folds, got 23"):
        LatencyPredictor.load(path, SPACE)


def test_a_predictor_survives_its_json(tmp_path) -> None:
    predictor = LatencyPredictor(SPACE).fit(
        SyntheticDevice(0.01).table(
            FITTED, make_plan(SPACE.with_classes(CLASSES), blocks=36, networks=1, seed=0).blocks
        )
    )
    path = tmp_path / "predictor.json"
    predictor.save(path)
    loaded = LatencyPredictor.load(path, SPACE)
    assert loaded.predict(UNSEEN) == pytest.approx(predictor.predict(UNSEEN), rel=1e-12)
    assert loaded.identity_ == predictor.identity_ == IDENTITY
    assert loaded.interval(UNSEEN, 0.9) == pytest.approx(predictor.interval(UNSEEN, 0.9), rel=1e-12)


def test_a_wrong_json_is_refused(tmp_path) -> None:
    path = tmp_path / "predictor.json"
    fitted().save(path)
    with pytest.raises(TableError, match="fitted for space 'small@"):
        LatencyPredictor.load(path, load_space("mobile-32"))
    broken = json.loads(path.read_text(encoding="utf-8"))
    del broken["calibration"]["weights"]
    path.write_text(json.dumps(broken), encoding="utf-8")
    with pytest.raises(TableError, match="not a saved latency predictor"):
        LatencyPredictor.load(path, SPACE)


def test_the_number_of_classes_must_be_clear() -> None:
    table = SyntheticDevice().table(FITTED, BLOCKS)
    with pytest.raises(TableError, match="no network of this space"):
        LatencyPredictor(load_space("mobile-32")).fit(table)
    other = LatencyRow(**{**vars(table.rows[-1]), "num_classes": 12})
    with pytest.raises(TableError, match="networks of 10, 12 classes"):
        LatencyPredictor(SPACE).fit(table.extended([other]))


def test_the_score_is_of_unseen_networks_and_beats_its_baselines() -> None:
    device = SyntheticDevice(noise=0.01)
    table = device.table(covering(SPACE, 40, 0), BLOCKS)
    score = score_predictor(SPACE, table)
    assert (score.n_fit, score.n_test, len(score.held_out)) == (32, 40, 40)
    assert 0.003 < score.mape < 0.015
    assert score.mape < min(score.mape_macs_linear, score.mape_plain_sum)
    assert score.kendall_tau > 0.9
    assert score.within_10 == 1.0
    assert score.coverage_90 == pytest.approx(0.9, abs=0.12)
    assert score.repeat_noise == pytest.approx(0.01)
    measured = {row.key: row.p50_us for row in table.networks(SPACE.structure_id, CLASSES)}
    assert {network.arch.id: network.measured_us for network in score.held_out} == measured
    assert json.loads(json.dumps(score.to_json(), allow_nan=False))["mape"] == score.mape


def test_a_score_without_enough_networks_has_no_coverage_or_is_refused() -> None:
    device = SyntheticDevice(noise=0.02)
    small = score_predictor(SPACE, device.table(FITTED[:10], BLOCKS))
    assert small.coverage_90 is None
    assert small.median_half_width_90 is None
    with pytest.raises(TableError, match="needs 10 measured networks, got 9"):
        score_predictor(SPACE, device.table(FITTED[:9], BLOCKS))


def test_thousands_of_archs_take_no_time() -> None:
    predictor = fitted()
    rng = np.random.default_rng(0)
    archs = [SPACE.sample(rng) for _ in range(2000)]
    start = time.process_time()
    predictor.predict(archs)
    assert time.process_time() - start < 1.0


def test_predictions_are_the_same_to_the_bit_with_any_number_of_blas_threads():
    table = SyntheticDevice(noise=0.02).table(
        FITTED, make_plan(SPACE.with_classes(CLASSES), blocks=36, networks=2, seed=0).blocks
    )
    found = []
    for number in (1, 4):
        with threadpool_limits(number, user_api="blas"):
            predictor = LatencyPredictor(SPACE).fit(table)
            found.append(
                [predictor.predict(UNSEEN), predictor.upper(UNSEEN, 0.2), score_predictor(SPACE, table, folds=2)]
            )
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    assert found[0][2] == found[1][2]
