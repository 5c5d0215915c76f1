"""Stage search: archs of low error and low latency within every budget."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgenas.files import append_jsonl
from edgenas.pipeline.accuracy import open_source
from edgenas.pipeline.budgets import Limits, run_limits
from edgenas.pipeline.data import calibration_pictures, run_classes, run_dataset, scoring_split
from edgenas.pipeline.refit import refits
from edgenas.pipeline.results import read_evaluations
from edgenas.pipeline.run import Progress, Run
from edgenas.pipeline.scoring import Scorer, SourceScorer
from edgenas.pipeline.train import trained_supernet
from edgenas.search.loop import optimise
from edgenas.search.objectives import Objective, as_constraints, as_evaluate
from edgenas.space.arch import Arch
from edgenas.space.design import covering
from edgenas.supernet.supernet import SuperNet
from edgenas.training import checkpoint
from edgenas.training.data import Dataset
from edgenas.training.evaluate import materialise, top1


class SupernetScorer:
    """Validation error of archs; every one is appended to a file, and read from it if it stands there."""

    def __init__(self, run: Run, net: SuperNet, dataset: Dataset, limits: Limits, progress: Progress):
        self.calibration = calibration_pictures(run, dataset)
        self.validation = scoring_split(run, dataset)
        self.net, self.limits = net, limits
        self.progress, self.wanted, self.asked = progress, run.config.search.evaluations, 0
        self.path = evaluations_path(run)
        # Rows of other weights, which a supernet trained anew leaves behind, say nothing about these.
        self.weights = checkpoint.digest(run.result_path("train").parent)
        rows = [row for row in read_evaluations(self.path, run.space) if row["weights"] == self.weights]
        self.known = {row["arch"]: float(row["error"]) for row in rows}
        self.seconds = sum(float(row["seconds"]) for row in rows)

    def top1(self, arch: Arch) -> float:
        """Validation top-1 of one arch, on the run's validation pictures."""
        return top1(materialise(self.net, arch, self.calibration), self.validation)

    def __call__(self, archs: Sequence[Arch]) -> npt.NDArray[np.float64]:
        """Validation errors (1 - top-1), shape (n,)."""
        for arch in archs:
            if arch.id not in self.known:
                self._score(arch)
            self.asked += 1
            self.progress("searching", self.asked, self.wanted)
        return np.array([self.known[arch.id] for arch in archs])

    def _score(self, arch: Arch) -> None:
        started = time.monotonic()
        error = 1 - self.top1(arch)
        latency = {name: float(p.predict([arch])[0]) for name, p in self.limits.predictors.items()}
        seconds = time.monotonic() - started
        row = {"arch": arch.id, "error": error, "latency_us": latency, "weights": self.weights, "seconds": seconds}
        append_jsonl(self.path, row)
        self.known[arch.id] = error
        self.seconds += seconds


def run_scorer(run: Run, limits: Limits, progress: Progress, *, keep: bool = True) -> Scorer:
    """What scores the run's archs: its supernet, or what the config names instead, which need not be kept."""
    if run.config.accuracy is not None:
        source = open_source(run.config.accuracy, run.space)
        return SourceScorer(run, source, limits.predictors, evaluations_path(run) if keep else None, progress)
    dataset = run_dataset(run)
    return SupernetScorer(run, trained_supernet(run, dataset), dataset, limits, progress)


def evaluations_path(run: Run) -> Path:
    """Every evaluation, one row each."""
    return run.folder / "search" / "evaluations.jsonl"


def run_search(run: Run, progress: Progress) -> None:
    """Search the run's space; again where predictors were refitted since. What was scored is not scored again."""
    if run.done("search") and run.result("search").get("refits", 0) == refits(run):
        return
    config, space = run.config.search, run.space
    limits = run_limits(run, run_classes(run))
    scorer = run_scorer(run, limits, progress)
    latencies = [Objective(f"latency_us@{name}", "us", p.predict) for name, p in limits.predictors.items()]
    result = optimise(
        space.n_choices,
        as_evaluate(space, (Objective("error", "fraction", scorer), *latencies)),
        constraints=as_constraints(space, limits.as_search_limits()),
        strategy=config.strategy,
        evaluations=config.evaluations,
        population=config.population,
        seed=run.config.seed,
        initial=space.encode(covering(space, config.population, run.config.seed)),
        repair=space.canonical,
    )
    order = result.front[np.argsort(result.objectives[result.front, 1])]
    run.finish(
        "search",
        {
            "strategy": config.strategy,
            "refits": refits(run),
            "evaluations": len(result.genes),
            "seconds": scorer.seconds,
            "hypervolume": float(result.hypervolume[-1]),
            "reference_point": result.reference_point.tolist(),
            "hypervolume_by_batch": result.hypervolume.tolist(),
            "evaluations_by_batch": result.evaluations_by_batch.tolist(),
            "budgets": [{**budget.model_dump(), "unit": budget.unit} for budget in limits.budgets],
            "front": [
                {"arch": arch.id, "val_top1": 1 - float(error)}
                for arch, error in zip(space.decode(result.genes[order]), result.objectives[order, 0], strict=True)
            ],
        },
    )
