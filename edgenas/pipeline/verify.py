"""Stage verify: the front, measured on every device. What misses a budget is dropped and named.

Which networks may be chosen is decided on the first half of the measurement; the second half, made in other processes,
must confirm it, and is what is reported: nothing is chosen that missed a budget on either. Otherwise the luckiest
measurement would win.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.budget import Budget
from edgenas.deploy.onnx_export import export_onnx
from edgenas.errors import InfeasibleError, ParityError
from edgenas.pipeline.budgets import Limits, run_limits
from edgenas.pipeline.data import calibration_pictures, run_dataset, scoring_split
from edgenas.pipeline.devices import run_devices, run_transport
from edgenas.pipeline.profile import run_form
from edgenas.pipeline.run import Progress, Run
from edgenas.pipeline.train import trained_supernet
from edgenas.profiling.record import Measurement
from edgenas.profiling.session import discount, measure_networks
from edgenas.search.front import choose_best, non_dominated
from edgenas.space.arch import Arch
from edgenas.training.data import Dataset
from edgenas.training.evaluate import materialise, top1

CHOOSING, JUDGING = 0, 1
"""Halves of a measurement's rounds."""
SCORE_TOLERANCE = 0.002
"""How far a top-1 worked out again may be from the recorded one: nil on a CPU, a picture or two on a GPU."""


@dataclass(frozen=True)
class Candidate:
    """A network of the front, as measured on every device of the run."""

    arch: Arch
    val_top1: float
    model: str
    measured: dict[str, Measurement]

    def may_be_chosen(self, budgets: tuple[Budget, ...]) -> bool:
        """Within every latency budget on the choosing half."""
        return not self.missed(budgets, CHOOSING)

    def missed(self, budgets: tuple[Budget, ...], half: int) -> list[str]:
        """The latency budgets it is over, in words, on one half of the rounds."""
        return [
            f"{self.latency_us(b, half) / 1e3:.3f} ms on {b.device}, over {b}"
            for b in budgets
            if b.device is not None and self.latency_us(b, half) > b.limit
        ]

    def latency_us(self, budget: Budget, half: int) -> float:
        """Measured latency that a budget limits, on one half of the rounds."""
        assert budget.device is not None
        measurement = self.measured[budget.device]
        median = half_p50_us(measurement, half)
        # Tails need every sample there is; they are scaled to the rounds by the medians' ratio.
        return median * (measurement.p95_us / measurement.p50_us if budget.quantity == "p95" else 1.0)


def run_verify(run: Run, progress: Progress) -> None:
    """Measure the search's front and choose the most accurate network within every budget.

    Raises:
        InfeasibleError: every measured network is over a budget.
    """
    if run.done("verify"):
        return
    found = sorted(run.result("search")["front"], key=lambda row: float(row["val_top1"]))
    dataset = run_dataset(run)
    limits = run_limits(run, dataset.num_classes)
    picked = [found[i] for i in _spread(len(found), run.config.verify.networks)]
    devices = run_devices(run)
    models = _export_front(run, dataset, picked, progress)
    measured: dict[str, dict[str, Measurement]] = {arch: {} for arch in models}
    for name, device in devices.items():
        rows = measure_networks(
            {arch: run.folder / path for arch, path in models.items()},
            device,
            rounds=run.config.verify.rounds,
            seed=run.config.seed,
            out=rows_path(run, name),
            transport=run_transport(run, device),
            progress=lambda _, done, total: progress("measuring the front", done, total),
        )
        for arch, measurement in rows.items():
            measured[arch][name] = measurement
    candidates = [
        Candidate(run.space.parse(row["arch"]), row["val_top1"], models[row["arch"]], measured[row["arch"]])
        for row in picked
    ]
    dropped = _dropped(candidates, limits.budgets)
    try:
        chosen = _choose(candidates, dropped, limits.budgets)
    except InfeasibleError:
        # Decided: the same command shall measure anew, not find the same again.
        for name, device in devices.items():
            discount(rows_path(run, name), device)
        raise
    front = [_entry(candidate, dropped.get(candidate.arch.id), limits, run) for candidate in candidates]
    run.finish(
        "verify",
        {"front": front, "chosen": chosen.arch.id, "val_top1": chosen.val_top1, "model": chosen.model},
    )


