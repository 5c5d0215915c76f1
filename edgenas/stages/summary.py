"""summary.json: what a run found, for machines. Rates are fractions, times microseconds."""

from __future__ import annotations

from typing import Any

from edgenas.accuracy.source import open_source
from edgenas.files import write_json
from edgenas.runs.folder import Run
from edgenas.runs.run_data import data_record
from edgenas.stages.finetune import TOLD


def write_summary(run: Run) -> dict[str, Any]:
    """Gather the finished stages into `summary.json`.

    Raises:
        RunFolderError: a stage is not finished (its command is named), or its result is damaged.
    """
    search, verified = run.result("search"), run.result("verify")
    summary = {
        "name": run.config.name,
        "seed": run.config.seed,
        "space": run.space.name,
        "space_id": run.space.structure_id,
        # Whole numbers of our files have 64 bits; spaces may be larger.
        "space_size": run.space.size if run.space.size < 2**63 else float(run.space.size),
        "budgets": search["budgets"],
        "predictors": run.result("profile")["predictors"],
        "search": {key: search[key] for key in ("strategy", "evaluations", "seconds", "hypervolume", "reference_point")}
        | {key: search[key] for key in ("objectives", "exhausted") if key in search},
        "choice": {"by": verified.get("chosen_by", "best"), "words": verified.get("chosen_as")},
        "front": verified["front"],
        "first_predictions": verified["first_predictions"],
        "notes": [note for stage in ("verify", "export") for note in _notes(run, stage, verified)],
    }
    summary |= _with_weights(run) if run.config.has_weights else _without(run, verified)
    if run.config.accuracy is not None:
        summary["accuracy"] = open_source(run.config.accuracy, run.space).describe()
    write_json(run.folder / "summary.json", summary)
    return summary


def _notes(run: Run, stage: str, verified: dict[str, Any]) -> list[str]:
    if stage == "verify":
        return list(verified.get("notes", []))
    return [why] if (why := run.lacks(stage)) else run.result(stage)["notes"]


def _with_weights(run: Run) -> dict[str, Any]:
    trained = run.result("train")
    exported = run.result("export")
    return (
        {
            "dataset": data_record(run.folder).name,
            "supernet": {key: trained[key] for key in ("params", "train_seconds", "images_per_second")},
            "chosen": exported["chosen"],
        }
        | ({"int8": exported["int8"]} if exported.get("int8") else {})
        | _finetuned(run)
    )


def _finetuned(run: Run) -> dict[str, Any]:
    if run.lacks("finetune") is not None:
        return {}
    result = run.result("finetune")
    return {"finetune": {key: result.get(key) for key in TOLD}}


def _without(run: Run, verified: dict[str, Any]) -> dict[str, Any]:
    """Of a run that ends with its front."""
    assert run.config.accuracy is not None
    nothing = {"test_top1": None, "onnx": None, "bundle": None}
    source = open_source(run.config.accuracy, run.space)
    return {
        "dataset": source.dataset,
        "num_classes": source.num_classes,
        "chosen": {
            "arch": verified["chosen"],
            "val_top1": verified["val_top1"],
            "latency": {},
            "verdict": None,
            **nothing,
        },
    }
