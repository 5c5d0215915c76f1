"""A predictor carried over from another table by a few networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_run import SMALL_CONFIG, SMALL_SPACE, SmallRun

from edgenas.config.reading import load_config
from edgenas.errors import TableError
from edgenas.files import read_json, write_json
from edgenas.latency.table import LatencyTable
from edgenas.records.profile import ProfileRecord
from edgenas.runs.run import Run
from edgenas.stages.devices.device_latencies import read_latencies
from edgenas.stages.devices.profile_plan import profile_lines
from edgenas.stages.start import start_run
from edgenas.stages.whole_run import run_stages


def silent(*_: object) -> None:
    """No progress."""


def begin(folder: Path, base: Path) -> Run:
    (folder / "tiny-16.yaml").write_text(SMALL_SPACE)
    (folder / "few.yaml").write_text(SMALL_CONFIG)
    sets = [
        f"profile.base={base}",
        "profile.networks=10",
        "export.graph_variant=direct",
        f"space={folder / 'tiny-16.yaml'}",
    ]
    return start_run(load_config(folder / "few.yaml", sets), folder / "run", silent)


def test_ten_networks_and_no_block_are_measured_and_the_error_is_reported(small_run: SmallRun, tmp_path: Path) -> None:
    base = small_run.folder / "latency" / "here"
    run = begin(tmp_path, base)
    run_stages(run, silent, ["profile"])
    result = run.result(ProfileRecord).to_json()
    assert result["planned"] == {"here": {"blocks": 0, "networks": 10}}
    table = LatencyTable.load(run.folder / "latency" / "here")
    assert not table.blocks()
    assert len(table.rows) == 10
    (note,) = result["notes"]
    mape = result["predictors"]["here"]["mape"]
    assert note.startswith(f"here: carried over from {base} by 10 networks: {mape:.1%} off on unseen ones")
    assert ("not enough" in note) == (mape > 0.05)
    predictor = read_latencies(run).predictors["here"]
    assert predictor.base_ is not None
    measured = {row.key: row.p50_us for row in table.rows}
    archs = [run.space.parse(key) for key in measured]
    # The same machine, which may have another clock by now, and be busy with something else for some of them.
    assert 0.5 < np.median(predictor.predict(archs) / np.array(list(measured.values()))) < 2


def test_a_base_that_lacks_blocks_of_the_space_is_refused_before_measuring(small_run: SmallRun, tmp_path: Path) -> None:
    table = LatencyTable.load(small_run.folder / "latency" / "here")
    heads = tuple(row for row in table.rows if row.key.startswith("head"))
    LatencyTable(table.identity, table.circumstances, tuple(row for row in table.rows if row not in heads)).save(
        tmp_path / "base"
    )
    run = begin(tmp_path, tmp_path / "base")
    with pytest.raises(TableError, match=r"profile\.base .*blocks are neither measured.*or leave profile\.base out"):
        run_stages(run, silent, ["profile"])
    assert not list(run.folder.glob("latency/*/rows.jsonl"))


def test_a_base_that_is_no_table_is_refused(tmp_path: Path) -> None:
    run = begin(tmp_path, tmp_path / "nowhere")
    with pytest.raises(TableError, match=r"nowhere.*neither shipped nor a folder"):
        run_stages(run, silent, ["profile"])


def test_a_predictor_of_another_layout_is_refused_with_the_command_that_fits_it(
    small_run: SmallRun, tmp_path: Path
) -> None:
    run = begin(tmp_path, small_run.folder / "latency" / "here")
    run_stages(run, silent, ["profile"])
    path = run.folder / "latency" / "here" / "predictor.json"
    write_json(path, {key: value for key, value in read_json(path).items() if key != "layout"})
    with pytest.raises(TableError, match=r"predictor\.json .*layout is nothing, expected \d+.*`edgenas profile`"):
        read_latencies(run)


def test_minutes_bound_what_is_timed(tmp_path: Path) -> None:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "short.yaml").write_text(SMALL_CONFIG)
    sets = ["profile.minutes=0.2", "export.graph_variant=direct", f"space={tmp_path / 'tiny-16.yaml'}"]
    run = start_run(load_config(tmp_path / "short.yaml", sets), tmp_path / "run", silent)
    (line,) = profile_lines(run.networks, run.config.profile, run.config.seed, run.devices.measured)
    run_stages(run, silent, ["profile"])
    planned = run.result(ProfileRecord).to_json()["planned"]["here"]
    every = int(line.removeprefix("here: ").split()[0])
    table = LatencyTable.load(run.folder / "latency" / "here")
    assert len(table.blocks()) == planned["blocks"] < every
    assert len(table.rows) - planned["blocks"] == planned["networks"] >= 10
    # What was not measured is regressed.
    rng = np.random.default_rng(0)
    assert np.isfinite(read_latencies(run).predictors["here"].predict([run.space.sample(rng) for _ in range(50)])).all()
