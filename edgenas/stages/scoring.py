"""The scorer of a run's architectures."""

from __future__ import annotations

from edgenas.accuracy.source import open_source
from edgenas.progress import Progress
from edgenas.runs.run import Run
from edgenas.stages.limits import Limits
from edgenas.stages.run_subnets import run_subnets
from edgenas.stages.source_scores import SourceScorer
from edgenas.stages.supernet_scores import Scorer, SupernetScorer, evaluation_ledger


def run_scorer(run: Run, limits: Limits, progress: Progress, *, keep: bool = True) -> Scorer:
    """Return the scorer of the run's architectures: its supernet, or the source of accuracies that the config names.

    Args:
        run: trained, where it has a supernet.
        limits: limits of the run, whose predictors give latencies.
        progress: called with the current step, steps done and in all.
        keep: whether scores of a source are appended to search/evaluations.jsonl; those of a supernet always are.
    """
    if run.config.accuracy is not None:
        source = open_source(run.config.accuracy, run.space)
        return SourceScorer(run, source, limits.predictors, evaluation_ledger(run) if keep else None, progress)
    return SupernetScorer(run, run_subnets(run), limits, progress)
