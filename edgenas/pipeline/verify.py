"""Stage verify: the front, measured on every device. What misses a budget is dropped and named.

Which networks may be chosen is decided on the first half of the measurement; the second half, made in other processes,
must confirm it, and is what is reported: nothing is chosen that missed a budget on either. Otherwise the luckiest
measurement would win. Devices known by a table alone are not measured: there, what is predicted stands.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.budget import Budget
from edgenas.config.sections import SearchConfig
from edgenas.deploy.onnx_export import export_onnx
from edgenas.errors import InfeasibleError, ParityError
from edgenas.objective import ObjectiveName
from edgenas.pipeline.accuracy import open_source
from edgenas.pipeline.budgets import Limits, run_limits, unchecked_limits
from edgenas.pipeline.candidate import CHOOSING, JUDGING, Candidate, Files, half_p50_us
from edgenas.pipeline.choice import choose, words
from edgenas.pipeline.data import run_classes, run_dataset, scoring_split
from edgenas.pipeline.devices import device_table, measured_devices, run_devices, run_transport
from edgenas.pipeline.front_int8 import deployed_top1, front_in_int8, precisions
from edgenas.pipeline.graphs import device_graphs
from edgenas.pipeline.objectives import objective_names
from edgenas.pipeline.profile import predicted_latency, run_form, run_table
from edgenas.pipeline.refit import keep_measured, refits
from edgenas.pipeline.run import Progress, Run
from edgenas.pipeline.search import run_search
from edgenas.pipeline.subnets import run_subnets
from edgenas.pipeline.understanding import write_understanding
from edgenas.pipeline.weightless import export_weightless
from edgenas.profiling.record import Measurement, network_row
from edgenas.profiling.session import discount, measure_networks
from edgenas.search.front import non_dominated
from edgenas.search.surrogate import COVERAGE
from edgenas.space.arch import Arch
from edgenas.training.data import Dataset
from edgenas.training.evaluate import top1, top1_tolerance

LOGGER = logging.getLogger(__name__)
UNASKED_REFITS = 5
"""Times `verify.refits`: how often at most where nothing meets a budget that nobody asked for, which gives way."""


def run_verify(run: Run, progress: Progress) -> None:
    """Measure the search's front and choose among the networks within every budget: the most accurate, or as asked.

    Where a network misses a budget, predictors are refitted on what was measured and the space is searched again, up
    to `verify.refits` times, so that what is left of the front is not merely what happened to hold. A budget that
    nobody asked for gives way to what was measured, and ends a run only after `UNASKED_REFITS` times as many.

    Devices of int8 measure int8 files. What int8 costs more accuracy than `export.max_drop` is dropped, too.

    Raises:
        InfeasibleError: every measured network is over a budget, or loses too much in int8.
        DataError: fewer training pictures than int8 is to be calibrated on.
    """
    if run.done("verify"):
        return
    # The front, and what it is held against, change with every refit.
    while _refit_on(run, front := _measured_front(run, progress)):
        run_search(run, progress)
    dropped = front.dropped
    try:
        chosen = _choose(run.config.search, front.names, front.candidates, dropped, front.limits.budgets)
    except InfeasibleError:
        # Decided: the same command shall measure anew, not find the same again.
        for name, device in measured_devices(run).items():
            discount(rows_path(run, name), device)
        raise
    write_understanding(run, chosen.arch, front.limits)
    entries = [_entry(candidate, dropped.get(candidate.arch.id), front.limits, run) for candidate in front.candidates]
    result = {"front": entries, "chosen": chosen.arch.id, "val_top1": chosen.deployed_top1, "model": chosen.files.model}
    by = {"chosen_by": run.config.search.choose, "chosen_as": words(run.config.search, front.names)}
    run.finish("verify", result | by | {"refits": refits(run), "notes": _notes(run)})


@dataclass(frozen=True)
class _Front:
    """A front as measured, the budgets it is held against, and why networks of it are dropped, by arch."""

    candidates: list[Candidate]
    names: tuple[ObjectiveName, ...]
    limits: Limits
    dropped: dict[str, str]

    @property
    def missed(self) -> bool:
        """Whether a network is over a budget as reported, or all are as chosen by."""
        budgets = self.limits.budgets
        return self.all_missed or any(candidate.missed(budgets, JUDGING) for candidate in self.candidates)

    @property
    def all_missed(self) -> bool:
        """Whether no network is within the budgets, both as chosen by and as reported."""
        budgets = self.limits.budgets
        return all(one.missed(budgets, JUDGING) or not one.may_be_chosen(budgets) for one in self.candidates)


def _measured_front(run: Run, progress: Progress) -> _Front:
    found = sorted(run.result("search")["front"], key=lambda row: float(row["val_top1"]))
    limits = run_limits(run, run_classes(run))
    picked = [found[i] for i in _spread(len(found), run.config.verify.networks)]
    devices = measured_devices(run)
    front_files = _front_files(run, picked, progress)
    measured: dict[str, dict[str, Measurement]] = {arch: {} for arch in front_files}
    for name, device in devices.items():
        rows = measure_networks(
            {arch: run.folder / files.path(device.run.precision) for arch, files in front_files.items()},
            device,
            rounds=run.config.verify.rounds,
            seed=run.config.seed,
            out=rows_path(run, name),
            transport=run_transport(run, device),
            quantiser_recipe=device_graphs(device, devices.values(), run_form(run)).quantiser_recipe,
            progress=lambda _, done, total: progress("measuring the front", done, total),
        )
        for arch, measurement in rows.items():
            measured[arch][name] = measurement
    candidates = [_candidate(run, arch, files, measured[arch]) for arch, files in front_files.items()]
    names = objective_names(run)
    return _Front(candidates, names, limits, _dropped(candidates, names, limits.budgets, run.config.export.max_drop))


def _refit_on(run: Run, front: _Front) -> bool:
    """Whether a budget was missed and predictors are refitted for it: they know then what was measured."""
    gives_way = front.all_missed and not run.config.budgets
    if not front.missed or refits(run) >= run.config.verify.refits * (UNASKED_REFITS if gives_way else 1):
        return False
    space, classes = run.space.structure_id, front.limits.num_classes
    rows = {
        name: [network_row(space, classes, c.arch.id, c.measured[name]) for c in front.candidates]
        for name in measured_devices(run)
    }
    # What earlier fronts took, faster as it was, would keep the budget below what can be met now.
    keep_measured(run, {name: run_table(run, name) for name in rows}, rows, anew=gives_way)
    now = unchecked_limits(run, classes).budgets
    if now != front.limits.budgets:
        LOGGER.warning(
            "note: no budget was asked for, and the front was measured slower than foreseen: it is %s now, and was %s",
            ", ".join(map(str, now)),
            ", ".join(map(str, front.limits.budgets)),
        )
    return True


def model_path(number: int) -> str:
    """The file of a network of the front, by its place there, within the run folder."""
    return f"verify/models/{number:03d}.onnx"


def rows_path(run: Run, device: str) -> Path:
    """Where the rows of the front's measurements on one device are kept."""
    return run.folder / "verify" / f"{device}.jsonl"


