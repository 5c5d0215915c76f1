"""Compare a run's network with baselines of equal measured latency and equal training time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgenas.files import prove_writable, write_csv, write_json
from edgenas.progress import Progress
from edgenas.records.export import ExportRecord
from edgenas.records.search import SearchRecord
from edgenas.records.studies import BaselinesRecord
from edgenas.report.study_charts import baselines_image
from edgenas.runs.lock import locked
from edgenas.runs.run import Run
from edgenas.runs.stage_costs import spent_on_results
from edgenas.stages.bundle_network import right_answers
from edgenas.statistics.baseline_comparison import Answers, ScoredNetwork, summarise
from edgenas.statistics.crossover import Costs
from edgenas.studies.baseline_networks import Scale, Timer, baseline_device, session_timer
from edgenas.studies.baseline_sizes import MOBILENET, RANDOM, BaselineNetwork, BaselineSizes
from edgenas.studies.baseline_training import BaselineSettings, BaselineStudy, fine_tuning
from edgenas.studies.worker_pool import check_jobs
from edgenas.training.checkpoint import file_digest
from edgenas.training.recipe import takes_pool

RESULT, TABLE, FIGURE = "baselines.json", "baselines.csv", "baselines.png"
CHARGED = ("profile", "verify", "export")
"""Stages whose seconds in `costs.jsonl` are counted beside training, search and fine-tuning."""
FIGURES = ("once_seconds", "per_budget_seconds", "standalone_seconds", "standalone_range_seconds", "budgets")
NO_COSTS: dict[str, Any] = {**dict.fromkeys(FIGURES), "verdict": "unknown", "table": []}
"""Crossover of a run that lacks the seconds of a stage: a missing time is not zero."""


def run_baselines(
    run: Run, settings: BaselineSettings, progress: Progress, *, timer: Timer | None = None, jobs: int = 1
) -> dict[str, Any]:
    """Compare a finished run's network with baselines. Rows in the folder with the same settings are reused.

    MobileNetV3-Small is scaled in width and resolution to the chosen network's measured latency and trained for the
    whole time; it is left out if no scale has that latency. Random search draws networks of the run's space of equal
    latency. It trains as many as the time allows, each for at least as many epochs as the chosen network had in the
    supernet and in fine-tuning together, and chooses one by validation. A seed without another network of equal
    latency has no random search. Time is counted in steps, at the clock of fine-tuning if there was any. Test images
    are used only for the networks that validation chose, after all are trained.

    Args:
        run: a run that has been exported.
        settings: seeds and time of the comparison.
        progress: called with a label, steps done and in all.
        timer: replaces the run's own device.
        jobs: networks trained at a time, each in its own process. The number of steps is fixed before, while nothing
            else runs: baselines are not charged for slowing each other down.

    Returns:
        The content of `study/baselines/baselines.json`; rates are fractions.

    Raises:
        ConfigError: see `BaselineSettings.check` and `check_jobs`; or the run has no supernet of its own, no device
            that measures in fp32, or another number of threads.
        RunFolderError: a stage is missing, or another process holds the folder.
    """
    check_jobs(jobs)
    study = BaselineStudy.of(run, settings)
    prove_writable(study.folder / RESULT)
    with locked(run.folder):
        timer = timer or session_timer(run, baseline_device(run), study.folder, progress)
        sizes = study.choose_sizes(timer, progress)
        study.train_all(study.networks(sizes), jobs, progress)
        result = _summary(study, sizes, _test(study, sizes, timer))
        write_json(study.folder / RESULT, result)
        rows = _table_rows(result)
        write_csv(study.folder / TABLE, list(rows[0]), rows)
        baselines_image(BaselinesRecord.parse(result, RESULT, "run the study again")).write(study.folder / FIGURE)
    return result


def plan_baselines(run: Run, settings: BaselineSettings, jobs: int = 1) -> tuple[list[str], float]:
    """Return lines that describe what `run_baselines` has left to do, and the estimated seconds.

    Raises:
        ConfigError: see `run_baselines`.
    """
    check_jobs(jobs)
    study = BaselineStudy.of(run, settings)
    sizes = study.saved_sizes()
    seconds = study.seconds * study.share_left(sizes) / jobs
    spent = ", ".join(f"{name.replace('_', '-')} {took / 60:.1f}" for name, took in study.spent.items())
    return [
        f"{MOBILENET} and {RANDOM}, {settings.seeds} seeds each, of the latency of {study.arch.id} on "
        f"{baseline_device(run).name}",
        f"each has {study.seconds / 60:.1f} minutes a seed; edgenas took (minutes): {spent}",
        *([sizes.describe()] if sizes else []),
        f"about {seconds / 60:.1f} minutes in all, without timing and scoring; if stopped, the same command resumes",
    ], seconds


@dataclass(frozen=True)
class _TestResults:
    """Latency in one session, and accuracy on test images, of the run's network and the baselines.

    Attributes:
        own: the run's network.
        baselines: the best network of each seed by validation, by baseline.
        own_right: whether the run's network classifies each test image correctly, (n,).
        right: likewise, (seeds, n), by baseline.
    """

    own: ScoredNetwork
    baselines: dict[str, list[ScoredNetwork]]
    own_right: Answers
    right: dict[str, Answers]


def _test(study: BaselineStudy, sizes: BaselineSizes, timer: Timer) -> _TestResults:
    rows, model = study.rows(), _fp32_model(study.run)
    trained: dict[tuple[str, int], list[BaselineNetwork]] = {}
    for network in study.networks(sizes):
        trained.setdefault((network.baseline, network.seed), []).append(network)
    best = {
        key: max(networks, key=lambda network: float(rows[network.key]["val_top1"]))
        for key, networks in trained.items()
    }
    models = {f"{baseline}-{seed}": study.model(network) for (baseline, seed), network in best.items()}
    # All in one session; the sizing measured networks with random weights.
    p50_us = timer({"edgenas": model, **models}, "judging")
    baselines, right = dict[str, list[ScoredNetwork]](), dict[str, list[Answers]]()
    for (baseline, seed), network in best.items():
        answers = _right(study, study.model(network), _resolution(network))
        right.setdefault(baseline, []).append(answers)
        candidates = [rows[candidate.key] for candidate in trained[baseline, seed]]
        scored = _scored(network, candidates, p50_us[f"{baseline}-{seed}"], float(answers.mean()))
        baselines.setdefault(baseline, []).append(scored)
    return _TestResults(
        _own(study, p50_us["edgenas"]),
        baselines,
        _right(study, model, study.arch.resolution),
        {baseline: np.array(answers) for baseline, answers in right.items()},
    )


def _summary(study: BaselineStudy, sizes: BaselineSizes, tested: _TestResults) -> dict[str, Any]:
    trainer = study.trainer
    return {
        "dataset": trainer.dataset,
        "model_sha256": file_digest(_fp32_model(study.run)),
        "supernet_from": trainer.supernet_from,
        "recipe": trainer.config.recipe,
        "finetune": fine_tuning(study.run).to_json(),
        "threads": torch.get_num_threads(),
        "space": study.run.space.name,
        "device": baseline_device(study.run).name,
        "training_images": len(trainer.train),
        "test_images": len(study.dataset.test),
        "seconds": {**study.spent, "total": sum(study.spent.values()), "each_baseline": study.seconds},
        "steps": _steps(study, sizes),
        "left_out": sizes.left_out,
        **summarise(tested.own, tested.baselines, tested.own_right, tested.right),
        "crossover": _crossover(study, sizes),
    }


def _steps(study: BaselineStudy, sizes: BaselineSizes) -> dict[str, dict[str, int]]:
    """Return the steps of a network, by baseline and seed."""
    steps: dict[str, dict[str, int]] = {}
    for network in study.networks(sizes):
        steps.setdefault(network.baseline, {})[str(network.seed)] = network.steps
    return steps


def _crossover(study: BaselineStudy, sizes: BaselineSizes) -> dict[str, Any]:
    """Return from how many budgets on the supernet pays, with the seconds that this is computed from."""
    seconds = spent_on_results(study.run.folder)
    charged = {stage: seconds[stage] for stage in CHARGED if stage in seconds}
    missing = [stage for stage in CHARGED if stage not in charged]
    if missing:
        reason = f"costs.jsonl lacks the seconds of {', '.join(missing)}"
        return {**NO_COSTS, "reason": reason, "charged_seconds": charged}
    return {**_costs(study, sizes, charged).to_json(), "charged_seconds": charged}


def _costs(study: BaselineStudy, sizes: BaselineSizes, charged: Mapping[str, float]) -> Costs:
    """Return the costs of one supernet for all budgets, and of a standalone network for each.

    The standalone network is the chosen one, trained for as many epochs as that had in all. It needs no profiling and
    no verification, since its architecture is given, but it is exported as well.
    """
    spent, export = study.spent, charged["export"]
    steps, times = sizes.epoch_steps, sizes.step_times
    return Costs(
        once=spent["supernet"] + charged["profile"],
        per_budget=spent["search"] + spent["fine_tuning"] + charged["verify"] + export,
        standalone=steps * sizes.step_seconds + export,
        standalone_range=(steps * min(times) + export, steps * max(times) + export) if len(times) > 1 else None,
        unknown=_unknown(study),
        one_budget=takes_pool(study.run.config.training),
    )


def _unknown(study: BaselineStudy) -> str | None:
    """Return why the costs of several budgets are unknown; None if they are known."""
    if takes_pool(study.run.config.training):
        return "the supernet was trained for one budget only (train.recipe within-budgets)"
    if study.trainer.supernet_from is not None:
        return "the supernet started from other weights, whose training time is unknown"
    return None


def _own(study: BaselineStudy, p50_us: float) -> ScoredNetwork:
    run, seconds = study.run, sum(study.spent.values())
    val_top1, test_top1 = _fp32_scores(run.result(ExportRecord))
    tried = run.result(SearchRecord).evaluations
    return ScoredNetwork(study.arch.id, run.config.seed, val_top1, test_top1, p50_us, seconds, tried)


def _scored(
    network: BaselineNetwork, candidates: Sequence[Mapping[str, Any]], p50_us: float, test_top1: float
) -> ScoredNetwork:
    val_top1 = max(float(row["val_top1"]) for row in candidates)
    seconds = sum(float(row["seconds"]) for row in candidates)
    return ScoredNetwork(network.network, network.seed, val_top1, test_top1, p50_us, seconds, len(candidates))


def _resolution(network: BaselineNetwork) -> int:
    """Return the height and width in pixels of a network's input."""
    return Scale.parse(network.network).resolution if network.arch is None else network.arch.resolution


def _right(study: BaselineStudy, model: Path, resolution: int) -> Answers:
    """Return whether a file whose input has that resolution classifies each test image correctly, (n,)."""
    preprocess = replace(study.run.images.preprocess(study.arch), size=resolution)
    answers: Answers = right_answers(model, study.dataset.test, preprocess).numpy()
    return answers


def _fp32_model(run: Run) -> Path:
    """Return the fp32 file of a finished export."""
    return run.folder / str(run.result(ExportRecord).chosen.bundle) / "model.onnx"


def _fp32_scores(export: ExportRecord) -> tuple[float, float]:
    """Return validation and test top-1 of the fp32 file; those of the chosen network may be of an int8 file."""
    if export.int8 is not None:
        return export.int8.fp32_val_top1, export.int8.fp32_test_top1
    assert export.chosen.test_top1 is not None
    return export.chosen.val_top1, export.chosen.test_top1


def _table_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = [{"who": "edgenas", **result["edgenas"]}]
    return rows + [
        {"who": name, **seed} for name, baseline in result["baselines"].items() for seed in baseline["seeds"]
    ]
