"""The source of a run's accuracies, the subnets of its supernet, and the ledger of scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgenas.accuracy.scores import AccuracySource
from edgenas.accuracy.subnets import Subnets
from edgenas.accuracy.supernet_accuracy import SupernetAccuracy
from edgenas.records.ledger import Ledger
from edgenas.records.paths import EVALUATIONS
from edgenas.records.search import EvaluationRow
from edgenas.records.train import TrainRecord
from edgenas.runs.run import Run, open_run
from edgenas.stages.weights.run_supernet import trained_supernet

SUBNETS = "supernet/statistics"


def run_subnets(run: Run) -> Subnets:
    """Return subnets of a run's trained supernet, recalibrated as its config states.

    Raises:
        RunFolderError: the run is not trained.
    """
    net, weights = trained_supernet(run), run.result(TrainRecord).weights
    return Subnets(run.folder / SUBNETS, net, run.images.calibration, weights=weights, data=run.images.digest)


def run_source(run: Run) -> AccuracySource:
    """Return the source of a run's accuracies: the one that its config names, or its trained supernet.

    Raises:
        RunFolderError: the run has a supernet, and is not trained.
    """
    if run.accuracy is not None:
        return run.accuracy
    subnets, images = run_subnets(run), run.images
    reopen = _Reopened(run.folder.resolve(), subnets.weights)
    return SupernetAccuracy(images.dataset.name, subnets, images.scoring, run.config.search.workers, reopen)


def evaluation_ledger(run: Run) -> Ledger[EvaluationRow]:
    """Return the ledger of every evaluation of a run."""
    path = run.folder / EVALUATIONS
    return Ledger(path, EvaluationRow, run.space, "delete that line; the subnet is scored again")


@dataclass(frozen=True)
class _Reopened:
    """Opens a run's supernet in another process.

    Attributes:
        folder: the run folder.
        weights: digest of the weights; other weights are opened again.
    """

    folder: Path
    weights: str

    def __call__(self) -> SupernetAccuracy:
        source = run_source(open_run(self.folder))
        assert isinstance(source, SupernetAccuracy)
        return source
