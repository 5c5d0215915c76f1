"""Output of commands fits a terminal of 80 columns, has no colour when piped, and is one object with --json."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from damaging import call
from PIL import Image
from small_run import SmallRun, edgenas
from terminal import COLUMNS, needs_terminals, on_terminal, plain

PRINTING = {
    "status": "status runs/small",
    "plan": "run small.yaml --plan --run runs/planned",
    "report": "report runs/small --quiet",
    "export": "export runs/small --zip --quiet",
    "inspect": "inspect runs/small/export/bundle/model.onnx --runs 10",
    "gate": "gate runs/small/export/bundle --budget 1s --budget macs=1G --min-top1 0.1 --rounds 8 --quiet",
    "compare": "compare runs/small runs/other",
    "study strategies": "study strategies runs/small --strategies random,nsga2 --seeds 2 --evaluations 8 --quiet",
    "devices list": "devices list",
    "devices show": "devices show i7-8700k",
    "devices probe": "devices probe probed.yaml",
    "tables list": "tables list",
    "tables show": "tables show runs/small/latency/here",
    "tables check": "tables check runs/small/latency/here",
    "tables diff": "tables diff runs/small/latency/here samsung-note10/unknown",
    "tables merge": "tables merge runs/small/latency/here runs/other/latency/here --out merged",
    "tables import": "tables import networks.csv --out imported --space tiny-16.yaml --classes 10 --device phone",
    "data check": "data check images",
}
PROSE = ("report", "export", "devices show")
"""Their tables fit; a sentence or a path beside them is the terminal's to fold."""


@pytest.fixture(scope="module")
def work(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, a CSV of networks, and images."""
    folder = tmp_path_factory.mktemp("terminal")
    for name in ("tiny-16.yaml", "small.yaml"):
        shutil.copy(small_run.cwd / name, folder)
    for name in ("small", "other"):
        shutil.copytree(small_run.folder, folder / "runs" / name)
    archs = [entry["arch"] for entry in small_run.summary["front"]]
    lines = [f"{arch},{number + 1}.5" for number, arch in enumerate(archs)]
    (folder / "networks.csv").write_text("\n".join(["arch,latency_ms", *lines]) + "\n")
    for number in range(8):
        path = folder / "images" / f"class {number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


def words(command: str, work: Path) -> list[str]:
    """The command's words; what it writes is not there yet."""
    for name in ("merged", "imported", "probed.yaml"):
        path = work / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
    return shlex.split(PRINTING[command])


ONE_BY_ONE = """
import json, sys
from edgenas.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["edgenas", *arguments]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    print(f"<{code}>", flush=True)
"""
"""Runs commands in one process, since a process takes seconds to import torch; the exit code ends what each prints."""


@needs_terminals
@pytest.mark.slow
def test_output_of_commands_fits_80_columns(work: Path) -> None:
    commands = [words(command, work) for command in PRINTING]
    code, stated = on_terminal(json.dumps(commands), cwd=work, program=("-c", ONE_BY_ONE))
    assert code == 0, stated
    shown = re.split(r"<(\d+)>\n", stated)
    assert shown[1::2] == ["0"] * len(PRINTING), stated
    for command, part in zip(PRINTING, shown[:-1:2], strict=True):
        lines = plain(part)
        assert lines, command
        if command in PROSE:
            # A row of a table has columns, which stand apart.
            lines = [line for line in lines if "   " in line.strip()]
        # Warnings go to standard error, a line each, and are the terminal's to fold.
        lines = [line for line in lines if not line.startswith("warning: ")]
        assert [line for line in lines if len(line) > COLUMNS] == [], command


@pytest.mark.parametrize("command", PRINTING)
def test_piped_output_is_plain_and_json_is_one_object(command: str, work: Path) -> None:
    reported = call(*words(command, work), cwd=work)
    assert reported.code == 0, reported.stderr
    assert "\x1b" not in reported.stdout + reported.stderr
    as_json = call(*words(command, work), "--json", cwd=work)
    assert as_json.code == 0, as_json.stderr
    assert isinstance(json.loads(as_json.stdout), dict)


@needs_terminals
def test_there_is_colour_on_a_terminal_and_nowhere_else(work: Path) -> None:
    code, stated = on_terminal("status", "runs/small", cwd=work)
    assert code == 0
    assert "\x1b[1m" in stated
    assert max(map(len, plain(stated))) <= COLUMNS
    reported = edgenas("status", "runs/small", cwd=work, environment={"TERM": "xterm-256color"})
    assert "\x1b" not in reported.stdout
