"""summary.json: what a run found, for machines. Rates are fractions, times microseconds."""

from __future__ import annotations

from typing import Any

from edgenas.errors import RunFolderError
from edgenas.files import read_json, write_json
from edgenas.pipeline.run import Run


def write_summary(run: Run) -> dict[str, Any]:
    """Gather the finished stages into `summary.json`.

    Raises:
        RunFolderError: a stage is not finished (its command is named), or its result is damaged.
    """
    search, verified = run.result("search"), run.result("verify")
    try:
        summary = _gathered(run, search, verified)
    except KeyError as error:
        raise RunFolderError(
            f"{run.folder}: a stage's result lacks {error}: delete its result.json and run that stage again"
        ) from None
    write_json(run.folder / "summary.json", summary)
    return summary


def _gathered(run: Run, search: dict[str, Any], verified: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": run.config.name,
        "seed": run.config.seed,
        "space": run.space.name,
        "space_id": run.space.structure_id,
        "space_size": run.space.size,
        "dataset": read_json(run.folder / "data.json")["name"],
        "budgets": search["budgets"],
        "supernet": _without_version(run.result("train")),
        "predictors": run.result("profile")["predictors"],
        "search": {
            key: search[key] for key in ("strategy", "evaluations", "seconds", "hypervolume", "reference_point")
        },
        "front": verified["front"],
        "chosen": run.result("export")["chosen"],
    }


def _without_version(value: dict[str, Any]) -> dict[str, Any]:
    return {key: inner for key, inner in value.items() if key != "schema_version"}
