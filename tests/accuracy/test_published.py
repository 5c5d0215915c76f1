"""Tables of measured top-1, and the surrogate fitted to them."""

from pathlib import Path

import numpy as np
import pytest

from edgenas.accuracy.accuracy_table import AccuracyTable, accuracy_table_names, load_accuracy_table
from edgenas.accuracy.published import TableSurrogate
from edgenas.errors import DataError
from edgenas.search.gaussian_process import quality_of
from edgenas.space.loading import load_space

SPACE = load_space({"preset": "ofa-mbv3-w1.0", "resolution": [224]})
NAME = "ofa-mbv3-w1.0-imagenet"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_table_is_complete() -> None:
    assert accuracy_table_names() == [NAME]
    table = load_accuracy_table(NAME, SPACE)
    assert table.genes.shape == (1474, len(SPACE.n_choices))
    assert table.outside == 0
    assert (table.top1_percent.min(), table.top1_percent.max()) == (70.998, 77.466)


@pytest.mark.slow
def test_the_shipped_table_is_the_published_one(shared_data: Path) -> None:
    published = load_accuracy_table(shared_data / "ofa" / "imagenet_top1_w1.0.csv", SPACE, "top1_mean")
    shipped = load_accuracy_table(NAME, SPACE)
    np.testing.assert_array_equal(published.genes, shipped.genes)
    np.testing.assert_allclose(published.top1_percent, shipped.top1_percent, atol=0.001)


def test_measured_accuracies_predict_those_of_others() -> None:
    table = load_accuracy_table(NAME, SPACE)
    order = np.random.default_rng(0).permutation(len(table.genes))
    measured, others = order[:300], order[300:]
    accuracy = TableSurrogate(SPACE).fit(AccuracyTable(table.genes[measured], table.top1_percent[measured], 0))
    quality = quality_of(*accuracy.predict(table.genes[others]), table.top1_percent[others])
    assert quality.kendall_tau > 0.93
    assert quality.rmse < 0.13
    # Leaving one out estimates this error without the other rows.
    assert accuracy.quality_.rmse == pytest.approx(quality.rmse, rel=0.3)
    archs = SPACE.decode(table.genes[:5])
    np.testing.assert_allclose(accuracy.error(archs), 1 - accuracy.predict(archs)[0] / 100)


def test_repeated_archs_are_averaged_and_others_left_out(tmp_path: Path) -> None:
    small, large = SPACE.smallest, SPACE.largest
    lines = [
        "arch,top1_percent",
        f"{small},70",
        f"{large},77",
        f"{small},71",
        f"{str(small).replace('r224', 'r28')},60",
    ]
    table = load_accuracy_table(written(tmp_path / "a.csv", "\n".join(lines)), SPACE)
    assert sorted(table.top1_percent) == [70.5, 77]
    assert table.outside == 1


def test_once_for_alls_columns_give_the_same_archs(tmp_path: Path) -> None:
    ofa = {"ks": "-".join(["3"] * 20), "e": "-".join(["3"] * 20), "d": "2-2-2-2-2", "r": "224"}
    path = written(tmp_path / "a.csv", "ks,e,d,r,mean\n" + ",".join(ofa.values()) + ",70.5\n")
    table = load_accuracy_table(path, SPACE, "mean")
    assert SPACE.decode(table.genes) == [SPACE.smallest]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a line of column names"),
        ("arch,top1\nx,1\n", "expected columns top1_percent and arch"),
        ("arch,top1_percents\nx,1\n", "did you mean 'top1_percent' by 'top1_percents'"),
        ("arch,top1_percent\nx,7_0\n", "line 2: top1_percent: expected a percentage of 0 to 100, got '7_0'"),
        ("arch;top1_percent\nx;70,5\ny;70.5\n", "has a decimal point and '70,5' a comma"),
        ("arch,top1_percent\nx,high\n", "line 2: top1_percent: expected a percentage"),
        ("arch,top1_percent\nx,nan\n", "line 2: top1_percent: expected a percentage"),
        ("arch,top1_percent\nx,101\n", "line 2: top1_percent: expected a percentage"),
        ("arch,top1_percent\nx\n", "line 2: expected 2 values, got 1"),
        ("arch,top1_percent\nnonsense,70\n", "line 2: arch 'nonsense': expected a text like"),
        ("ks,e,d,r,top1_percent\n3-x,3,2,224,70\n", "line 2: ks: expected whole numbers joined by -, got '3-x'"),
    ],
)
def test_broken_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_accuracy_table(written(tmp_path / "a.csv", text), SPACE)


def test_the_error_of_an_unknown_table_suggests_a_shipped_one() -> None:
    with pytest.raises(DataError, match=f"did you mean '{NAME}'"):
        load_accuracy_table("ofa-mbv3-imagenet", SPACE)


def test_choices_that_were_never_measured_are_refused() -> None:
    wide = load_space("ofa-mbv3-w1.0")
    with pytest.raises(
        DataError, match=r"no measured architecture has resolution 128, .* and 19 more: narrow the space"
    ):
        TableSurrogate(wide).fit(load_accuracy_table(NAME, wide))
