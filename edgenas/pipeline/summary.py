"""summary.json: what a run found, for machines. Rates are fractions, times microseconds."""

from __future__ import annotations

from typing import Any

from edgenas.files import read_json, write_json
from edgenas.pipeline.results import check_description
from edgenas.pipeline.run import Run


def write_summary(run: Run) -> dict[str, Any]:
    """Gather the finished stages into `summary.json`.

    Raises:
        RunFolderError: a stage is not finished (its command is named), or its result is damaged.
    """
    trained, search, verified = run.result("train"), run.result("search"), run.result("verify")
    path = run.folder / "data.json"
    description = read_json(path, "delete export/result.json and run `edgenas export`, which writes it anew")
    check_description(description, path)
    exported = run.result("export")
    summary = {
        "name": run.config.name,
        "seed": run.config.seed,
        "space": run.space.name,
        "space_id": run.space.structure_id,
        # Once-for-all's is no number of 64 bits, which readers of JSON may not read.
        "space_size": float(run.space.size),
        "dataset": description["name"],
        "budgets": search["budgets"],
        "supernet": {key: trained[key] for key in ("params", "train_seconds", "images_per_second")},
        "predictors": run.result("profile")["predictors"],
        "search": {
            key: search[key] for key in ("strategy", "evaluations", "seconds", "hypervolume", "reference_point")
        },
        "front": verified["front"],
        "chosen": exported["chosen"],
    } | ({"int8": exported["int8"]} if exported.get("int8") else {})
    write_json(run.folder / "summary.json", summary)
    return summary
