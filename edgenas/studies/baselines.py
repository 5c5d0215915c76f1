"""Compare a run's network with baselines of equal measured latency and equal training time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from edgenas.files import file_digest, prove_writable, write_csv
from edgenas.progress import Progress
from edgenas.records.baselines import BaselineRow, BaselinesRecord, Contender, CrossoverRecord, SizesRecord
from edgenas.records.export import ExportRecord
from edgenas.records.paths import BASELINES
from edgenas.records.search import SearchRecord
from edgenas.report.study_charts import baselines_image
from edgenas.runs.lock import locked
from edgenas.runs.run import Run, open_run
from edgenas.runs.stage_costs import spent_on_results
from edgenas.stages.devices.device_latencies import read_latencies
from edgenas.stages.shipping.bundle_network import right_answers
from edgenas.stages.weights.standalone_networks import StandaloneTrainer
from edgenas.statistics.baseline_comparison import Answers, baseline_result, best_baseline, lead_error
from edgenas.statistics.crossover import Costs
from edgenas.studies.baseline_networks import Timer, baseline_timer
from edgenas.studies.baseline_sizes import MOBILENET, RANDOM, SHELF, BaselineNetwork, describe, left_out
from edgenas.studies.baseline_training import BaselineSettings, BaselineStudy
from edgenas.studies.worker_pool import check_jobs, train_each
from edgenas.training.data.preprocess import Preprocess
from edgenas.training.recipe import takes_pool

TABLE, FIGURE = "baselines.csv", "baselines.png"
CHARGED = ("profile", "verify", "export")
"""Stages whose seconds in `costs.jsonl` are counted beside training, search and fine-tuning."""


def run_baselines(
    run: Run, settings: BaselineSettings, progress: Progress, *, timer: Timer | None = None, jobs: int = 1
) -> BaselinesRecord:
    """Compare a finished run's network with baselines. Rows in the folder with the same settings are reused.

    The shelf, if the run has one, is the first baseline: of each pretrained network the largest resolution within the
    chosen network's measured latency is fine-tuned, they share the time, and validation chooses one. MobileNetV3-Small
    is scaled in width and resolution to the chosen network's measured latency and trained for the
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
    prove_writable(study.folder / Path(BASELINES).name)
    with locked(run.folder):
        timer = timer or _timer(run, study, progress)
        sizes = study.choose_sizes(read_latencies(run).predictors[study.device.name], timer, progress)
        in_worker = partial(_train_in_worker, run.folder.resolve(), settings)
        train_each(study.train_network, in_worker, study.untrained(sizes), jobs, progress)
        model = run.folder / str(study.export.chosen.bundle) / "model.onnx"
        tested = _test(study, sizes, model, run.result(SearchRecord).evaluations, timer)
        record = _record(study, sizes, tested, file_digest(model), spent_on_results(run.folder))
        record.write(study.folder / Path(BASELINES).name)
        write_csv(study.folder / TABLE, ["who", *Contender.model_fields], _table_rows(record))
        baselines_image(record).write(study.folder / FIGURE)
    return record


def _timer(run: Run, study: BaselineStudy, progress: Progress) -> Timer:
    rounds, transport = run.config.verify.rounds, run.devices.transport(study.device.name)
    return baseline_timer(study.device, transport, study.folder, progress, rounds=rounds, seed=run.config.seed)


def _train_in_worker(folder: Path, settings: BaselineSettings, network: BaselineNetwork, progress: Progress) -> None:
    """Train a network in a worker process."""
    BaselineStudy.of(open_run(folder), settings).train_network(network, progress)


