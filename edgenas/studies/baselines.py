"""Was the search worth it: its network beside rivals of the same measured latency that were given the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgenas.files import prove_writable, write_csv, write_json
from edgenas.report.evidence_values import Worth as WorthValues
from edgenas.report.study_charts import baselines_image
from edgenas.runs.folder import Progress, Run
from edgenas.runs.lock import locked
from edgenas.runs.run_data import deployed_preprocess
from edgenas.runs.stage_costs import spent_on_results
from edgenas.stages.bundle_network import right_answers
from edgenas.statistics.baseline_comparison import Answers, Contender, summarise
from edgenas.statistics.crossover import Costs
from edgenas.studies.baseline_networks import Scale, Timer, rival_device, session_timer
from edgenas.studies.baseline_sizes import MOBILENET, RANDOM, Entry, Settled
from edgenas.studies.baseline_training import Contest, Worth, tuned
from edgenas.studies.worker_pool import check_jobs
from edgenas.training.checkpoint import file_digest
from edgenas.training.recipe import takes_pool

RESULT, TABLE, FIGURE = "worth.json", "worth.csv", "worth.png"
CHARGED = ("profile", "verify", "export")
"""Stages whose seconds are charged beside training, search and fine-tuning; `costs.jsonl` has them."""
FIGURES = ("once_seconds", "per_budget_seconds", "alone_seconds", "alone_range_seconds", "budgets")
NO_COSTS: dict[str, Any] = {**dict.fromkeys(FIGURES), "verdict": "unknown", "table": []}
"""Of a run whose costs are not all known: what is missing is not taken for zero."""


def run_worth(
    run: Run, worth: Worth, progress: Progress, *, timer: Timer | None = None, jobs: int = 1
) -> dict[str, Any]:
    """Compare a finished run's network with its rivals; what its folder holds of this very comparison is kept.

    MobileNetV3-Small is scaled in width and resolution to the chosen network's measured latency, or left out where it
    has that at no scale, and trained for the whole time. Random search draws networks of
    the run's space that are as fast and trains as many as the time holds, each for at least as many epochs as the
    chosen network had, in the supernet and in fine-tuning together; validation chooses. A seed for which no other
    network of the space is as fast has no random search. Time is counted in steps, at the clock that fine-tuning had,
    if there was any. Test images are looked at for the networks that are left, when all are trained.

    Args:
        run: exported.
        worth: what is compared.
        progress: called with what is being done, steps done and in all.
        timer: instead of the run's own device.
        jobs: networks that are trained at a time, a process each. Steps are fixed before, when nothing else runs: what
            they take longer beside each other is given to the rivals.

    Returns:
        What `worth/worth.json` holds: rates are fractions.

    Raises:
        ConfigError: see `Worth.check` and `check_jobs`; or the run has no supernet of its own, no device that fits, or
            took its time with another number of threads.
        RunFolderError: a stage is missing, or another process holds the folder.
    """
    check_jobs(jobs)
    contest = Contest.of(run, worth)
    prove_writable(contest.folder / RESULT)
    with locked(run.folder):
        timer = timer or session_timer(run, rival_device(run), contest.folder, progress)
        settled = contest.settled(timer, progress)
        contest.train_all(contest.entries(settled), jobs, progress)
        found = _summary(contest, settled, _judged(contest, settled, timer))
        write_json(contest.folder / RESULT, found)
        rows = _table_rows(found)
        write_csv(contest.folder / TABLE, list(rows[0]), rows)
        baselines_image(WorthValues.model_validate(found)).write(contest.folder / FIGURE)
    return found


def worth_told(run: Run, worth: Worth, jobs: int = 1) -> tuple[list[str], float]:
    """What `run_worth` has yet to do and about how long it takes, in lines; and the seconds, by the clock.

    Raises:
        ConfigError: see `run_worth`.
    """
    check_jobs(jobs)
    contest = Contest.of(run, worth)
    known = contest.known()
    seconds = contest.seconds * contest.share_left(known) / jobs
    said = ", ".join(f"{name.replace('_', '-')} {took / 60:.1f}" for name, took in contest.spent.items())
    return [
        f"{MOBILENET} and {RANDOM}, {worth.seeds} seeds each, as fast as {contest.arch.id} on {rival_device(run).name}",
        f"each has {contest.seconds / 60:.1f} minutes a seed; edgenas took (minutes): {said}",
        *([known.told()] if known else []),
        f"about {seconds / 60:.1f} minutes in all, beside timing and scoring; stopped at any moment, the same command "
        "goes on",
    ], seconds


@dataclass(frozen=True)
class _Judged:
    """The run's network and its rivals, timed in one sitting and held against test images.

    Attributes:
        own: the run's network.
        rivals: the best network of each seed by validation, by rival.
        own_right: whether the run's network gives each test image its label, (n,).
        right: likewise, (seeds, n), by rival.
    """

    own: Contender
    rivals: dict[str, list[Contender]]
    own_right: Answers
    right: dict[str, Answers]


def _judged(contest: Contest, settled: Settled, timer: Timer) -> _Judged:
    rows, model = contest.rows(), _fp32_model(contest.run)
    tried: dict[tuple[str, int], list[Entry]] = {}
    for entry in contest.entries(settled):
        tried.setdefault((entry.rival, entry.seed), []).append(entry)
    best = {key: max(e, key=lambda entry: float(rows[entry.place]["val_top1"])) for key, e in tried.items()}
    models = {f"{rival}-{seed}": contest.model(entry) for (rival, seed), entry in best.items()}
    # All that are judged, side by side: what was measured to size them was of random weights.
    p50_us = timer({"edgenas": model, **models}, "judging")
    rivals, right = dict[str, list[Contender]](), dict[str, list[Answers]]()
    for (rival, seed), entry in best.items():
        answers = _right(contest, contest.model(entry), _resolution(entry))
        right.setdefault(rival, []).append(answers)
        known = [rows[one.place] for one in tried[rival, seed]]
        judged = _contender(entry, known, p50_us[f"{rival}-{seed}"], float(answers.mean()))
        rivals.setdefault(rival, []).append(judged)
    return _Judged(
        _own(contest, p50_us["edgenas"]),
        rivals,
        _right(contest, model, contest.arch.resolution),
        {rival: np.array(answers) for rival, answers in right.items()},
    )


def _summary(contest: Contest, settled: Settled, judged: _Judged) -> dict[str, Any]:
    lone = contest.lone
    return {
        "dataset": lone.dataset,
        "model_sha256": file_digest(_fp32_model(contest.run)),
        "supernet_from": lone.supernet_from,
        "recipe": lone.config.recipe,
        "finetune": tuned(contest.run),
        "threads": torch.get_num_threads(),
        "space": contest.run.space.name,
        "device": rival_device(contest.run).name,
        "training_images": len(lone.train),
        "test_images": len(contest.dataset.test),
        "seconds": {**contest.spent, "total": sum(contest.spent.values()), "each_rival": contest.seconds},
        "steps": _steps(contest, settled),
        "left_out": settled.left_out,
        **summarise(judged.own, judged.rivals, judged.own_right, judged.right),
        "crossover": _crossover(contest, settled),
    }


def _steps(contest: Contest, settled: Settled) -> dict[str, dict[str, int]]:
    """Of each network, by rival and seed."""
    found: dict[str, dict[str, int]] = {}
    for entry in contest.entries(settled):
        found.setdefault(entry.rival, {})[str(entry.seed)] = entry.steps
    return found


CHARGED = ("profile", "verify", "export")
"""Stages whose seconds are charged beside training, search and fine-tuning; `costs.jsonl` has them."""


def _crossover(contest: Contest, settled: Settled) -> dict[str, Any]:
    """Return from how many budgets on the supernet pays, the seconds it follows from, and what was charged."""
    known = spent_on_results(contest.run.folder)
    charged = {stage: known[stage] for stage in CHARGED if stage in known}
    missing = [stage for stage in CHARGED if stage not in charged]
    if missing:
        reason = f"costs.jsonl lacks the seconds of {', '.join(missing)}"
        return {**NO_COSTS, "reason": reason, "charged_seconds": charged}
    return {**_costs(contest, settled, charged).to_json(), "charged_seconds": charged}


def _costs(contest: Contest, settled: Settled, charged: Mapping[str, float]) -> Costs:
    """Return the costs of one supernet for all budgets, and of a network trained alone for each.

    A network trained alone is the chosen one, for as many epochs as that had in all. It is given its architecture, so
    profiling and verification are charged to the supernet alone; it must be exported as well.
    """
    spent, export = contest.spent, charged["export"]
    steps, times = settled.epoch_steps, settled.step_times
    return Costs(
        once=spent["supernet"] + charged["profile"],
        per_budget=spent["search"] + spent["fine_tuning"] + charged["verify"] + export,
        alone=steps * settled.step_seconds + export,
        alone_range=(steps * min(times) + export, steps * max(times) + export) if len(times) > 1 else None,
        unknown=_unknown(contest),
        one_budget=takes_pool(contest.run.config.training),
    )


def _unknown(contest: Contest) -> str | None:
    """Return why nothing can be said of several budgets; None where something can."""
    if takes_pool(contest.run.config.training):
        return "the supernet was trained for one budget only (train.recipe within-budgets)"
    if contest.lone.supernet_from is not None:
        return "the supernet began from other weights, whose training time is not known"
    return None


def _own(contest: Contest, p50_us: float) -> Contender:
    run, seconds = contest.run, sum(contest.spent.values())
    val_top1, test_top1 = _fp32_scores(run.result("export"))
    tried = int(run.result("search")["evaluations"])
    return Contender(contest.arch.id, run.config.seed, val_top1, test_top1, p50_us, seconds, tried)


def _contender(entry: Entry, tried: Sequence[Mapping[str, Any]], p50_us: float, test_top1: float) -> Contender:
    val_top1 = max(float(row["val_top1"]) for row in tried)
    seconds = sum(float(row["seconds"]) for row in tried)
    return Contender(entry.network, entry.seed, val_top1, test_top1, p50_us, seconds, len(tried))


def _resolution(entry: Entry) -> int:
    """Return the height and width in pixels of what a rival's network is given."""
    return Scale.parse(entry.network).resolution if entry.arch is None else entry.arch.resolution


def _right(contest: Contest, model: Path, resolution: int) -> Answers:
    """Return whether a file whose input has that resolution gives each test image its label, (n,)."""
    preprocess = replace(deployed_preprocess(contest.arch, contest.dataset), size=resolution)
    found: Answers = right_answers(model, contest.dataset.test, preprocess).numpy()
    return found


def _fp32_model(run: Run) -> Path:
    """The fp32 file of a finished export."""
    return run.folder / str(run.result("export")["chosen"]["bundle"]) / "model.onnx"


def _fp32_scores(export: Mapping[str, Any]) -> tuple[float, float]:
    """Validation and test top-1 of that file; the chosen network's are those of what is deployed, perhaps int8."""
    found, prefix = (export["int8"], "fp32_") if export.get("int8") else (export["chosen"], "")
    return float(found[f"{prefix}val_top1"]), float(found[f"{prefix}test_top1"])


def _table_rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = [{"who": "edgenas", **found["edgenas"]}]
    return rows + [{"who": name, **seed} for name, rival in found["rivals"].items() for seed in rival["seeds"]]
