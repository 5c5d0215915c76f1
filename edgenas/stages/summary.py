"""summary.json: the results of a run in one file. Rates are fractions, times microseconds."""

from __future__ import annotations

from edgenas.records.export import ExportRecord, ShippedNetwork
from edgenas.records.finetune import FinetuneRecord, FinetuneSummary
from edgenas.records.folder import (
    Choice,
    SearchSummary,
    SummaryRecord,
    SupernetSummary,
)
from edgenas.records.profile import ProfileRecord
from edgenas.records.search import SearchRecord
from edgenas.records.train import TrainRecord
from edgenas.records.verify import VerifyRecord
from edgenas.runs.images import data_record
from edgenas.runs.run import Run
from edgenas.stages.tuning.shelf_gain import halving_summary


def summarise(run: Run) -> SummaryRecord:
    """Return the results of the finished stages.

    Raises:
        RunFolderError: a stage is not finished (its command is named), or its result is damaged.
    """
    config, source = run.config, run.accuracy
    search, verified = run.result(SearchRecord), run.result(VerifyRecord)
    exported = run.result(ExportRecord) if config.has_weights else None
    return SummaryRecord(
        name=config.name,
        seed=config.seed,
        space=run.space.name,
        space_id=run.space.structure_id,
        # Whole numbers of our files have 64 bits; spaces may be larger.
        space_size=run.space.size if run.space.size < 2**63 else float(run.space.size),
        dataset=source.dataset if source and not exported else data_record(run.folder).name,
        num_classes=source.num_classes if source and not exported else None,
        budgets=search.budgets,
        supernet=SupernetSummary.part_of(run.result(TrainRecord)) if exported else None,
        init=run.init,
        accuracy=source.summary() if source else None,
        predictors=run.result(ProfileRecord).predictors,
        search=SearchSummary.part_of(search),
        choice=Choice(by=verified.chosen_by, words=verified.chosen_as),
        comparison=verified.comparison,
        front=verified.front,
        first_predictions=verified.first_predictions,
        chosen=exported.chosen if exported else _first_candidate(verified),
        int8=exported.int8 if exported else None,
        finetune=None if run.lacks("finetune") else FinetuneSummary.part_of(run.result(FinetuneRecord)),
        halving=halving_summary(run, exported.gain) if exported else None,
        notes=(*verified.notes, *(exported.notes if exported else (str(run.lacks("export")),))),
    )


def _first_candidate(verified: VerifyRecord) -> ShippedNetwork:
    """Return the network that a run without weights ends with: it ships no file."""
    return ShippedNetwork(
        arch=verified.chosen,
        latency={},
        verdict=None,
        val_top1=verified.val_top1,
        test_top1=None,
        onnx=None,
        bundle=None,
    )
