"""Budgets against what a space offers: shares in numbers, refusals with what could be met."""

from pathlib import Path

import numpy as np
import pytest
from small_run import SMALL_CONFIG, SMALL_SPACE

from edgenas.budget import Budget, parse_budget
from edgenas.config.reading import load_config
from edgenas.errors import ConfigError
from edgenas.quantities import MACS
from edgenas.search.feasibility import Feasibility, find_feasibility
from edgenas.space.cost import cost
from edgenas.space.loading import load_space
from edgenas.space.space import Genes
from edgenas.stages.budgets.computed_budgets import check_computed_budgets
from edgenas.stages.budgets.feasibility_notes import as_limits, feasibility_lines, require_feasible
from edgenas.stages.plan import plan_budgets
from edgenas.stages.start import start_run

SPACE = load_space("digits-24")


def macs_of(arch) -> int:
    return cost(SPACE.with_classes(10).unroll(arch)).macs


def test_a_budget_on_paper_below_the_smallest_network_is_refused_with_the_range() -> None:
    budget = parse_budget(f"macs={macs_of(SPACE.smallest) - 1}")
    with pytest.raises(
        ConfigError, match=r"budget macs=\d+ cannot be met: the space reaches from macs=.* to macs="
    ) as refusal:
        check_computed_budgets([budget], SPACE.with_classes(10))
    nearest = parse_budget(str(refusal.value).rpartition("can be met: ")[2])
    assert macs_of(SPACE.smallest) <= nearest.limit <= 1.01 * macs_of(SPACE.smallest)
    assert check_computed_budgets([nearest], SPACE.with_classes(10))


def test_the_share_within_a_budget_is_that_of_the_space() -> None:
    rng = np.random.default_rng(5)
    macs = [macs_of(SPACE.sample(rng)) for _ in range(600)]
    (line,) = check_computed_budgets([Budget(MACS, limit=float(np.median(macs)))], SPACE.with_classes(10))
    share = float(line.partition(": ")[2].partition("%")[0])
    assert share == pytest.approx(50, abs=7)
    # Latency is no matter of paper.
    assert check_computed_budgets([parse_budget("0.001us")], SPACE.with_classes(10)) == []


def test_budgets_that_clash_are_named_with_limits_that_do_not() -> None:
    budgets = [parse_budget("here=9us"), parse_budget("pi4=9us")]

    def opposed(budget: Budget, genes: Genes) -> np.ndarray:
        share = (genes / np.maximum(SPACE.n_choices - 1, 1)).mean(axis=1)
        return 5.0 + 10 * (share if budget.device == "here" else 1 - share)

    def find(budgets: list[Budget], seed: int) -> Feasibility:
        return find_feasibility(SPACE.n_choices, as_limits(budgets, opposed), repair=SPACE.canonical, seed=seed)

    feasibility = find(budgets, seed=0)
    with pytest.raises(
        ConfigError, match=r"here=0.009ms and pi4=0.009ms can be met one by one, but not together"
    ) as refusal:
        require_feasible(feasibility, budgets)
    nearest = [parse_budget(text) for text in str(refusal.value).rpartition("can be met: ")[2].split(", ")]
    again = find(nearest, seed=1)
    assert again.feasible
    require_feasible(again, nearest)
    lines = feasibility_lines(again, nearest)
    assert len(lines) == 3
    assert lines[-1].startswith("all budgets: ")


def test_a_plan_states_budgets_before_anything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG)
    monkeypatch.chdir(tmp_path)
    on_paper, timed = plan_budgets(load_config(Path("small.yaml"), ["budgets=[5ms, weight_bytes=20kB]"]), Path("run"))
    assert on_paper.startswith("budget weight_bytes=20000B: ")
    assert timed == "budget 5ms: checked once the device is profiled"
    impossible = load_config(Path("small.yaml"), ["budgets=[macs=1]"])
    for begin in (plan_budgets, start_run):
        with pytest.raises(ConfigError, match="macs=1 cannot be met"):
            begin(impossible, Path("run"))
    assert not Path("run").exists()
