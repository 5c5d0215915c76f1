"""The comparison of `pretrained.py`: paired differences against scipy's, and cells without a rival."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from pretrained_comparison import Z95, compare, differences, pooled, table
from pretrained_latency import RESOLUTIONS, RIVALS, candidates
from pretrained_rows import answers

IMAGES = 400


def row(side: str, rate: float, *, name: str = "flowers5", budget: str = "small", seed: int = 0) -> dict[str, Any]:
    """Return a row whose answers are right at a rate, drawn by the row itself."""
    draw = np.random.default_rng([seed, *f"{side} {name} {budget}".encode()])
    right = draw.random(IMAGES) < rate
    return {
        "side": side,
        "set": name,
        "images": "50",
        "budget": budget,
        "seed": seed,
        "chosen": "a network",
        "test_top1": float(right.mean()),
        "test_images": IMAGES,
        "test_digest": name,
        "right": np.packbits(right).tobytes().hex(),
    }


def test_a_difference_is_paired_and_averaged_over_the_seeds_of_both() -> None:
    rows = [row(side, rate, seed=seed) for side, rate in (("edgenas", 0.8), ("rival", 0.7)) for seed in (0, 1)]
    rows.append(row("edgenas", 0.8, seed=2))
    (found,) = differences(rows, "edgenas", "rival").values()
    first, second, *_ = [answers(each).astype(float) for each in rows]
    expected = (first + second - answers(rows[2]) - answers(rows[3])) / 2
    assert found.seeds == (0, 1)
    assert found.mean == pytest.approx(expected.mean())
    assert found.error == pytest.approx(stats.sem(expected))
    test = stats.ttest_1samp(expected, 0, alternative="less")
    assert found.p_worse == pytest.approx(test.pvalue, abs=1e-3)


def test_cells_of_one_set_share_its_images() -> None:
    sets, budgets = ("flowers5", "trash6"), ("small", "large")
    rows = [
        row(side, rate, name=name, budget=budget)
        for side, rate in (("edgenas", 0.8), ("rival", 0.7))
        for name in sets
        for budget in budgets
    ]
    cells = differences(rows, "edgenas", "rival")
    mean, error = pooled(cells)
    by_set = [np.mean([cell.by_image for key, cell in cells.items() if key[0] == name], axis=0) for name in sets]
    assert mean == pytest.approx(np.mean([cell.mean for cell in cells.values()]))
    assert error == pytest.approx(np.hypot(*(stats.sem(values) for values in by_set)) / 2)


def test_a_worse_cell_is_named_and_one_without_a_rival_does_not_count() -> None:
    rows = [row("edgenas", 0.6), row("rival", 0.8), row("edgenas", 0.8, budget="large")]
    rows += [{**row("rival", 0.8, budget="large"), "chosen": None, "right": None}]
    found = compare(rows, "rival", ["small"])
    (cell,) = found["cells"]
    assert cell["worse"]
    assert found["significantly_worse"] == 1
    assert found["without_rival"] == [("flowers5", "50", "large", 0)]
    low, high = cell["interval95"]
    assert high - low == pytest.approx(
        200 * Z95 * differences(rows, "edgenas", "rival")[("flowers5", "50", "small")].error, abs=0.02
    )
    lines = table(found, "rival").splitlines()
    assert lines[2].endswith(", worse |")
    assert lines[3].startswith("| flowers5 | 50 | large | 0 |")
    assert "n/a" in lines[3]


def test_answers_on_other_images_are_not_compared() -> None:
    rows = [row("edgenas", 0.6), {**row("rival", 0.8), "test_digest": "other"}]
    with pytest.raises(SystemExit, match="tested on other images"):
        compare(rows, "rival", [])


def test_the_largest_resolution_of_each_network_that_fits_is_a_candidate() -> None:
    latency_ms = {f"{name}@{side}": side / 32 + index for index, name in enumerate(RIVALS) for side in RESOLUTIONS}
    assert [rival.name for rival in candidates(latency_ms, 2.2)] == [f"{RIVALS[0]}@64", f"{RIVALS[1]}@32"]
    assert candidates(latency_ms, 0.5) == []