def _spread(count: int, wanted: int) -> list[int]:
    """`wanted` of `count` positions, evenly, the last (the most accurate) always among them."""
    return sorted(set(np.linspace(count - 1, 0, min(count, wanted)).round().astype(int).tolist()))


def _front_files(run: Run, picked: list[dict[str, Any]], progress: Progress) -> dict[str, Files]:
    """The front as ONNX files, by arch; without weights where the run has none, which latency does not depend on."""
    if not measured_devices(run):
        return {row["arch"]: Files(None, row["val_top1"], found=row.get("objectives", {})) for row in picked}
    if run.config.has_weights:
        return _export_front(run, run_dataset(run), picked, progress)
    archs = [run.space.parse(row["arch"]) for row in picked]
    paths = [model_path(number) for number in range(len(picked))]
    files = [run.folder / path for path in paths]
    export_weightless(run.space, archs, run_classes(run), files, run_form(run), progress)
    return {
        row["arch"]: Files(path, row["val_top1"], found=row.get("objectives", {}))
        for row, path in zip(picked, paths, strict=True)
    }


def _export_front(run: Run, dataset: Dataset, picked: list[dict[str, Any]], progress: Progress) -> dict[str, Files]:
    """The very subnets that were scored, as ONNX files, by arch."""
    subnets = run_subnets(run, dataset)
    validation = scoring_split(run, dataset)
    form, in_int8 = run_form(run), "int8" in precisions(run)
    files = {}
    for number, row in enumerate(picked):
        progress("exporting the front", number, len(picked))
        subnet = subnets(run.space.parse(row["arch"]))
        # What is told from elsewhere is of other pictures.
        score = row["val_top1"] if run.config.accuracy else top1(subnet, validation)
        if abs(score - row["val_top1"]) > top1_tolerance(len(validation)):
            raise ParityError(
                f"{row['arch']} scored {row['val_top1']:.4f} in the search and {score:.4f} now: "
                "the weights or pictures changed; start a new run"
            )
        path = model_path(number)
        export_onnx(subnet, run.folder / path, form=form)
        int8 = front_in_int8(run, dataset, subnet, path) if in_int8 else None
        files[row["arch"]] = Files(path, row["val_top1"], int8, row.get("objectives", {}))
    progress("exporting the front", len(picked), len(picked))
    return files