def plan_baselines(run: Run, settings: BaselineSettings, jobs: int = 1) -> tuple[list[str], float]:
    """Return lines that describe what `run_baselines` has left to do, and the estimated seconds.

    Raises:
        ConfigError: see `run_baselines`.
    """
    check_jobs(jobs)
    study = BaselineStudy.of(run, settings)
    sizes = study.saved_sizes()
    seconds = study.seconds * study.share_left(sizes) / jobs
    baselines = [*([SHELF] if study.shelf.spaces else []), MOBILENET]
    spent = ", ".join(f"{name.replace('_', '-')} {took / 60:.1f}" for name, took in study.spent.items())
    return [
        f"{', '.join(baselines)} and {RANDOM}, {settings.seeds} seeds each, of the latency of {study.chosen.id} on "
        f"{study.device.name}",
        f"each has {study.seconds / 60:.1f} minutes a seed; edgenas took (minutes): {spent}",
        *([describe(sizes)] if sizes else []),
        f"about {seconds / 60:.1f} minutes in all, without timing and scoring; if stopped, the same command resumes",
    ], seconds


@dataclass(frozen=True)
class _TestResults:
    """Latency in one session, and accuracy on test images, of the run's network and the baselines.

    Attributes:
        chosen: the run's network.
        baselines: the best network of each seed by validation, by baseline.
        chosen_right: whether the run's network classifies each test image correctly, (n,).
        right: likewise, (seeds, n), by baseline.
    """

    chosen: Contender
    baselines: dict[str, list[Contender]]
    chosen_right: Answers
    right: dict[str, Answers]


def _test(study: BaselineStudy, sizes: SizesRecord, model: Path, tried: int, timer: Timer) -> _TestResults:
    """Time and test the run's network, and of each baseline and seed the network that validation chooses.

    Args:
        study: all of whose networks are trained.
        sizes: the baselines.
        model: fp32 file of the run's network.
        tried: networks that the run's network was chosen from.
        timer: measures latencies.
    """
    rows = study.rows()
    candidates: dict[tuple[str, int], list[BaselineNetwork]] = {}
    for network in study.networks(sizes):
        candidates.setdefault((network.baseline, network.seed), []).append(network)
    best = {key: max(networks, key=lambda network: rows[network.key].val_top1) for key, networks in candidates.items()}
    models = {f"{baseline}-{seed}": study.model(network) for (baseline, seed), network in best.items()}
    # All in one session; the sizing measured networks with random weights.
    p50_us = timer({"edgenas": model, **models}, "judging")
    baselines, right = dict[str, list[Contender]](), dict[str, list[Answers]]()
    for (baseline, seed), network in best.items():
        answers = _right(study, study.model(network), study.preprocess(network))
        right.setdefault(baseline, []).append(answers)
        seed_rows = [rows[candidate.key] for candidate in candidates[baseline, seed]]
        contender = _contender(network, seed_rows, p50_us[f"{baseline}-{seed}"], float(answers.mean()))
        baselines.setdefault(baseline, []).append(contender)
    return _TestResults(
        _chosen(study, p50_us["edgenas"], tried),
        baselines,
        _right(study, model, study.images.preprocess(study.chosen)),
        {baseline: np.array(answers) for baseline, answers in right.items()},
    )


def _record(
    study: BaselineStudy, sizes: SizesRecord, tested: _TestResults, model_sha256: str, wall_seconds: Mapping[str, float]
) -> BaselinesRecord:
    trainer, chosen = study.trainer, tested.chosen
    results = {name: baseline_result(chosen, networks) for name, networks in tested.baselines.items()}
    best = best_baseline(results)
    lead = chosen.test_top1 - results[best].test_top1.mean
    return BaselinesRecord(
        dataset=trainer.dataset,
        model_sha256=model_sha256,
        supernet_from=trainer.supernet_from,
        standalone_from=trainer.pretrained,
        recipe=trainer.config.recipe,
        finetune=study.fine_tuning,
        threads=torch.get_num_threads(),
        space=study.space.name,
        device=study.device.name,
        training_images=len(trainer.train),
        test_images=len(study.images.dataset.test),
        seconds={**study.spent, "total": sum(study.spent.values()), "each_baseline": study.seconds},
        steps=_steps(study, sizes),
        shelf=tuple(study.shelf.spaces),
        left_out=left_out(sizes, study.shelf.spaces),
        edgenas=chosen,
        baselines=results,
        best_baseline=best,
        lead=lead,
        lead_error=lead_error(tested.chosen_right, tested.right[best]),
        ahead=lead > 0,
        crossover=_crossover(study, sizes, wall_seconds),
    )


