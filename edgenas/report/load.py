"""Read the records of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from edgenas.config.reading import stored_config
from edgenas.config.run_config import RunConfig
from edgenas.errors import RunFolderError
from edgenas.records.baselines import BaselinesRecord
from edgenas.records.export import HindsightRecord
from edgenas.records.finetune import HalvingRecord
from edgenas.records.folder import DataRecord, StageCostRow, SummaryRecord
from edgenas.records.ledger import Ledger
from edgenas.records.paths import (
    BASELINES,
    COSTS,
    DATA,
    EVALUATIONS,
    GRAPH_VARIANT,
    HALVING,
    HINDSIGHT,
    RANKING,
    RESULTS,
    ROUNDS,
    SHELF,
    SUMMARY,
    UNDERSTANDING,
)
from edgenas.records.profile import PredictorScore, TableMeta, VariantRecord
from edgenas.records.ranking import RankingRecord
from edgenas.records.record import Record
from edgenas.records.search import EvaluationRow, RoundRow, SearchRecord
from edgenas.records.shelf import ShelfRecord
from edgenas.records.train import StepRow, TrainRecord, ValidationRow
from edgenas.records.verify import UnderstandingRecord
from edgenas.report.shelf_findings import ShelfFacts
from edgenas.report.values import BundleFacts, FinishedRun, ImageFacts

MODEL = "model.onnx"
AnyRecord = TypeVar("AnyRecord", bound=Record)
LoggedRow = TypeVar("LoggedRow", StepRow, ValidationRow)


def load_run(folder: Path) -> FinishedRun:
    """Read a run folder whose stages are done.

    Raises:
        RunFolderError: a stage's file is missing or damaged; the message names the command that writes it.
    """
    if not folder.is_dir():
        raise RunFolderError(f"run folder {folder} does not exist: `edgenas run CONFIG.yaml` makes one")
    summary = _read(SummaryRecord, folder, SUMMARY, "export")
    if not summary.devices:
        raise RunFolderError(f"{folder / SUMMARY} names no device: `edgenas profile {folder}` measures one")
    config = stored_config(_need(folder, "config.yaml", "train"))
    bundle = _bundle(folder, summary)
    return FinishedRun(
        folder=folder,
        config=config,
        images=_images(folder, summary, config),
        steps=_training(StepRow, summary, folder),
        validations=_training(ValidationRow, summary, folder),
        # Predictors that were fitted on a table of blocks alone have no score.
        scores={
            device: _read(PredictorScore, folder, f"latency/{device}/score.json", "profile")
            for device, score in summary.predictors.items()
            if score
        },
        tables={device: _meta(folder, device) for device in summary.devices},
        evaluations=_rows(EvaluationRow, folder, EVALUATIONS, "search"),
        search=_read(SearchRecord, folder, RESULTS["search"], "search"),
        summary=summary,
        fits=_rows(RoundRow, folder, ROUNDS),
        understanding=_if_there(UnderstandingRecord, folder, UNDERSTANDING, "verify"),
        graph_variants=_if_there(VariantRecord, folder, GRAPH_VARIANT, "profile"),
        bundle=bundle,
        hindsight=_hindsight(folder, summary),
        ranking=_ranking(folder),
        baselines=_baselines(folder, summary, bundle),
        costs=_rows(StageCostRow, folder, COSTS),
        shelf=_shelf(folder),
    )


def _training(kind: type[LoggedRow], summary: SummaryRecord, folder: Path) -> tuple[LoggedRow, ...]:
    """Return the last row of every step: after a kill, steps since the last checkpoint are logged twice.

    There are none where the weights were made elsewhere.
    """
    if summary.accuracy is not None:
        return ()
    path = _need(folder, "supernet/training.jsonl", "train")
    last = Ledger(path, kind).last(lambda row: row.step)
    return tuple(last[step] for step in sorted(last))


def _images(folder: Path, summary: SummaryRecord, config: RunConfig) -> ImageFacts:
    if summary.supernet is None:
        return ImageFacts(summary.dataset, summary.num_classes or 0)
    data = _read(DataRecord, folder, DATA, "train")
    limits = {"validation": config.search.validation_images}
    scored = {split: min(count, limits.get(split) or count) for split, count in data.counts.items()}
    return ImageFacts(data.name, data.num_classes, data.classes, data.counts, scored)


def _bundle(folder: Path, summary: SummaryRecord) -> BundleFacts | None:
    name = f"{summary.chosen.bundle}/manifest.json"
    return None if summary.chosen.bundle is None else _if_there(BundleFacts, folder, name, "export")


def _hindsight(folder: Path, summary: SummaryRecord) -> HindsightRecord | None:
    """Return the record of this choice; None where a stage was repeated since."""
    hindsight = _if_there(HindsightRecord, folder, HINDSIGHT, "export")
    return hindsight if hindsight and hindsight.chosen == summary.chosen.arch else None


def _ranking(folder: Path) -> RankingRecord | None:
    """Return the study of these weights; None where the supernet was trained again since."""
    ranking, trained = _if_there(RankingRecord, folder, RANKING, "study ranking"), folder / RESULTS["train"]
    weights = _read(TrainRecord, folder, RESULTS["train"], "train").weights if trained.exists() else None
    return ranking if ranking and ranking.weights == weights else None


def _baselines(folder: Path, summary: SummaryRecord, bundle: BundleFacts | None) -> BaselinesRecord | None:
    """Return the study of this network and file; None where a stage was repeated since."""
    baselines = _if_there(BaselinesRecord, folder, BASELINES, "study baselines")
    if baselines is None or baselines.edgenas.network != summary.chosen.arch.id:
        return None
    bundled = None if bundle is None else bundle.files.get(MODEL)
    return baselines if bundled in (None, baselines.model_sha256) else None


def _shelf(folder: Path) -> ShelfFacts | None:
    """Return the networks of the shelf, with the accuracies of those that were fine-tuned side by side."""
    record = _if_there(ShelfRecord, folder, SHELF, "verify")
    halving = _if_there(HalvingRecord, folder, HALVING, "finetune")
    top1 = {score.arch: score.val_top1 for score in halving.order} if halving else {}
    return None if record is None else ShelfFacts(record, top1)


def _need(folder: Path, name: str, stage: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise RunFolderError(f"{folder} holds no {name}: {_remedy(stage, folder)}")
    return path


def _remedy(stage: str, folder: Path) -> str:
    """Return how to make a stage's files again, as an imperative clause."""
    # A stage with a result counts as finished and is skipped; studies have none.
    finished = stage in RESULTS and (folder / RESULTS[stage]).exists()
    return f"{f'delete {folder / RESULTS[stage]} and ' if finished else ''}run `edgenas {stage} {folder}`"


def _read(kind: type[AnyRecord], folder: Path, name: str, stage: str) -> AnyRecord:
    return kind.read(_need(folder, name, stage), _remedy(stage, folder))


def _if_there(kind: type[AnyRecord], folder: Path, name: str, stage: str) -> AnyRecord | None:
    return _read(kind, folder, name, stage) if (folder / name).exists() else None


def _rows(kind: type[AnyRecord], folder: Path, name: str, stage: str | None = None) -> tuple[AnyRecord, ...]:
    """Return the rows of a ledger, which must exist where a stage is named."""
    return Ledger(folder / name if stage is None else _need(folder, name, stage), kind).rows()


def _meta(folder: Path, device: str) -> TableMeta:
    return _if_there(TableMeta, folder, f"latency/{device}/meta.json", "profile") or TableMeta()
