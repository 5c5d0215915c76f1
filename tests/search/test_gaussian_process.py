"""Surrogates: what they learn, how well they know it, and how they read genes."""

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor

from edgenas.errors import UserError
from edgenas.search.gaussian_process import Encoding, Surrogate, _kernel, _left_out, quality_of
from edgenas.space.loading import load_space
from edgenas.space.ofa_settings import arch_from_ofa

N_CHOICES = np.array([3, 1, 4, 2, 3, 3])


def drawn(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, N_CHOICES, size=(rows, len(N_CHOICES)))


def gated(genes: np.ndarray) -> np.ndarray:
    """The last two genes have a say only where the first is not 0."""
    genes = genes.copy()
    genes[genes[:, 0] == 0, 4:] = 0
    return genes


def test_a_smooth_function_is_fitted_from_few_rows() -> None:
    def function(genes: np.ndarray) -> np.ndarray:
        return 70 + np.sqrt(genes[:, 2]) + 0.5 * genes[:, 0] * genes[:, 3] - 0.2 * genes[:, 4]

    surrogate = Surrogate(N_CHOICES).fit(drawn(40), function(drawn(40)))
    others = drawn(300, seed=1)
    quality = quality_of(*surrogate.predict(others), function(others))
    assert quality.kendall_tau > 0.95
    assert quality.rmse < 0.1 * function(others).std()
    np.testing.assert_allclose(surrogate.expect(others), surrogate.predict(others)[0])


def test_choices_without_order_are_fitted_too() -> None:
    worth = np.random.default_rng(3).normal(size=(len(N_CHOICES), 4))

    def function(genes: np.ndarray) -> np.ndarray:
        return np.asarray(worth[np.arange(len(N_CHOICES)), genes].sum(axis=1))

    surrogate = Surrogate(N_CHOICES).fit(drawn(50), function(drawn(50)))
    others = drawn(300, seed=1)
    assert surrogate.kind_ == "one-hot"
    assert quality_of(*surrogate.predict(others), function(others)).kendall_tau > 0.95


def test_intervals_hold_what_they_promise_under_noise() -> None:
    rng = np.random.default_rng(0)
    genes, others = drawn(150), drawn(400, seed=1)
    values, true = (rows.sum(axis=1) + rng.normal(0, 0.5, len(rows)) for rows in (genes, others))
    surrogate = Surrogate(N_CHOICES).fit(genes, values)
    assert 0.8 < surrogate.quality_.coverage_90 <= 1
    assert 0.8 < quality_of(*surrogate.predict(others), true).coverage_90 < 0.97


def test_left_out_predictions_are_those_of_a_process_fitted_without_the_row() -> None:
    genes = drawn(25)
    values = genes.sum(axis=1) + np.random.default_rng(0).normal(size=25)
    # On normalised values both processes must see the same ones, so these are normalised beforehand.
    values = (values - values.mean()) / values.std()
    features = Encoding("ordinal", N_CHOICES)(genes)
    process = GaussianProcessRegressor(_kernel(None), optimizer=None, normalize_y=True).fit(features, values)
    means, deviations = _left_out(process, values)
    for row in range(25):
        rest = np.delete(np.arange(25), row)
        without = GaussianProcessRegressor(_kernel(None), optimizer=None).fit(features[rest], values[rest])
        mean, deviation = without.predict(features[[row]], return_std=True)
        assert means[row] == pytest.approx(mean[0])
        assert deviations[row] == pytest.approx(deviation[0])


def test_a_fit_like_another_keeps_its_kind_and_sees_the_new_rows() -> None:
    first = Surrogate(N_CHOICES).fit(drawn(30), drawn(30).sum(axis=1))
    second = Surrogate(N_CHOICES).fit(drawn(60), -drawn(60).sum(axis=1), first)
    assert second.kind_ == first.kind_
    np.testing.assert_allclose(second.expect(drawn(60)), -drawn(60).sum(axis=1), atol=1e-3)


def test_an_inactive_gene_is_reported_from_its_smallest_choice() -> None:
    genes = np.array([[0, 0, 3, 1, 0, 0], [2, 0, 0, 0, 0, 2]])
    ordinal = Encoding("ordinal", N_CHOICES, gated)(genes)
    np.testing.assert_allclose(ordinal, [[0, 1, 1, -1, -1], [1, 0, 0, 0, 1]])
    without = Encoding("ordinal", N_CHOICES)(genes)
    np.testing.assert_allclose(without, [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]])
    one_hot = Encoding("one-hot", N_CHOICES, gated)
    same, other = one_hot(np.array([[0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]]))
    # The first gene differs, and with it whether the last two exist: three differences, each of distance 1.
    assert np.sum((same - other) ** 2) == pytest.approx(3)


def test_inactive_genes_are_those_of_blocks_that_are_not_there() -> None:
    space = load_space({"preset": "ofa-mbv3-w1.0", "resolution": [224]})
    free = space.n_choices > 1
    genes = space.encode([space.smallest, space.largest])
    smallest, largest = Encoding("ordinal", space.n_choices, space.canonical)(genes)
    # Two of four blocks in each of five stages are missing: 20 kernels and expand ratios.
    assert (smallest == -1).sum() == 20
    assert (largest == 1).all()
    assert len(smallest) == free.sum()


@pytest.mark.parametrize("values", [np.zeros(10), np.full(10, 1e6)])
def test_a_constant_is_a_constant(values: np.ndarray) -> None:
    surrogate = Surrogate(N_CHOICES).fit(drawn(10), values)
    np.testing.assert_allclose(surrogate.expect(drawn(20, seed=1)), values[0], atol=1e-6)
    assert surrogate.quality_.kendall_tau == 0


def test_a_space_of_one_arch_can_be_fitted() -> None:
    surrogate = Surrogate([1, 1]).fit(np.zeros((3, 2), dtype=np.int64), np.array([1.0, 2.0, 3.0]))
    assert surrogate.expect(np.zeros((1, 2), dtype=np.int64))[0] == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize(
    ("rows", "values"), [(2, [1.0, 2.0]), (4, [1.0, 2.0, 3.0]), (3, [1.0, np.nan, 2.0]), (3, [1.0, np.inf, 2.0])]
)
def test_rows_that_cannot_be_fitted_are_refused(rows: int, values: list[float]) -> None:
    with pytest.raises(UserError, match="finite value for each row"):
        Surrogate(N_CHOICES).fit(drawn(rows), np.array(values))


@pytest.mark.slow
def test_imagenet_top1_from_200_measured_subnets(shared_data: Path) -> None:
    space = load_space({"preset": "ofa-mbv3-w1.0", "resolution": [224]})
    with open(shared_data / "ofa" / "imagenet_top1_w1.0.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    lists = [{key: [int(v) for v in row[key].split("-")] for key in ("ks", "e", "d", "r")} for row in rows]
    genes, first = np.unique(space.encode([arch_from_ofa(space, one) for one in lists]), axis=0, return_index=True)
    top1 = np.array([float(row["top1_mean"]) for row in rows])[first]
    order = np.random.default_rng(0).permutation(len(genes))
    few, others = order[:200], order[200:]
    surrogate = Surrogate(space.n_choices, space.canonical).fit(genes[few], top1[few])
    quality = quality_of(*surrogate.predict(genes[others]), top1[others])
    assert quality.kendall_tau >= 0.92
    assert quality.rmse <= 0.16