def model_path(number: int) -> str:
    """The file of a network of the front, by its place there, within the run folder."""
    return f"verify/models/{number:03d}.onnx"


def rows_path(run: Run, device: str) -> Path:
    """Where the rows of the front's measurements on one device are kept."""
    return run.folder / "verify" / f"{device}.jsonl"


def _spread(count: int, wanted: int) -> list[int]:
    """`wanted` of `count` positions, evenly, the last (the most accurate) always among them."""
    return sorted(set(np.linspace(count - 1, 0, min(count, wanted)).round().astype(int).tolist()))


def _export_front(run: Run, dataset: Dataset, picked: list[dict[str, Any]], progress: Progress) -> dict[str, str]:
    """The very subnets that were scored, as ONNX files; paths within the run folder by arch."""
    net = trained_supernet(run, dataset)
    calibration = calibration_pictures(run, dataset)
    validation = scoring_split(run, dataset)
    form = run_form(run)
    models = {}
    for number, row in enumerate(picked):
        progress("exporting the front", number, len(picked))
        subnet = materialise(net, run.space.parse(row["arch"]), calibration)
        score = top1(subnet, validation)
        if abs(score - row["val_top1"]) > SCORE_TOLERANCE:
            raise ParityError(
                f"{row['arch']} scored {row['val_top1']:.4f} in the search and {score:.4f} now: "
                "the weights or pictures changed; start a new run"
            )
        path = model_path(number)
        export_onnx(subnet, run.folder / path, form=form)
        models[row["arch"]] = path
    progress("exporting the front", len(picked), len(picked))
    return models


def _dropped(candidates: list[Candidate], budgets: tuple[Budget, ...]) -> dict[str, str]:
    """Why networks are dropped, by arch: over budget, or dominated by another as measured."""
    reasons = {
        c.arch.id: "over budget: " + "; ".join(missed) for c in candidates if (missed := c.missed(budgets, JUDGING))
    }
    kept = [c for c in candidates if c.arch.id not in reasons]
    if kept:
        points = np.array([[1 - c.val_top1, *(half_p50_us(m, JUDGING) for m in c.measured.values())] for c in kept])
        best = set(non_dominated(points).tolist())
        reasons |= {c.arch.id: "another is as accurate and faster" for i, c in enumerate(kept) if i not in best}
    return reasons


def _choose(candidates: list[Candidate], dropped: dict[str, str], budgets: tuple[Budget, ...]) -> Candidate:
    feasible = [c.arch.id not in dropped and c.may_be_chosen(budgets) for c in candidates]
    if not any(feasible):
        reasons = "\n".join(
            f"  {c.arch.id}: {dropped.get(c.arch.id, 'over budget on the choosing half')}" for c in candidates
        )
        raise InfeasibleError(
            f"none of the {len(candidates)} networks measured is within the budget:\n{reasons}\n"
            "Start a run with a looser budget, or measure again on a quieter machine: `edgenas verify` does."
        )
    points = [[1 - c.val_top1, *(half_p50_us(m, CHOOSING) for m in c.measured.values())] for c in candidates]
    return candidates[choose_best(points, feasible)]


def half_p50_us(measurement: Measurement, half: int) -> float:
    """The p50 over one half of a measurement's rounds. What is reported is the judging half's."""
    return float(np.median(np.array_split(measurement.rounds_p50_us, 2)[half]))


def _entry(candidate: Candidate, reason: str | None, limits: Limits, run: Run) -> dict[str, Any]:
    coverage = run.config.profile.coverage
    latency = {}
    for name, predictor in limits.predictors.items():
        own = tuple(budget for budget in limits.budgets if budget.device == name)
        low, high = predictor.interval([candidate.arch], coverage)[0].tolist()
        latency[name] = {
            "predicted_us": float(predictor.predict([candidate.arch])[0]),
            "interval_us": [low, high],
            "coverage": coverage,
            "p50_us": half_p50_us(candidate.measured[name], JUDGING),
            "p95_us": candidate.measured[name].p95_us,
            "meets_budget": not candidate.missed(own, JUDGING) if own else None,
            "repeat_noise": candidate.measured[name].repeat_noise,
            "doubts": list(candidate.measured[name].doubts),
        }
    return {
        "arch": candidate.arch.id,
        "val_top1": candidate.val_top1,
        "dropped": reason is not None,
        "dropped_because": reason,
        "latency": latency,
    }
