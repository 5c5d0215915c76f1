"""Stage verify: the front is measured on every device, and the order in which its networks are tried is fixed.

Networks over a budget are dropped and named. The first candidate is the chosen one; `export` times the file that it
ships again, in processes that chose nothing, and tries the next candidate where that file is not within the budgets:
otherwise the luckiest measurement would win. Devices known by a table alone are not measured: predictions stand there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgenas.accuracy.source import AccuracySource, open_source
from edgenas.budget import Budget
from edgenas.config.sections import SearchConfig
from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.errors import InfeasibleError, ParityError
from edgenas.objective import Objective
from edgenas.profiling.measurement import network_row
from edgenas.profiling.verdict import worst
from edgenas.progress import Progress
from edgenas.quantities import ERROR, LATENCY
from edgenas.records.search import FrontNetwork, SearchRecord
from edgenas.records.verify import FirstPrediction, MeasuredNetwork, NetworkLatency, VerifyRecord
from edgenas.runs.measuring_sessions import MeasuringSessions
from edgenas.runs.run import Run
from edgenas.search.front import non_dominated
from edgenas.search.gaussian_process import COVERAGE
from edgenas.space.arch import Arch
from edgenas.stages.candidate import Candidate, Files
from edgenas.stages.choice import choice_words, choose
from edgenas.stages.device_graphs import device_graphs
from edgenas.stages.first_predictions import first_predictions, predicted_latency
from edgenas.stages.front_int8 import deployed_top1, front_in_int8
from edgenas.stages.gene_importance import write_understanding
from edgenas.stages.limits import Limits, run_limits, unchecked_limits
from edgenas.stages.measuring import Session, session_timer
from edgenas.stages.predictors import run_table, run_variant
from edgenas.stages.refit import earlier_predictions, keep_measured, refits
from edgenas.stages.run_objectives import run_objectives
from edgenas.stages.run_subnets import run_subnets
from edgenas.stages.search import run_search
from edgenas.stages.untrained_export import export_weightless
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.split import Split
from edgenas.training.materialise import top1, top1_tolerance

LOGGER = logging.getLogger(__name__)
ROWS = "verify"
"""Folder of the timer's rows of the front."""
UNASKED_REFITS = 5
"""Factor on `verify.refits` where no network meets the default budget, which is raised then."""


def run_verify(run: Run, progress: Progress) -> None:
    """Measure the search's front and order the networks within every budget: the most accurate first, or as asked.

    Where a network is over a budget, predictors are refitted on the measurements and the space is searched again, up
    to `verify.refits` times. The new front is measured together, in sessions of its own. The default budget is raised
    where nothing meets it, and ends a run only after `UNASKED_REFITS` times as many.

    int8 devices measure int8 files. Networks that lose more accuracy in int8 than `export.max_drop` are dropped, too.

    Raises:
        InfeasibleError: every measured network is over a budget, or loses too much in int8.
        DataError: fewer training images than int8 is to be calibrated on.
    """
    if run.done("verify"):
        return
    # The front, and the budgets it is compared with, change with every refit.
    while _refit_on(run, front := _measured_front(run, progress)):
        run_search(run, progress)
    dropped, budgets = front.dropped, front.limits.budgets
    try:
        ordered = _ordered(run.config.search, front.names, front.candidates, dropped, budgets)
    except InfeasibleError:
        # The verdict is known: the same command shall measure again, not read the same rows.
        MeasuringSessions(run.folder).measure_again(run.devices.measured, run.folder / ROWS, withdrawn=1)
        raise
    write_understanding(run, ordered[0].arch, front.limits)
    predictions = _first_predictions(run, front)
    record = VerifyRecord(
        front=tuple(_network(one, dropped.get(one.arch), front.limits, run, predictions) for one in front.candidates),
        candidates=tuple(one.arch for one in ordered),
        chosen=ordered[0].arch,
        verdict=ordered[0].verdict(budgets),
        val_top1=ordered[0].deployed_top1,
        model=ordered[0].files.model,
        chosen_by=run.config.search.choose,
        chosen_as=choice_words(run.config.search, front.names),
        refits=refits(run),
        first_predictions=predictions,
        notes=_notes(run),
    )
    run.finish(record)


