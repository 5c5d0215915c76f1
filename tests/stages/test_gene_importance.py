"""A front verified in unusual objectives, and the analysis of the chosen network's neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copied_run import copied_run, silent
from small_run import SmallRun

from edgenas.files import read_json, read_jsonl
from edgenas.latency.device import Device
from edgenas.profiling.measurement import Measurement
from edgenas.records.verify import VerifyRecord
from edgenas.runs.run import Run
from edgenas.search.front import choose_knee
from edgenas.space.cost import cost
from edgenas.stages.devices import measuring
from edgenas.stages.devices.device_latencies import read_latencies
from edgenas.stages.front.gene_importance import gene_groups
from edgenas.stages.whole_run import run_stages


@pytest.fixture
def run(small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Searched and verified; a stand-in for the timer measures what is predicted."""
    search = {"strategy": "surrogate", "population": 6, "evaluations": 30, "choose": "knee"}
    run = copied_run(small_run, tmp_path / "run", **search, objectives=["error", "latency", "weight_bytes"])
    predictor = read_latencies(run).predictors["here"]

    def measure(networks: Mapping[str, Path], device: Device, **_: Any) -> dict[str, Measurement]:
        us = {arch: float(predictor.predict([run.space.parse(arch)])[0]) for arch in networks}
        return {arch: Measurement(*6 * (t,), 80, 8 * (t,), 0.0, (), *2 * (8 * (t,),), 1e3, 0) for arch, t in us.items()}

    monkeypatch.setattr(measuring, "measure_networks", measure)
    run_stages(run, silent, ["search"])
    run_stages(run, silent, ["verify"])
    return run


def test_the_front_is_kept_in_all_objectives_and_its_knee_chosen(run: Run) -> None:
    result = run.result(VerifyRecord).to_json()
    archs = [run.space.parse(entry["arch"]) for entry in result["front"]]
    weights = [cost(run.space.with_classes(10).unroll(arch)).weight_bytes for arch in archs]
    points = [[1 - e["deployed_top1"], e["latency"]["here"]["p50_us"]] for e in result["front"]]
    points = np.column_stack([points, weights])
    assert not any(entry["dropped"] for entry in result["front"])
    assert result["chosen"] == result["front"][choose_knee(points)]["arch"]
    assert (result["chosen_by"], result["chosen_as"].split(" in ")[0]) == ("knee", "the knee of the front")


def test_every_gene_move_of_the_chosen_network_uses_its_score_or_the_model(run: Run) -> None:
    chosen, space = run.result(VerifyRecord).to_json()["chosen"], run.space
    known = {row["arch"]: 1 - row["error"] for row in read_jsonl(run.folder / "search" / "evaluations.jsonl")}
    found = read_json(run.folder / "verify" / "understanding.json")
    predictor = read_latencies(run).predictors["here"]
    assert found["evaluations"] == len(known) == 30
    assert {move["source"] for move in found["moves"]} == {"scored", "model"}
    genes = space.encode([space.parse(chosen)])[0]
    for move in found["moves"]:
        moved = space.parse(move["arch"])
        column = list(space.choices).index(move["gene"])
        changed = genes.copy()
        changed[column] = space.choices[move["gene"]].index(move["after"])
        assert space.choices[move["gene"]][genes[column]] == move["before"]
        assert space.decode(changed[None])[0].id == moved.id != chosen
        us = predictor.predict([moved, space.parse(chosen)])
        assert move["latency_us"]["here"] == pytest.approx(us[0] - us[1], abs=1e-9)
        assert (move["source"] == "scored") == (moved.id in known)
        if moved.id in known:
            assert move["val_top1"] == pytest.approx(known[moved.id] - known[chosen])
            assert move["deviation"] is None
        else:
            assert move["deviation"] > 0


def test_genes_are_grouped_by_stage_and_kind(run: Run) -> None:
    names = ["resolution", "stage1.depth", "stage1.width", "stage1.kernel", "stage1.expand"]
    assert list(gene_groups(run.space)) == names
    genes = read_json(run.folder / "verify" / "understanding.json")["genes"]
    assert [gene["name"] for gene in genes] == names
    # Whatever is larger takes longer, and together they make up all of the latency's variance.
    assert all(gene["latency_us"]["here"]["change"] > 0 for gene in genes)
    assert sum(gene["latency_us"]["here"]["share"] for gene in genes) > 0.9


def test_too_few_scores_train_nothing(small_run: SmallRun) -> None:
    from edgenas.stages.front.gene_importance import LEAST_EVALUATIONS

    scored = len(read_jsonl(small_run.folder / "search" / "evaluations.jsonl"))
    assert (small_run.folder / "verify" / "understanding.json").exists() == (scored >= LEAST_EVALUATIONS)
