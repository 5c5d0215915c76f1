"""Compare search strategies on a run's objectives and budgets, by evaluations and by seconds."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgenas.accuracy.scorer import Scorer
from edgenas.accuracy.scores import AccuracySource
from edgenas.budget import Budget
from edgenas.errors import ConfigError
from edgenas.files import prove_writable
from edgenas.objective import Objective
from edgenas.progress import Progress
from edgenas.records.ledger import Ledger
from edgenas.records.strategies import StrategiesRecord, TrialRow
from edgenas.report.study_charts import strategies_image
from edgenas.runs.lock import locked
from edgenas.runs.run import Run
from edgenas.search.loop import optimise
from edgenas.search.objective_functions import as_constraints, as_evaluate
from edgenas.search.result import SearchResult
from edgenas.search.strategies.by_name import strategy_class
from edgenas.search.strategies.protocol import Floats, Genes
from edgenas.search.strategy_comparison import new_points, summarise
from edgenas.space.arch import Arch
from edgenas.space.covering_samples import covering
from edgenas.stages.budgets.limits import Limits, run_limits
from edgenas.stages.devices.device_latencies import read_latencies
from edgenas.stages.front.search import objective_functions
from edgenas.stages.weights.run_accuracy import evaluation_ledger, run_source

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
        RunFolderError: a stage is missing (its command is named), the row of a trial is damaged, or another process
            holds the folder.
    """
    settings.check()
    folder = run.folder / FOLDER
    ledger = Ledger(folder / TRIALS, TrialRow, remedy="delete that line; the trial is run again")
    prove_writable(ledger.path)
    with locked(run.folder):
        limits, objectives, source = run_limits(run), run.objectives, run_source(run)
        problem = _problem_id(source, read_latencies(run).refits, limits.budgets, objectives)
        # Scores that cost next to nothing would only fill the file.
        scores = evaluation_ledger(run) if source.costly else None
        saved = ledger.last(lambda row: row.key)
        seeds = range(run.config.seed, run.config.seed + settings.seeds)
        keys = [(problem, settings.evaluations, name, seed) for seed in seeds for name in settings.strategies]
        for number, key in enumerate(keys):
            progress("comparing strategies", number, len(keys))
            if key not in saved:
                scorer = Scorer(source, scores, limits.predictors, lambda done: None)
                saved[key] = _trial(scorer, limits, objectives, settings.population, *key)
                ledger.append(saved[key])
        progress("comparing strategies", len(keys), len(keys))
        trials = [saved[key] for key in sorted(keys, key=lambda key: settings.strategies.index(key[2]))]
        record = summarise(trials, [objective.key for objective in objectives])
        record.write(folder / RESULT)
        strategies_image(record).write(folder / FIGURE)
    return record


def _trial(
    scorer: Scorer,
    limits: Limits,
    objectives: Sequence[Objective],
    population: int,
    problem: str,
    evaluations: int,
    strategy: str,
    seed: int,
) -> TrialRow:
    space, spent = limits.space, 0.0
    functions = objective_functions(objectives, limits, scorer)
    computed = functions[sum(objective.scored for objective in objectives) :]
    evaluate_all = as_evaluate(space, functions)

    def evaluate(genes: Genes) -> Floats:
        nonlocal spent
        began = time.perf_counter()
        values = evaluate_all(genes)
        spent += time.perf_counter() - began
        return values

    began, clock = time.perf_counter(), []
    result = optimise(
        space.n_choices,
        evaluate,
        constraints=as_constraints(space, limits.as_search_limits()),
        strategy=strategy,
        evaluations=evaluations,
        population=population,
        seed=seed,
        initial=space.encode(covering(space, population, seed)),
        repair=space.canonical,
        exact=as_evaluate(space, computed) if computed else None,
        callback=lambda _: clock.append((time.perf_counter() - began - spent, spent)),
    )
    searching, evaluating = np.array(clock).T
    if scorer.source.costly:
        evaluating = _first_seconds(scorer, space.decode(result.genes), result)
    return TrialRow(
        problem=problem,
        asked=evaluations,
        strategy=strategy,
        seed=seed,
        evaluations=tuple(result.evaluations_by_batch.tolist()),
        seconds=tuple((searching + evaluating).tolist()),
        points=new_points(result),
        origins=dict(result.origins),
    )


def _first_seconds(scorer: Scorer, archs: Sequence[Arch], result: SearchResult) -> Floats:
    """Return cumulative seconds of the first evaluations by batch, since most scores are read from a file now."""
    seconds = [scorer.scores[arch].seconds for arch in archs]
    return np.cumsum(np.bincount(result.batches, seconds, minlength=len(result.hypervolume)))


def _problem_id(source: AccuracySource, refits: int, budgets: Sequence[Budget], objectives: Sequence[Objective]) -> str:
    """Return a digest of the source, the predictors and the budgets, which compared trials must share."""
    parts = [source.setting.weights, refits, *budgets, *objectives]
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]
