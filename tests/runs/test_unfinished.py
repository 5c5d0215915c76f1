"""The state of stages that are not finished."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from small_run import SmallRun

from edgenas.runs.run import open_run
from edgenas.runs.unfinished import stage_state


def test_unfinished_training_and_search_state_how_much_is_done(small_run: SmallRun, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_run.folder, tmp_path / "run"))
    assert stage_state(open_run(folder), "search") == "done"
    for stage in ("train", "search", "verify"):
        open_run(folder).result_path(stage).unlink()
    run = open_run(folder)
    steps = json.loads((folder / "supernet" / "fixed_settings.json").read_text())["steps"]
    assert stage_state(run, "train") == f"{steps} of {steps} steps"
    evaluations = folder / "search" / "evaluations.jsonl"
    evaluations.write_text("".join(evaluations.read_text().splitlines(keepends=True)[:3]))
    assert stage_state(run, "search") == f"3 scored, {run.config.search.evaluations} asked for"
    evaluations.unlink()
    assert {stage_state(run, stage) for stage in ("search", "verify")} == {"to do"}