@dataclass(frozen=True)
class _Front:
    """A measured front, the limits it is compared with, and why networks of it are dropped, by architecture."""

    candidates: list[Candidate]
    names: tuple[Objective, ...]
    limits: Limits
    dropped: dict[Arch, str]

    @property
    def missed(self) -> bool:
        """Whether a network is over a budget, or none is within all of them."""
        verdicts = [one.verdict(self.limits.budgets) for one in self.candidates]
        return "over" in verdicts or not {"within", None} & set(verdicts)

    @property
    def all_over(self) -> bool:
        """Whether every network is over a budget."""
        return all(one.verdict(self.limits.budgets) == "over" for one in self.candidates)


def _measured_front(run: Run, progress: Progress) -> _Front:
    found = sorted(run.result(SearchRecord).front, key=lambda network: network.val_top1)
    limits = run_limits(run, run.num_classes)
    picked = [found[i] for i in _spread(len(found), run.config.verify.networks)]
    front_files = _front_files(run, picked, progress)
    sessions = {name: _measured_on(run, name, front_files, progress) for name in run.devices.measured}
    candidates = [_candidate(run, arch, files, sessions) for arch, files in front_files.items()]
    names = run_objectives(run)
    return _Front(candidates, names, limits, _dropped(candidates, names, limits.budgets, run.config.export.max_drop))


def _measured_on(run: Run, name: str, front_files: Mapping[Arch, Files], progress: Progress) -> Session:
    devices = run.devices.measured
    device = devices[name]
    recipe = device_graphs(device, devices.values(), run_variant(run)).quantiser_recipe
    paths = {arch.id: run.folder / files.path(device.run.precision) for arch, files in front_files.items()}
    timer = session_timer(run, name, "measuring the front", progress, recipe)
    return timer.time(paths, run.folder / ROWS / f"{name}.jsonl")


def _refit_on(run: Run, front: _Front) -> bool:
    """Refit predictors where a budget was missed; return whether the space is to be searched again."""
    is_raised = front.all_over and not run.config.budgets
    if not front.missed or refits(run) >= run.config.verify.refits * (UNASKED_REFITS if is_raised else 1):
        return False
    space, classes = run.space.structure_id, front.limits.num_classes
    rows = {
        name: [network_row(space, classes, c.arch.id, c.measured[name]) for c in front.candidates]
        for name in run.devices.measured
    }
    # Networks that are compared are timed in one session, also those that the next front has in common with this one.
    MeasuringSessions(run.folder).measure_again(run.devices.measured, run.folder / ROWS, withdrawn=0)
    # Rows of earlier, faster sessions would keep the budget below what can be met now.
    tables = {name: run_table(run, name) for name in rows}
    keep_measured(run, tables, rows, _first_predictions(run, front), discard_earlier=is_raised)
    now = unchecked_limits(run, classes).budgets
    if now != front.limits.budgets:
        LOGGER.warning(
            "note: the front was measured slower than predicted, so the default budget is raised: it is %s now, was %s",
            ", ".join(budget.words for budget in now),
            ", ".join(budget.words for budget in front.limits.budgets),
        )
    return True


def _first_predictions(run: Run, front: _Front) -> dict[str, tuple[FirstPrediction, ...]]:
    """Return the predictions of all measured networks, made before they were measured, by device."""
    found = {}
    for name in run.devices.measured:
        table, measured = run_table(run, name), {one.arch: one.measured[name].p50_us for one in front.candidates}
        before, coverage = earlier_predictions(run, table), run.config.profile.coverage
        found[name] = first_predictions(front.limits.predictors[name], table, before, measured, coverage)
    return found


