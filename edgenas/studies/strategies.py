"""Compare search strategies on a run's objectives and budgets, by evaluations and by seconds."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from edgenas.errors import ConfigError
from edgenas.files import append_jsonl, prove_writable, read_jsonl
from edgenas.progress import Progress
from edgenas.records.studies import StrategiesRecord
from edgenas.records.train import TrainRecord
from edgenas.report.study_charts import strategies_image
from edgenas.runs.lock import locked
from edgenas.runs.run import Run
from edgenas.search.loop import optimise
from edgenas.search.objective_functions import as_constraints, as_evaluate
from edgenas.search.result import SearchResult
from edgenas.search.strategies.by_name import strategy_class
from edgenas.search.strategies.protocol import Floats, Genes
from edgenas.search.strategy_comparison import Trial, summarise
from edgenas.space.covering_samples import covering
from edgenas.stages.device_latencies import read_latencies
from edgenas.stages.limits import Limits, run_limits
from edgenas.stages.run_objectives import objective_functions, run_objectives
from edgenas.stages.scoring import run_scorer
from edgenas.stages.supernet_scores import evaluation_ledger

FOLDER = Path("study/strategies")
BATCHES, MAX_BATCH = 20, 100
TRIALS, RESULT, FIGURE = "trials.jsonl", "strategies.json", "strategies.png"


@dataclass(frozen=True)
class StrategySettings:
    """Settings of the comparison of strategies.

    Attributes:
        strategies: their names.
        seeds: number of seeds, from the run's seed on.
        evaluations: evaluations of each trial.
    """

    strategies: tuple[str, ...]
    seeds: int
    evaluations: int

    @property
    def population(self) -> int:
        """Return the size of a batch and of the initial population, which all strategies share."""
        return int(np.clip(self.evaluations // BATCHES, 2, MAX_BATCH))

    def check(self) -> None:
        """Check the settings.

        Raises:
            ConfigError: an unknown strategy, one named twice, or a number out of range.
        """
        for name in self.strategies:
            strategy_class(name)
        repeated = sorted({name for name in self.strategies if self.strategies.count(name) > 1})
        if repeated or not self.strategies:
            raise ConfigError(f"--strategies: expected each name once, got {', '.join(repeated) or 'none'}")
        for name, value, minimum in (("--seeds", self.seeds, 1), ("--evaluations", self.evaluations, 2)):
            if value < minimum:
                raise ConfigError(f"{name}: expected at least {minimum}, got {value}")


def run_strategies(run: Run, settings: StrategySettings, progress: Progress) -> StrategiesRecord:
    """Compare strategies on a run that is profiled and, if it has a supernet, trained; reuse the folder's trials.

    Scores that the run has are reused; the seconds of a trial count the time of their first evaluation. The summary and
    a figure are written beside the trials.

    Raises:
        ConfigError: see `StrategySettings.check`.
        RunFolderError: a stage is missing (its command is named), or another process holds the folder.
    """
    settings.check()
    folder = run.folder / FOLDER
    prove_writable(folder / TRIALS)
    with locked(run.folder):
        limits = run_limits(run, run.num_classes)
        problem = _problem_id(run, limits)
        trials_left = [(seed, name) for seed in range(settings.seeds) for name in settings.strategies]
        for number, (seed, name) in enumerate(trials_left):
            progress("comparing strategies", number, len(trials_left))
            if not _saved_trial(folder / TRIALS, problem, settings, name, run.config.seed + seed):
                row = {"problem": problem, "wanted": settings.evaluations}
                trial = _trial(run, limits, settings, name, run.config.seed + seed)
                append_jsonl(folder / TRIALS, {**row, **asdict(trial)})
        progress("comparing strategies", len(trials_left), len(trials_left))
        seeds = [run.config.seed + seed for seed in range(settings.seeds)]
        trials = [
            t
            for name in settings.strategies
            for s in seeds
            for t in _saved_trial(folder / TRIALS, problem, settings, name, s)
        ]
        result = summarise(trials, [name.key for name in run_objectives(run)], settings.evaluations)
        result.write(folder / RESULT)
        strategies_image(result).write(folder / FIGURE)
    return result


def _trial(run: Run, limits: Limits, settings: StrategySettings, strategy: str, seed: int) -> Trial:
    space, spent = run.space, 0.0
    scorer = run_scorer(run, limits, lambda label, done, total: None, keep=run.config.accuracy is None)
    objectives = objective_functions(run_objectives(run), limits, scorer)
    costly = as_evaluate(space, objectives)
    computed = objectives[sum(name.scored for name in run_objectives(run)) :]

    def evaluate(genes: Genes) -> Floats:
        nonlocal spent
        began = time.perf_counter()
        values = costly(genes)
        spent += time.perf_counter() - began
        return values

    began, clock = time.perf_counter(), []
    result = optimise(
        space.n_choices,
        evaluate,
        constraints=as_constraints(space, limits.as_search_limits()),
        strategy=strategy,
        evaluations=settings.evaluations,
        population=settings.population,
        seed=seed,
        initial=space.encode(covering(space, settings.population, seed)),
        repair=space.canonical,
        exact=as_evaluate(space, computed) if computed else None,
        callback=lambda _: clock.append((time.perf_counter() - began - spent, spent)),
    )
    searching, evaluating = np.array(clock).T
    if run.config.accuracy is None:
        evaluating = _first_seconds(run, result)
    return Trial.of(strategy, seed, result, searching + evaluating)


def _first_seconds(run: Run, result: SearchResult) -> Floats:
    """Return cumulative seconds of the first evaluations by batch, since most scores are read from a file now."""
    seconds = {row.arch: row.seconds for row in evaluation_ledger(run).rows()}
    scored = [seconds[arch] for arch in run.space.decode(result.genes)]
    return np.cumsum(np.bincount(result.batches, scored, minlength=len(result.hypervolume)))


def _problem_id(run: Run, limits: Limits) -> str:
    """Return a digest of the scorer, the predictors and the budgets, which compared trials must share."""
    weights = run.result(TrainRecord).weights if run.config.accuracy is None else run.config.accuracy.model_dump_json()
    parts = [weights, str(read_latencies(run).refits), *map(str, limits.budgets), *map(str, run_objectives(run))]
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


def _saved_trial(path: Path, problem: str, settings: StrategySettings, strategy: str, seed: int) -> list[Trial]:
    """Return the saved trial, if any."""
    key = {"problem": problem, "wanted": settings.evaluations, "strategy": strategy, "seed": seed}
    for row in read_jsonl(path):
        if key.items() <= row.items():
            try:
                return [TypeAdapter(Trial).validate_python(row)]
            except ValidationError:
                # A damaged row: the trial is run again.
                continue
    return []