def _steps(study: BaselineStudy, sizes: SizesRecord) -> dict[str, dict[str, int]]:
    """Return the steps of a network, by baseline and seed."""
    steps: dict[str, dict[str, int]] = {}
    for network in study.networks(sizes):
        steps.setdefault(network.baseline, {})[str(network.seed)] = network.steps
    return steps


def _crossover(study: BaselineStudy, sizes: SizesRecord, wall_seconds: Mapping[str, float]) -> CrossoverRecord:
    """Return from how many budgets on the supernet pays, with the seconds that this is computed from."""
    charged = {stage: wall_seconds[stage] for stage in CHARGED if stage in wall_seconds}
    missing = [stage for stage in CHARGED if stage not in charged]
    if missing:
        # A missing time is not zero.
        reason = f"costs.jsonl lacks the seconds of {', '.join(missing)}"
        return CrossoverRecord(verdict="unknown", reason=reason, charged_seconds=charged)
    return _costs(study, sizes, charged).record(charged)


def _costs(study: BaselineStudy, sizes: SizesRecord, charged: Mapping[str, float]) -> Costs:
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
        unknown=_unknown(study.trainer),
        one_budget=takes_pool(study.trainer.config),
    )


def _unknown(trainer: StandaloneTrainer) -> str | None:
    """Return why the costs of several budgets are unknown; None if they are known."""
    if takes_pool(trainer.config):
        return f"the supernet was trained for one budget only (train.recipe {trainer.config.recipe})"
    if trainer.supernet_from is not None:
        return "the supernet started from other weights, whose training time is unknown"
    return None


def _chosen(study: BaselineStudy, p50_us: float, tried: int) -> Contender:
    val_top1, test_top1 = _fp32_scores(study.export)
    return Contender(
        network=study.chosen.id,
        # The first seed is the run's own.
        seed=study.seeds[0],
        val_top1=val_top1,
        test_top1=test_top1,
        p50_us=p50_us,
        seconds=sum(study.spent.values()),
        tried=tried,
    )


def _contender(network: BaselineNetwork, rows: Sequence[BaselineRow], p50_us: float, test_top1: float) -> Contender:
    """Return the network that validation chose; `rows` are those of all networks of its baseline and seed."""
    return Contender(
        network=network.network,
        seed=network.seed,
        val_top1=max(row.val_top1 for row in rows),
        test_top1=test_top1,
        p50_us=p50_us,
        seconds=sum(row.seconds for row in rows),
        tried=len(rows),
    )


def _right(study: BaselineStudy, model: Path, preprocess: Preprocess) -> Answers:
    """Return whether a file classifies each test image correctly, (n,)."""
    answers: Answers = right_answers(model, study.images.dataset.test, preprocess).numpy()
    return answers


def _fp32_scores(export: ExportRecord) -> tuple[float, float]:
    """Return validation and test top-1 of the fp32 file; those of the chosen network may be of an int8 file."""
    if export.int8 is not None:
        return export.int8.fp32_val_top1, export.int8.fp32_test_top1
    assert export.chosen.test_top1 is not None
    return export.chosen.val_top1, export.chosen.test_top1


def _table_rows(record: BaselinesRecord) -> list[dict[str, object]]:
    rows = [("edgenas", record.edgenas)]
    rows += [(name, seed) for name, baseline in record.baselines.items() for seed in baseline.seeds]
    return [{"who": name, **contender.to_json()} for name, contender in rows]
