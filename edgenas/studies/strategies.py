"""Several strategies on a run's own objectives and budgets: what each finds for how many evaluations and seconds."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from edgenas.errors import ConfigError
from edgenas.files import append_jsonl, prove_writable, read_jsonl, write_json
from edgenas.report.study_charts import strategies_image
from edgenas.runs.folder import Progress, Run
from edgenas.runs.lock import locked
from edgenas.runs.results import read_evaluations
from edgenas.runs.run_data import run_classes
from edgenas.search.loop import optimise
from edgenas.search.objective_functions import as_constraints, as_evaluate
from edgenas.search.result import SearchResult
from edgenas.search.strategies.by_name import strategy_class
from edgenas.search.strategies.protocol import Floats, Genes
from edgenas.search.strategy_comparison import Trial, summarise
from edgenas.space.covering_samples import covering
from edgenas.stages.limits import Limits, run_limits
from edgenas.stages.refit import refits
from edgenas.stages.run_objectives import objective_functions, run_objectives
from edgenas.stages.search import run_scorer
from edgenas.stages.supernet_scores import evaluations_path

FOLDER = "race"
BATCHES, MOST_IN_BATCH = 20, 100
TRIALS, RESULT, FIGURE = "trials.jsonl", "race.json", "race.png"


@dataclass(frozen=True)
class Race:
    """What is raced.

    Attributes:
        strategies: by name.
        seeds: how many, beginning with the run's own.
        evaluations: of each trial.
    """

    strategies: tuple[str, ...]
    seeds: int
    evaluations: int

    @property
    def population(self) -> int:
        """Of a batch, and of the first archs, which all strategies begin with."""
        return int(np.clip(self.evaluations // BATCHES, 2, MOST_IN_BATCH))

    def check(self) -> None:
        """Refuse what cannot be raced.

        Raises:
            ConfigError: an unknown strategy, one named twice, or a number out of range.
        """
        for name in self.strategies:
            strategy_class(name)
        repeated = sorted({name for name in self.strategies if self.strategies.count(name) > 1})
        if repeated or not self.strategies:
            raise ConfigError(f"--strategies: wanted each once, got {', '.join(repeated) or 'none'}")
        for name, value, least in (("--seeds", self.seeds, 1), ("--evaluations", self.evaluations, 2)):
            if value < least:
                raise ConfigError(f"{name}: wanted at least {least}, got {value}")


def run_race(run: Run, race: Race, progress: Progress) -> dict[str, Any]:
    """Race on a run that is profiled and, where it has a supernet, trained; trials that stand in its folder are kept.

    What the run's scorer told before is not asked again; a trial's seconds count what it took the first time. The
    summary, and a figure of it, are written beside the trials.

    Raises:
        ConfigError: see `Race.check`.
        RunFolderError: a stage is missing (its command is named), or another process holds the folder.
    """
    race.check()
    folder = run.folder / FOLDER
    prove_writable(folder / TRIALS)
    with locked(run.folder):
        limits = run_limits(run, run_classes(run))
        problem = _problem_id(run, limits)
        wanted = [(seed, name) for seed in range(race.seeds) for name in race.strategies]
        for number, (seed, name) in enumerate(wanted):
            progress("racing", number, len(wanted))
            if not _kept(folder / TRIALS, problem, race, name, run.config.seed + seed):
                row = {"problem": problem, "wanted": race.evaluations}
                trial = _trial(run, limits, race, name, run.config.seed + seed)
                append_jsonl(folder / TRIALS, {**row, **asdict(trial)})
        progress("racing", len(wanted), len(wanted))
        seeds = [run.config.seed + seed for seed in range(race.seeds)]
        trials = [t for name in race.strategies for s in seeds for t in _kept(folder / TRIALS, problem, race, name, s)]
        found = {
            "objectives": [name.key for name in run_objectives(run)],
            "wanted": race.evaluations,
            **summarise(trials),
        }
        write_json(folder / RESULT, found)
        strategies_image(found).write(folder / FIGURE)
    return found


def _trial(run: Run, limits: Limits, race: Race, strategy: str, seed: int) -> Trial:
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
        evaluations=race.evaluations,
        population=race.population,
        seed=seed,
        initial=space.encode(covering(space, race.population, seed)),
        repair=space.canonical,
        exact=as_evaluate(space, computed) if computed else None,
        callback=lambda _: clock.append((time.perf_counter() - began - spent, spent)),
    )
    own, evaluating = np.array(clock).T
    if run.config.accuracy is None:
        evaluating = _first_seconds(run, result)
    return Trial.of(strategy, seed, result, own + evaluating)


def _first_seconds(run: Run, result: SearchResult) -> Floats:
    """What evaluating took when it was done first, summed up to each batch: most of it now stands in a file."""
    rows = read_evaluations(evaluations_path(run), run.space)
    took = {row["arch"]: float(row["seconds"]) for row in rows}
    scored = [took[arch.id] for arch in run.space.decode(result.genes)]
    return np.cumsum(np.bincount(result.batches, scored, minlength=len(result.hypervolume)))


def _problem_id(run: Run, limits: Limits) -> str:
    """What trials must share to be compared: what scores, the predictors, the budgets."""
    weights = run.result("train")["weights"] if run.config.accuracy is None else run.config.accuracy.model_dump_json()
    said = [weights, str(refits(run)), *map(str, limits.budgets), *map(str, run_objectives(run))]
    return hashlib.sha256("\n".join(map(str, said)).encode()).hexdigest()[:16]


def _kept(path: Path, problem: str, race: Race, strategy: str, seed: int) -> list[Trial]:
    """The trial that was run before, if any."""
    wanted = {"problem": problem, "wanted": race.evaluations, "strategy": strategy, "seed": seed}
    for row in read_jsonl(path):
        if wanted.items() <= row.items():
            try:
                return [TypeAdapter(Trial).validate_python(row)]
            except ValidationError:
                # Damaged: it is run again.
                continue
    return []
