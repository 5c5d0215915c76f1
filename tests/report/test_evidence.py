"""What the report states on inherited accuracy, baselines and hindsight."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from finished_run import arch, markdown_of, write_run
from plotly import graph_objects

from edgenas.files import write_json
from edgenas.records.baselines import BaselinesRecord
from edgenas.records.ranking import RankingRecord
from edgenas.report import findings, hindsight_findings, study_charts, study_findings
from edgenas.report.html import render_html
from edgenas.report.load import load_run
from edgenas.report.report_sections import report_of
from edgenas.report.values import FinishedRun
from edgenas.report.writing import write_report

CHOSEN, LARGEST = arch(5), arch(7)
IMAGES = 100


def estimate(value: float, half: float = 0.1, count: int = 12) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half, "count": count}


def trust(tau: float = 0.8, macs: float = 0.6, half: float = 0.1) -> dict[str, Any]:
    taus: dict[str, Any] = {"inherited": estimate(tau), "uncalibrated": estimate(0.3), "macs": estimate(macs)}
    taus["repeated"] = None
    taus["lead_over_macs"] = estimate(tau - macs, half)

    whole = {"subnets": 12, "gap": estimate(-0.007, 0.003), "gap_uncalibrated": estimate(-0.4), "tau": taus}
    subnets = [
        {
            "arch": arch(i),
            "macs": 10**6 * (i + 1),
            "grouped": i < 2,
            "inherited": 0.8 + 0.01 * i,
            "uncalibrated": 0.4,
            "standalone": 0.81 + 0.01 * i,
            "standalone_uncalibrated": 0.8,
            "standalone_by_seed": [0.81 + 0.01 * i],
            "seconds": 3.0,
        }
        for i in range(4)
    ]
    group = {**whole, "subnets": 7, "macs_least": 9_500_000, "macs_greatest": 10_500_000}
    facts = {"dataset": "digits", "space": "digits-24", "weights": "w", "epochs": 4.0, "seed": 0, "seconds": 40.0}
    facts |= {"recipe": "sandwich", "steps": 72, "repeats": 1, "average": None}
    return {
        **facts,
        "training_images": 1149,
        "validation_images": 288,
        "supernet_from": None,
        "standalone_from": None,
        "all": whole,
        "group": group,
        "subnets": subnets,
    }


def contender(network: str, test_top1: float, seed: int = 0) -> dict[str, Any]:
    found = {"network": network, "seed": seed, "val_top1": test_top1 + 0.01, "test_top1": test_top1}
    return {**found, "p50_us": 350.0, "seconds": 130.0, "tried": 1}


def worth(lead: float = 0.012, verdict: str = "pays", **crossover: Any) -> dict[str, Any]:
    baselines = {}
    for name, top1 in (("mobilenet-v3-small", 0.95), ("random-search", 0.96)):
        spread = {"mean": top1, "least": top1 - 0.004, "greatest": top1 + 0.004}
        seeds = [contender("width 0.35" if "3" in name else arch(seed), top1, seed) for seed in range(3)]
        same = {"mean": 350.0, "least": 340.0, "greatest": 360.0}
        baselines[name] = {"test_top1": spread, "val_top1": spread, "p50_us": same, "seconds": same, "seeds": seeds}
        baselines[name]["seeds_behind"] = 3
    costs = {"once_seconds": 1200.0, "per_budget_seconds": 60.0, "standalone_seconds": 500.0}
    costs |= {
        "standalone_range_seconds": [450.0, 520.0],
        "charged_seconds": {"profile": 20.0, "verify": 9.0, "export": 4.0},
    }
    costs |= {"budgets": [3, 4] if verdict == "pays" else None, "reason": None}
    table = [{"budgets": n, "shared_seconds": 1200 + 60 * n, "standalone_seconds": 500 * n} for n in (1, 2, 3)]
    return {
        "dataset": "digits",
        "model_sha256": "ab",
        "supernet_from": None,
        "standalone_from": None,
        "shelf": [],
        "recipe": "sandwich",
        "finetune": {"epochs": 0.0},
        "threads": 1,
        "space": "digits-24",
        "training_images": 1149,
        "steps": {},
        "left_out": {},
        "device": "here",
        "test_images": 360,
        "seconds": {"total": 1260.0, "each_baseline": 1260.0},
        "edgenas": contender(CHOSEN, 0.96 + lead),
        "baselines": baselines,
        "best_baseline": "random-search",
        "lead": lead,
        "lead_error": 0.002,
        "ahead": lead > 0,
        "crossover": {**costs, "verdict": verdict, "table": table, **crossover},
    }


def looked_back(right: list[int], only_chosen: int = 1, **edit: Any) -> dict[str, Any]:
    """Classes of which the largest subnet gets 90 of 100 images right."""
    front = [{"arch": arch(i), "val_top1": 0.94 + 0.005 * i, "test_top1": 0.93 + 0.005 * i} for i in range(7)]
    front[5]["test_top1"] -= 0.01
    classes = [
        {
            "name": f"class {n}",
            "images": IMAGES,
            "chosen": own,
            "largest": 90,
            "only_chosen": only_chosen,
            "only_largest": 90 - own + only_chosen,
        }
        for n, own in enumerate(right)
    ]
    return {"front": front, "chosen": CHOSEN, "largest": LARGEST, "within_budgets": False, "classes": classes, **edit}


def ranking_of(value: dict[str, Any]) -> RankingRecord:
    return RankingRecord.parse(value, "trust.json", "run it again")


def baselines_of(value: dict[str, Any]) -> BaselinesRecord:
    return BaselinesRecord.parse(value, "worth.json", "run it again")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "run")
    return tmp_path / "run"


def look_back(folder: Path, *arguments: Any, **edit: Any) -> FinishedRun:
    write_json(folder / "export/hindsight.json", looked_back(*arguments, **edit))
    return load_run(folder)


def test_optimism_is_that_of_the_chosen_one_beyond_the_fronts(folder: Path) -> None:
    run = look_back(folder, [90, 90])
    sentence = hindsight_findings.front_optimism(run.hindsight, run.images)
    # Six gaps of one point and one of two.
    assert "validation is 1.1 points above test on average (from 1.0 points above to 2.0 points above)" in sentence
    assert "it is 2.0 points above, 0.9 points more optimistic than the front as a whole" in sentence


def test_scored_networks_keep_the_numbers_of_the_front_where_a_refused_one_is_left_out(folder: Path) -> None:
    run = look_back(folder, [90])
    assert run.hindsight is not None
    front = findings.ordered_front(run.summary)
    scored = tuple(row for row in run.hindsight.front if row.arch != front[0].arch)
    rows = hindsight_findings.numbered(run.hindsight.model_copy(update={"front": scored}), front)
    assert len(rows) == len(scored) > 0
    assert all(front[number - 1].arch == row.arch for number, row in rows)
    assert rows[0][0] == 2


def test_classes_that_paid_beyond_chance_are_named_first_the_one_that_paid_most(folder: Path) -> None:
    sentence = hindsight_findings.class_losses(look_back(folder, [88, 70, 80, 90]).hindsight)
    assert "2 of 4 classes lost accuracy significantly: class 1 (-20.0 points), class 2 (-10.0 points)" in sentence
    assert "is 8.0 points below on all test images" in sentence


def test_losses_within_chance_are_called_so(folder: Path) -> None:
    # 10 more images lost, but 60 in all answered otherwise: a fair coin does that in one of eight.
    sentence = hindsight_findings.class_losses(look_back(folder, [80, 90], 25).hindsight)
    assert "no class lost accuracy significantly, most of all class 0 (-10.0 points on 100 images" in sentence
    assert "no class lost accuracy" in hindsight_findings.class_losses(look_back(folder, [92, 95], 10).hindsight)


def test_of_a_thousand_classes_none_is_significant_by_chance(folder: Path) -> None:
    # 9 of 10 images that are answered otherwise: one of a hundred for one class, and so ten of a thousand.
    alone = hindsight_findings.class_losses(look_back(folder, [82], 1).hindsight)
    assert "1 of 1 classes lost accuracy significantly: class 0 (-8.0 points)" in alone
    sentence = hindsight_findings.class_losses(look_back(folder, [82] * 3 + [90] * 997, 1).hindsight)
    assert "no class lost accuracy significantly" in sentence
    assert "exact McNemar tests, 5% for all 1,000 classes together by Holm's correction" in sentence
    assert "1 of 1,000 classes" in hindsight_findings.class_losses(look_back(folder, [60] + [90] * 999, 1).hindsight)


def test_the_largest_network_pays_nothing(folder: Path) -> None:
    assert "is the largest one" in hindsight_findings.class_losses(look_back(folder, [90], largest=CHOSEN).hindsight)


def test_what_is_of_another_choice_or_other_weights_is_not_shown(folder: Path) -> None:
    assert look_back(folder, [90], chosen=arch(1)).hindsight is None
    write_json(folder / "study/baselines/baselines.json", {**worth(), "edgenas": contender(arch(1), 0.9)})
    write_json(folder / "study/ranking/ranking.json", {**trust(), "weights": "others"})
    run = load_run(folder)
    assert (run.baselines, run.ranking) == (None, None)


def test_what_was_judged_before_the_network_was_fine_tuned_again_is_not_shown(folder: Path) -> None:
    accuracy = {"validation_top1": 0.97, "test_top1": 0.97, "test_images": 360}
    accuracy |= {"test_images_by_class": [], "test_top1_by_class": []}
    facts = {"classes": [], "accuracy": accuracy}
    for bundled, shown in (("ab", True), ("cd", False)):
        write_json(folder / "export/bundle/manifest.json", {**facts, "files": {"model.onnx": bundled}})
        write_json(folder / "study/baselines/baselines.json", {**worth(), "model_sha256": "ab"})
        assert (load_run(folder).baselines is not None) is shown


def test_the_verdict_on_ranking_states_whether_macs_do_as_well() -> None:
    sentence = study_findings.ranking(ranking_of(trust()))
    assert sentence == "Inherited accuracies rank subnets with a Kendall's tau of 0.80, better than MACs alone (0.60)"


@pytest.mark.parametrize(("count", "interval"), [(6, "(0.70 to 0.90, rough)"), (7, "(0.70 to 0.90)")])
def test_intervals_of_taus_of_few_subnets_are_called_rough(count: int, interval: str) -> None:
    found = trust(half=0.01)
    for part in (found["all"], found["group"]):
        part["subnets"] = count
        part["tau"] = {name: one and one | {"count": count} for name, one in part["tau"].items()}
    values = ranking_of(found)
    row = study_findings.ranking_rows(values)[0]
    assert row[3] == f"0.80 {interval}"
    assert any(f"tau is 0.80 {interval}" in sentence for sentence in study_findings.ranking_details(values))
    # A lead whose interval is rough is not called sure.
    assert study_findings.ranking(values).endswith("which is not significant") == (count < 7)
    assert study_findings.ranking(ranking_of(trust(half=0.3))).endswith("(0.60), which is not significant")
    assert "no better than MACs alone (0.85)" in study_findings.ranking(ranking_of(trust(macs=0.85)))
    # A lead that cannot be seen in what is printed is none.
    sentence = study_findings.ranking(ranking_of(trust(tau=0.804, macs=0.797)))
    assert sentence.endswith("a Kendall's tau of 0.80, no better than MACs alone (0.80)")


def test_a_gap_below_zero_is_stated_as_a_loss() -> None:
    first, bare, alone, group = study_findings.ranking_details(ranking_of(trust()))
    assert "is 0.7 points below what they reach when trained from scratch for 4 epochs" in first
    assert "(95 % of samples of these subnets: -1.0 to -0.4)" in first
    assert "-40.0 points, and a tau of 0.30" in bare
    assert alone == "Trained from scratch they reach 81.0 % to 84.0 %"
    assert "Among 7 subnets of near-equal MACs (9.5 M to 10.5 M) tau is 0.80" in group


def test_what_trainings_agree_on_is_stated_where_there_are_several() -> None:
    found = trust() | {"repeats": 3}
    found["all"]["tau"]["repeated"] = 0.62
    sentence = ". ".join(study_findings.ranking_details(ranking_of(found)))
    assert (
        "in the mean of 3 trainings. One such training ranks them like the mean of the others with a tau of 0.62"
        in sentence
    )


def test_what_recalibration_is_worth_is_left_out_where_weights_are_averaged() -> None:
    found = trust() | {"average": 0.99}
    for part in (found["all"], found["group"]):
        part |= {"gap_uncalibrated": None, "tau": {**part["tau"], "uncalibrated": None}}
    found["subnets"] = [{**one, "uncalibrated": None, "standalone_uncalibrated": None} for one in found["subnets"]]
    values = ranking_of(found)
    _, _, sentence, group = study_findings.ranking_details(values)
    assert "is left out: the statistics of training are not those of the averaged weights (train.average)" in sentence
    assert group.startswith("Among 7")
    assert study_findings.ranking_rows(values)[0][4] == "–"
    assert {row[4] for row in study_findings.subnet_rows(values)} == {"–"}


def test_a_baseline_without_a_network_of_equal_latency_is_reported_as_left_out(folder: Path) -> None:
    assert not any("left out" in sentence for sentence in study_findings.baseline_details(baselines_of(worth())))
    some = baselines_of(worth() | {"left_out": {"random-search": [0, 2]}})
    assert (
        "random-search is left out for seed 0, 2: no other network of the space"
        in study_findings.baseline_details(some)[1]
    )
    found = worth() | {"left_out": {"random-search": [0, 1, 2]}, "best_baseline": "mobilenet-v3-small"}
    found["baselines"] = {name: one for name, one in found["baselines"].items() if name != "random-search"}
    write_json(folder / "study/baselines/baselines.json", found)
    sentence = "random-search is left out: no other network of the space is of equal latency with the chosen one."
    assert sentence in markdown_of(folder)
    assert html.escape(sentence) in render_html(report_of(load_run(folder)))


def test_a_search_that_loses_is_stated_to_lose() -> None:
    assert (
        "1.2 ± 0.4 points ahead of random-search on test images (97.2 % of one run against 96.0 %, mean of 3 seeds)"
        in (study_findings.baselines(baselines_of(worth())))
    )
    assert "0.5 ± 0.4 points behind random-search" in study_findings.baselines(baselines_of(worth(-0.005)))


def test_a_lead_within_its_error_is_called_chance() -> None:
    chance = "on test images, which is not significant ("
    assert chance in study_findings.baselines(baselines_of(worth(0.003)))
    assert chance in study_findings.baselines(baselines_of(worth(-0.003)))
    assert chance not in study_findings.baselines(baselines_of(worth(0.005)))


def test_the_time_and_latency_of_baselines_are_reported() -> None:
    found = worth()
    (equal, *_) = study_findings.baseline_details(baselines_of(found))
    assert equal == (
        "Each baseline and seed had as much time as supernet, search and fine-tuning took; random-search is behind "
        "with 3 of 3 seeds, which reach 95.60 % to 96.40 % (the ± is that of the test images alone); baselines have "
        "1.00 (mobilenet-v3-small), 1.00 (random-search) of the network's measured latency"
    )
    found["seconds"]["each_baseline"] = 126.0
    found["baselines"]["random-search"]["p50_us"]["mean"] *= 1.31
    found["baselines"]["random-search"]["seeds_behind"] = 1
    (sentence, *others) = study_findings.baseline_details(baselines_of(found | {"supernet_from": "other"}))
    assert "had 0.10 of the time that supernet" in sentence
    assert "random-search is behind with 1 of 3 seeds" in sentence
    assert sentence.endswith("1.31 (random-search) of the network's measured latency")
    assert others[0] == "The supernet began from other weights, the baselines from none"


def test_the_crossover_is_stated() -> None:
    def crossing(verdict: str = "pays", **crossover: Any) -> str:
        return study_findings.crossing(baselines_of(worth(verdict=verdict, **crossover)))

    assert "it pays from 3 to 4 budget(s) on" in crossing()
    assert "it pays from 3 budget(s) on" in crossing(budgets=[3, 3])
    assert "(7 min 30 s to 8 min 40 s by the spread of step times)" in crossing()
    assert "never pays by time alone" in crossing("never")


def test_nothing_is_claimed_where_the_crossover_is_unknown() -> None:
    one_budget = {"reason": "the supernet was trained for one budget only"}
    lost = {
        "once_seconds": None,
        "per_budget_seconds": None,
        "standalone_seconds": None,
        "table": [],
        "reason": "no costs",
    }
    for crossover in (one_budget, lost):
        found = baselines_of(worth(verdict="unknown", **crossover))
        expected = f"The number of budgets from which the supernet pays is unknown: {crossover['reason']}"
        assert study_findings.crossing(found) == expected
        assert "pays from" not in ". ".join(study_findings.baseline_details(found))
        assert study_charts.baselines_image(found).png.startswith(b"\x89PNG")
        assert len(study_charts.baselines(found)) == 1 + bool(found.crossover.table)


def test_the_lines_of_total_time_cross_at_the_crossover() -> None:
    _, figure = study_charts.baselines(baselines_of(worth()))
    shared, alone = figure.series
    ahead = [n for n, one, other in zip(shared.x, shared.y, alone.y, strict=True) if one <= other]
    assert min(ahead) == 3
    assert (shared.y[0], alone.y[0]) == pytest.approx((21, 500 / 60), rel=1e-4)


def test_both_reports_show_all_of_it(folder: Path) -> None:
    look_back(folder, [88, 70, 80, 90])
    write_json(folder / "study/ranking/ranking.json", trust())
    write_json(folder / "study/baselines/baselines.json", worth())
    trained = {"params": 1, "train_seconds": 1.0, "images_per_second": 1.0, "weights": "w"}
    write_json(folder / "supernet/result.json", trained)
    run = load_run(folder)
    page, text = render_html(report_of(run)), write_report(folder).read_text()
    sentences = [
        hindsight_findings.front_optimism(run.hindsight, run.images),
        hindsight_findings.class_losses(run.hindsight),
    ]
    assert run.ranking is not None
    assert run.baselines is not None
    sentences += [study_findings.ranking(run.ranking), study_findings.baselines(run.baselines)]
    sentences += [study_findings.crossing(run.baselines)]
    assert all(sentence in text for sentence in sentences)
    assert all(html.escape(sentence) in page for sentence in sentences)
    names = ("ranking", "baselines", "accuracy", "classes")
    assert all(f'<section id="{name}">' in page for name in names)
    figures = re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)
    assert figures is not None
    drawn = json.loads(re.sub(r'"@\w+"', '"red"', figures[1]))
    sections = [name.rpartition("-")[0] for name in drawn]
    assert [sections.count(name) for name in names] == [2, 2, 2, 1]
    for figure in drawn.values():
        graph_objects.Figure(figure)
    assert {f"{name}.png" for name in names} <= {path.name for path in (folder / "report").iterdir()}
    rows = hindsight_findings.change_rows(run.hindsight) if run.hindsight else []
    assert [row[0] for row in rows] == ["class 1", "class 2", "class 0", "class 3"]
    assert rows[0] == ["class 1", "100", "70.0 %", "90.0 %", "-20.0", "lost"]
    assert rows[2][4:] == ["-2.0", ""]
    assert all(f"| {' | '.join(row)} |" in text for row in rows)
    assert page.count("-20.0</td>") == 1
    assert all(f"]({name}.png)" in text for name in names)