def _candidate(run: Run, arch: str, files: Files, measured: dict[str, Measurement]) -> Candidate:
    int8_top1 = files.int8.val_top1 if files.int8 else None
    return Candidate(run.space.parse(arch), files, deployed_top1(files.val_top1, int8_top1, precisions(run)), measured)


def _dropped(
    candidates: list[Candidate], names: Sequence[ObjectiveName], budgets: tuple[Budget, ...], max_drop: float
) -> dict[str, str]:
    """Why networks are dropped, by arch: over budget, worse in int8 than allowed, or dominated as measured.

    What may not be chosen dominates nothing: it would leave the budget met, and nothing to choose.
    """
    reasons = {
        c.arch.id: "over budget: " + "; ".join(missed) for c in candidates if (missed := c.missed(budgets, JUDGING))
    }
    # No machine's noise is in it, so it stands above a budget missed.
    reasons |= {c.arch.id: said for c in candidates if c.files.int8 and (said := c.files.int8.refusal(max_drop))}
    kept = [c for c in candidates if c.arch.id not in reasons]
    rivals = [c for c in kept if c.may_be_chosen(budgets)]
    best = {one.arch.id for c in kept for one in _non_dominated([*rivals, c], names)}
    usual = {name.quantity for name in names} == {"error", "latency"}
    why = "another is as accurate and faster" if usual else "another is better in every objective that they differ in"
    return reasons | {c.arch.id: why for c in kept if c.arch.id not in best}


def _non_dominated(candidates: Sequence[Candidate], names: Sequence[ObjectiveName]) -> list[Candidate]:
    return [candidates[i] for i in non_dominated([one.point(names, JUDGING) for one in candidates])]


def _choose(
    config: SearchConfig,
    names: Sequence[ObjectiveName],
    candidates: list[Candidate],
    dropped: Mapping[str, str],
    budgets: tuple[Budget, ...],
) -> Candidate:
    feasible = [c.arch.id not in dropped and c.may_be_chosen(budgets) for c in candidates]
    if not any(feasible):
        reasons = "\n".join(
            f"  {c.arch.id}: {dropped.get(c.arch.id, 'over budget on the choosing half')}" for c in candidates
        )
        raise InfeasibleError(
            f"none of the {len(candidates)} networks measured may be chosen:\n{reasons}\n"
            "Start a run with a looser budget (or, where int8 loses too much, a greater export.max_drop), or measure "
            "again on a quieter machine: `edgenas verify` does."
        )
    points = [c.point(names, CHOOSING) for c in candidates]
    return candidates[choose(config, names, points, feasible)]


def _entry(candidate: Candidate, reason: str | None, limits: Limits, run: Run) -> dict[str, Any]:
    files = candidate.files
    return {
        "arch": candidate.arch.id,
        "val_top1": files.val_top1,
        **_told(run, candidate.arch),
        **({"val_top1_int8": files.int8.val_top1, "int8": files.int8.to_json()} if files.int8 else {}),
        "deployed_top1": candidate.deployed_top1,
        "dropped": reason is not None,
        "dropped_because": reason,
        "may_be_chosen": reason is None and candidate.may_be_chosen(limits.budgets),
        "latency": {name: _latency(candidate, name, limits, run.config.profile.coverage) for name in limits.predictors},
    }


def _latency(candidate: Candidate, device: str, limits: Limits, coverage: float) -> dict[str, Any]:
    found = candidate.measured.get(device)
    predicted = predicted_latency(limits.predictors[device], candidate.arch, coverage)
    if found is None:
        return predicted | {"p50_us": None, "p95_us": None, "meets_budget": None}
    own = tuple(budget for budget in limits.budgets if budget.device == device)
    return predicted | {
        "p50_us": half_p50_us(found, JUDGING),
        "p95_us": found.p95_us,
        "ci_low_us": found.ci_low_us,
        "ci_high_us": found.ci_high_us,
        "count": found.count,
        "meets_budget": not candidate.missed(own, JUDGING) if own else None,
        "repeat_noise": found.repeat_noise,
        "doubts": list(found.doubts),
        "model_rss_bytes": found.model_rss_bytes,
        "process_rss_bytes": found.process_rss_bytes,
    }


def _told(run: Run, arch: Arch) -> dict[str, Any]:
    """How sure the accuracy of an arch is, where it is told from elsewhere."""
    if run.config.accuracy is None:
        return {}
    interval = open_source(run.config.accuracy, run.space).interval([arch])
    return {"val_top1_interval": None if interval is None else interval[0].tolist(), "val_top1_coverage": COVERAGE}


def _notes(run: Run) -> list[str]:
    """What was not verified, in words."""
    tables = {name: table for name in run_devices(run) if (table := device_table(run, name))}
    return [
        f"{name}: not measured, for it is known by the table {table} alone: its latencies are predictions"
        for name, table in tables.items()
    ]