def model_path(number: int) -> str:
    """Return the file of a network, by its position in the front, within the run folder."""
    return f"verify/models/{number:03d}.onnx"


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` positions, evenly spread, always with the last one, the most accurate."""
    return sorted(set(np.linspace(count - 1, 0, min(count, most)).round().astype(int).tolist()))


def _front_files(run: Run, front: Sequence[FrontNetwork], progress: Progress) -> dict[Arch, Files]:
    """Return the front's ONNX files; with random weights where the run has none, since latency does not depend on them.

    There are no files where no device is measured.
    """
    if not run.devices.measured:
        return {network.arch: Files(None, network.val_top1, found=network.objectives) for network in front}
    if run.config.has_weights:
        return _export_front(run, front, progress)
    paths = [model_path(number) for number in range(len(front))]
    files, archs = [run.folder / path for path in paths], [network.arch for network in front]
    export_weightless(run.space, archs, run.num_classes, files, run_variant(run), progress)
    return {
        network.arch: Files(path, network.val_top1, found=network.objectives)
        for network, path in zip(front, paths, strict=True)
    }


def _export_front(run: Run, front: Sequence[FrontNetwork], progress: Progress) -> dict[Arch, Files]:
    """Return the ONNX files of the subnets that were scored."""
    subnets = run_subnets(run)
    variant, in_int8 = run_variant(run), "int8" in run.devices.precisions
    files = {}
    for number, network in enumerate(front):
        progress("exporting the front", number, len(front))
        subnet = subnets(network.arch)
        # Accuracies from elsewhere are of other images.
        if run.config.accuracy is None:
            _check_score(network, subnet, run.images.scoring)
        path = model_path(number)
        export_onnx(subnet, run.folder / path, variant=variant)
        int8 = front_in_int8(run, subnet, path) if in_int8 else None
        files[network.arch] = Files(path, network.val_top1, int8, network.objectives)
    progress("exporting the front", len(front), len(front))
    return files


def _check_score(network: FrontNetwork, subnet: Subnet, validation: Split) -> None:
    score = top1(subnet, validation)
    if abs(score - network.val_top1) > top1_tolerance(len(validation)):
        raise ParityError(
            f"{network.arch} scored {network.val_top1:.4f} in the search and {score:.4f} now: "
            "the weights or images changed; start a new run"
        )


def _candidate(run: Run, arch: Arch, files: Files, sessions: Mapping[str, Session]) -> Candidate:
    int8_top1 = files.int8.val_top1 if files.int8 else None
    return Candidate(
        arch,
        files,
        deployed_top1(files.val_top1, int8_top1, run.devices.precisions),
        {name: session.measured[arch.id] for name, session in sessions.items()},
        {name: session.slowdown for name, session in sessions.items()},
    )


def _dropped(
    candidates: list[Candidate], names: Sequence[Objective], budgets: tuple[Budget, ...], max_drop: float
) -> dict[Arch, str]:
    """Return why networks are dropped, by arch: over budget, worse in int8 than allowed, or dominated as measured.

    Only networks within the budgets dominate others: an infeasible one would leave nothing to choose.
    """
    reasons = {c.arch: "over budget: " + "; ".join(missed) for c in candidates if (missed := c.missed(budgets))}
    # The accuracy drop is free of timing noise, so it is the reason given where both apply.
    reasons |= {c.arch: reason for c in candidates if c.files.int8 and (reason := c.files.int8.refusal(max_drop))}
    kept = [c for c in candidates if c.arch not in reasons]
    within = [c for c in kept if c.verdict(budgets) in ("within", None)]
    best = {network.arch for c in kept for network in _non_dominated([*within, c], names)}
    usual = {name.quantity for name in names} == {ERROR, LATENCY}
    why = "another is as accurate and faster" if usual else "another is better in every objective that they differ in"
    return reasons | {c.arch: why for c in kept if c.arch not in best}


def _non_dominated(candidates: Sequence[Candidate], names: Sequence[Objective]) -> list[Candidate]:
    return [candidates[i] for i in non_dominated([one.point(names) for one in candidates])]


def _ordered(
    config: SearchConfig,
    names: Sequence[Objective],
    candidates: Sequence[Candidate],
    dropped: Mapping[Arch, str],
    budgets: Sequence[Budget],
) -> list[Candidate]:
    """Return the candidates in the order in which they are tried: each is the best of those that are left.

    Networks within every budget come first, then those that only the median is within.

    Raises:
        InfeasibleError: every network is dropped.
    """
    kept = {one.arch: one.verdict(budgets) for one in candidates if one.arch not in dropped}
    points = [one.point(names) for one in candidates]
    ordered = []
    for group in (("within", None), ("not significant",)):
        left = [one.arch in kept and kept[one.arch] in group for one in candidates]
        while any(left):
            index = choose(config, names, points, left)
            ordered.append(candidates[index])
            left[index] = False
    if not ordered:
        raise InfeasibleError(_none_eligible(candidates, dropped))
    return ordered


def _none_eligible(candidates: Sequence[Candidate], dropped: Mapping[Arch, str]) -> str:
    reasons = "\n".join(f"  {one.arch}: {dropped[one.arch]}" for one in candidates)
    return (
        f"none of the {len(candidates)} measured networks is eligible:\n{reasons}\n"
        "Start a run with a looser budget (or, where int8 loses too much, a greater export.max_drop), or measure "
        "again on a quieter machine: `edgenas verify` does."
    )


def _network(
    candidate: Candidate,
    reason: str | None,
    limits: Limits,
    run: Run,
    predictions: Mapping[str, Sequence[FirstPrediction]],
) -> MeasuredNetwork:
    files, coverage = candidate.files, run.config.profile.coverage
    first = {name: one for name, made in predictions.items() for one in made if one.arch == candidate.arch}
    source = None if run.config.accuracy is None else open_source(run.config.accuracy, run.space)
    return MeasuredNetwork(
        arch=candidate.arch,
        val_top1=files.val_top1,
        val_top1_interval=_interval(source, candidate.arch) if source else None,
        val_top1_coverage=COVERAGE if source else None,
        val_top1_int8=files.int8.val_top1 if files.int8 else None,
        int8=files.int8,
        deployed_top1=candidate.deployed_top1,
        dropped=reason is not None,
        dropped_because=reason,
        eligible=reason is None and candidate.verdict(limits.budgets) in ("within", None),
        latency={name: _latency(candidate, name, limits, coverage, first.get(name)) for name in limits.predictors},
    )


def _interval(source: AccuracySource, arch: Arch) -> tuple[float, float] | None:
    intervals = source.interval([arch])
    if intervals is None:
        return None
    low, high = intervals[0].tolist()
    return low, high


def _latency(
    candidate: Candidate, device: str, limits: Limits, coverage: float, first: FirstPrediction | None
) -> NetworkLatency:
    # A refitted predictor may have been fitted on the network; its output is no prediction then.
    predicted = first or predicted_latency(limits.predictors[device], candidate.arch, coverage)
    found = candidate.measured.get(device)
    if found is None:
        return NetworkLatency(
            predicted_us=predicted.predicted_us, interval_us=predicted.interval_us, coverage=predicted.coverage
        )
    own = [budget for budget in limits.budgets if budget.device == device]
    return NetworkLatency(
        predicted_us=predicted.predicted_us,
        interval_us=predicted.interval_us,
        coverage=predicted.coverage,
        p50_us=found.p50_us,
        p95_us=found.p95_us,
        ci_low_us=found.ci_low_us,
        ci_high_us=found.ci_high_us,
        count=found.count,
        verdict=worst(one.verdict for one in candidate.judgements(own).values()),
        repeat_noise=found.repeat_noise,
        warnings=found.warnings,
        model_rss_bytes=found.model_rss_bytes,
        process_rss_bytes=found.process_rss_bytes,
    )


def _notes(run: Run) -> tuple[str, ...]:
    """Return which devices were not measured, in words."""
    return tuple(
        f"{name}: not measured, because only the table {table} is known: its latencies are predictions"
        for name, table in run.devices.tables.items()
    )
