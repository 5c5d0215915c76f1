"""The output of every search benchmark beside its figures: their source, and the goals that they meet."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from machine import machine, versions

LIBRARIES = ("numpy", "scipy", "pymoo", "moocore", "scikit-learn")
VARIABLES = "EDGENAS_DATA=... OMP_NUM_THREADS=1"


def print_report(goals: Sequence[dict[str, Any]], figures: dict[str, Any]) -> None:
    """Print everything as one JSON object on standard output."""
    # Where files lay says nothing.
    arguments = shlex.join(Path(argument).name if "/" in argument else argument for argument in sys.argv[1:])
    report = {
        "command": f"{VARIABLES} python tests/benchmarks/{Path(sys.argv[0]).name} {arguments}".strip(),
        "finished_at": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": {**machine(), "versions": versions(*LIBRARIES)},
        "goals": list(goals),
        **figures,
    }
    print(json.dumps(report, indent=1))


def goal(what: str, met: Sequence[bool], *, needed: int | None = None) -> dict[str, Any]:
    """A goal, in how many seeds it was met, and whether these are as many as `needed` (all of them if None)."""
    enough = len(met) if needed is None else needed
    return {"goal": what, "met_in": sum(map(bool, met)), "of": len(met), "reached": 0 < enough <= sum(map(bool, met))}
