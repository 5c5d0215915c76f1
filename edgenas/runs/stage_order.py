"""The stages of a run: their order, the record that each leaves, and why a config leaves some out."""

from __future__ import annotations

from edgenas.config.run_config import RunConfig
from edgenas.records.export import ExportRecord
from edgenas.records.finetune import FinetuneRecord
from edgenas.records.profile import ProfileRecord
from edgenas.records.record import Record
from edgenas.records.search import SearchRecord
from edgenas.records.train import TrainRecord
from edgenas.records.verify import VerifyRecord

ORDER = ("profile", "train", "search", "verify", "finetune", "export", "report")
STAGES = tuple(stage for stage in ORDER if stage != "finetune")
"""All but what a config may leave out; that finds its place by `ORDER`."""
RECORDS: dict[str, type[Record]] = {
    "profile": ProfileRecord,
    "train": TrainRecord,
    "search": SearchRecord,
    "verify": VerifyRecord,
    "finetune": FinetuneRecord,
    "export": ExportRecord,
}
"""The record that each stage leaves in its result file."""
STAGE_OF = {kind: stage for stage, kind in RECORDS.items()}
WEIGHTLESS = {
    "train": "nothing is trained: accuracies come from a source (accuracy in the config)",
    "finetune": "nothing is fine-tuned: the run has accuracies but no weights",
    "export": (
        "no ONNX file was written, because the run has accuracies but no weights. A new run exports the chosen "
        "network where the config names both a supernet of this space (train: {init: …}) and images of its classes "
        "(data: …), which recalibrate batch norm and prove the file"
    ),
}
"""Stages that take weights, and why a run without any passes them over."""


def reason_to_skip(config: RunConfig, stage: str) -> str | None:
    """Return why a stage cannot be run with a config, and what it needs; None where it can."""
    if config.num_classes is not None and stage != "profile":
        return f"{stage} needs more than num_classes: data and train, or accuracy. This config only profiles"
    if not config.has_weights and stage in WEIGHTLESS:
        return WEIGHTLESS[stage]
    if stage == "finetune" and not config.finetunes:
        why = "null, with no train.epochs" if config.finetune.epochs is None else "0"
        return f"nothing is fine-tuned (finetune.epochs is {why}): `edgenas finetune RUN --epochs 5` asks for it"
    return None
