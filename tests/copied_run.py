"""A copy of the small run with another search."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from small_run import SmallRun

from edgenas.config.reading import dump_config, parse_config
from edgenas.files import read_json, write_text
from edgenas.runs.run import Run, open_run

LATER = ("search", "verify", "export", "report", "sessions.jsonl")


def copied_run(small_run: SmallRun, folder: Path, **search: Any) -> Run:
    """Profiled and trained; with what `search` says in its config, and a budget that all of the space is within."""
    shutil.copytree(small_run.folder, folder, ignore=shutil.ignore_patterns(*LATER))
    config = open_run(folder).config
    value = config.model_dump(mode="json")
    config = parse_config(value | {"budgets": ["1s"], "search": value["search"] | search}, "a config")
    write_text(folder / "config.yaml", dump_config(config))
    return open_run(folder)


def silent(*_: object) -> None:
    """No progress."""


def found(folder: Path) -> dict[str, Any]:
    """A search's result, but for what the clock says."""
    result = read_json(folder / "search" / "result.json")
    return {key: value for key, value in result.items() if key != "seconds"}
