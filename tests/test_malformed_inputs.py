"""Whatever a user or a disk gets wrong: one message, the right exit code, and nothing that was finished is lost.

Every case goes through the command line's own entry point. A refused command leaves the folder it was called in as
it was, to the byte.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import damaging
import fuzzed_cases
import malformed_cases
import pytest
from damaging import call, contents
from fuzzed_cases import damaged
from malformed_cases import CONFIG, DEVICE, RUN, Case, Edit, gone, text
from small_run import SMALL_SPACE, SmallRun

from edgenas.records.paths import REFIT, RESULTS
from edgenas.runs.stage_order import STAGES

CASES = [*malformed_cases.CASES, *fuzzed_cases.CASES]


@pytest.fixture
def place(small_run: SmallRun, tmp_path: Path) -> Path:
    """A folder with everything valid that a case damages, but for the run."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "tiny-16.yaml").write_text(SMALL_SPACE)
    (folder / "device.yaml").write_text(DEVICE)
    (folder / "table").mkdir()
    for name in ("table.csv", "meta.json"):
        shutil.copy(small_run.folder / "latency" / "here" / name, folder / "table")
    return folder


def put_run(small_run: SmallRun, folder: Path, stage: str) -> None:
    """A copy of the run, its stages done up to but without `stage`."""
    shutil.copytree(small_run.folder, folder / "run")
    for undone in STAGES[STAGES.index(stage) :] if stage != "done" else ():
        (folder / "run" / RESULTS[undone]).unlink()
        if undone == "verify":
            # On a machine that became slower since its profile, predictors were refitted: their files count no more.
            (folder / "run" / REFIT).unlink(missing_ok=True)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_malformed_inputs_get_one_message_and_harm_nothing(case: Case, place: Path, small_run: SmallRun) -> None:
    if case.stage:
        put_run(small_run, place, case.stage)
    case.edit(place)
    before = contents(place)
    ended = call(*case.command, cwd=place)
    assert "Traceback" not in ended.stderr
    assert ended.code == case.code, ended.stderr
    assert case.says in ended.stderr
    assert ended.stdout == ""
    assert len(ended.stderr) < 3000
    assert contents(place) == before


def test_there_are_enough_cases_of_both_kinds() -> None:
    assert len(malformed_cases.CASES) >= 100
    assert len(fuzzed_cases.CASES) >= 80
    assert len({case.name for case in CASES}) == len(CASES)


def renamed(old: str, new: str) -> Edit:
    return lambda folder: (folder / old).rename(folder / new)


def each(*edits: Edit) -> Edit:
    """Several edits, one after another."""

    def edit(folder: Path) -> None:
        for one in edits:
            one(folder)

    return edit


ODD = CONFIG.replace("rounds: 8}", "rounds: &few 8}", 1).replace("\n", "\r\n")
HARMLESS: dict[str, tuple[Edit, tuple[str, ...]]] = {
    "byte order mark, line ends of Windows, and aliases": (text("config.yaml", b"\xef\xbb\xbf" + ODD.encode()), RUN),
    "missing summary and report, which are written again; torn evaluations and no timer rows, which nothing reads": (
        each(
            gone("run/summary.json"),
            gone("run/report/report.md"),
            gone("run/latency/here/rows.jsonl"),
            damaged("run/search/evaluations.jsonl", damaging.cut, 0),
        ),
        RUN,
    ),
    "torn summary.json, which is written again": (damaged("run/summary.json", damaging.cut, 0), RUN),
    "a folder with dash, space and umlaut": (renamed("run", "-ö dd"), ("report", "--", "-ö dd")),
    "a config that begins with a dash": (renamed("config.yaml", "-c.yaml"), (*RUN[:1], *RUN[2:], "--", "-c.yaml")),
}
"""What looks like a mistake and is none, by design."""


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_damage_stops_nothing_and_loses_nothing(name: str, place: Path, small_run: SmallRun) -> None:
    edit, command = HARMLESS[name]
    put_run(small_run, place, "done")
    folder = place / "run"
    results = {stage: (folder / RESULTS[stage]).read_bytes() for stage in STAGES[:-1]}
    edit(place)
    ended = call(*command, cwd=place)
    assert ended.code == 0, ended.stderr
    folder = folder if folder.exists() else place / "-ö dd"
    assert {stage: (folder / RESULTS[stage]).read_bytes() for stage in STAGES[:-1]} == results
    assert json.loads((folder / "summary.json").read_text()) == small_run.summary
