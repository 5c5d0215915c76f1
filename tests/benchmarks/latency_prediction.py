"""The error of predicted latency on unseen networks, and whether budgets hold, as JSON.

    python tests/benchmarks/latency_prediction.py profile fp32-t1 --folder F
    python tests/benchmarks/latency_prediction.py profile fp32-t2 --folder F
    python tests/benchmarks/latency_prediction.py profile int8-t1 --folder F
    python tests/benchmarks/latency_prediction.py profile browser-t1 --folder F
    python tests/benchmarks/latency_prediction.py few-shot fp32-t1 int8-t1 --folder F
    python tests/benchmarks/latency_prediction.py few-shot fp32-t1 browser-t1 --folder F
    python tests/benchmarks/latency_prediction.py budgets fp32-t1 --folder F
    python tests/benchmarks/latency_prediction.py promise fp32-t1 --folder F     (half an hour later, or more)

    python tests/benchmarks/latency_prediction.py profile fp32-t1 --folder F --space mobilenetv4-conv-224 --unseen 60
    python tests/benchmarks/latency_prediction.py profile int8-t1 --folder G --space mobile-int8 --unseen 60
    ... --blocks 45 --networks 15 --unseen 4                                     (a dry run: figures mean nothing)

Space, unless `--space` names a preset: `ofa-mbv3-w1.0` at 128, 160, 192 and 224 pixels. `profile` runs `edgenas
profile` as a user would, from nothing, then times random networks and compares the predictor with them. `few-shot` fits
the second setting's predictor on ten of its networks and the first one's table. `budgets` searches networks of the most
MACs whose 90 % bound is within each of ten budgets, times them, and keeps three that half of the rounds choose and the
other half confirm; `promise` times these again. Let nothing else run beside any of them. What a folder holds already is
not measured again.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from machine import machine, versions
from scipy.stats import kendalltau

from edgenas.budget import Budget
from edgenas.deploy.onnx.exporter import EXPORTER_VERSION
from edgenas.latency.device import dump_device, probe
from edgenas.latency.few_shot import informative_networks
from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.table import LatencyTable
from edgenas.profiling.measurement import Measurement, network_row
from edgenas.profiling.session import measure_networks
from edgenas.profiling.transports.browser import probe_browser
from edgenas.profiling.verdict import judge_measured
from edgenas.quantities import LATENCY
from edgenas.runs.run import Run, open_run
from edgenas.search.loop import optimise
from edgenas.space.arch import Arch
from edgenas.space.cost import cost
from edgenas.space.covering_samples import covering
from edgenas.space.loading import preset_names
from edgenas.space.space import Genes, SearchSpace
from edgenas.stages.devices.device_graphs import device_graphs, timing_export
from edgenas.stages.devices.device_latencies import read_latencies

Floats = npt.NDArray[np.float64]
SETTINGS: dict[str, dict[str, Any]] = {
    "fp32-t1": {"threads": 1, "precision": "fp32"},
    "fp32-t2": {"threads": 2, "precision": "fp32"},
    "int8-t1": {"threads": 1, "precision": "int8"},
    "browser-t1": {"threads": 1, "precision": "fp32"},
}
SPACE = "ofa-mbv3-w1.0"
RESOLUTIONS = {SPACE: [128, 160, 192, 224]}
"""Resolutions of spaces that are narrowed; others have all of theirs."""
GOALS = {"within_10": 0.97, "kendall_tau": 0.95}
BLOCKS, NETWORKS = 200, 60
ROUNDS = {"cpu": 16, "wasm": 8}  # By provider: a browser takes four times as long.
UNSEEN, UNSEEN_SEED = 100, 20_261_122
FEW = 10
FITS, FIT_SHARE = 5, 0.8
COVERAGE, RISK = 0.9, 0.1
BUDGETS, CANDIDATES, KEPT = 10, 8, 3
EVALUATIONS = 4_000
REFITS = 6
TOLERANCE = 0.02
LATER_SECONDS = 1800


def profile(setting: str, folder: Path, space: str, blocks: int, networks: int, unseen: int) -> dict[str, Any]:
    """A cold `edgenas profile`, and its predictor on `unseen` networks measured right after."""
    command = _profile(setting, folder, space, blocks, networks)
    run = open_run(folder / "run")
    found, measured = _unseen(run, folder, unseen)
    predictor = LatencyPredictor(run.space).fit(read_latencies(run).tables[setting])
    fits = _coverage(predictor, read_latencies(run).tables[setting], found, _p50(measured))
    scores = score(predictor, found, measured)
    met = {goal: scores[goal] >= least for goal, least in GOALS.items()}
    return {"setting": setting, "space": space, **command, **scores, **fits, "goals": GOALS, "met": met}


def _profile(setting: str, folder: Path, space: str, blocks: int, networks: int) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    device = probe(setting, **SETTINGS[setting])
    if setting == "browser-t1":
        device = probe_browser(device)
    (folder / "device.yaml").write_text(dump_device(device), encoding="utf-8")
    config = {
        "name": setting,
        "space": {"preset": space, "resolution": RESOLUTIONS.get(space)},
        "data": {"name": "digits"},
        "train": {"epochs": 1},
        "devices": [str(folder / "device.yaml")],
        "profile": {"blocks": blocks, "networks": networks, "rounds": ROUNDS[device.run.provider]},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    kept = folder / "command.json"
    if not kept.exists():
        words = ["profile", str(folder / "config.yaml"), "--run", str(folder / "run")]
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "edgenas", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        seconds = time.perf_counter() - started
        # The last line of a stage says how long it took.
        timed = re.findall(r"^(measuring|comparing graph variants): (\d+)/\2, (\d+) s$", done.stderr, re.M)
        device_seconds = {label: int(took) for label, _, took in timed}
        text = json.dumps({"command_seconds": seconds, "device_seconds": device_seconds})
        kept.write_text(text, encoding="utf-8")
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def _unseen(run: Run, folder: Path, count: int = UNSEEN) -> tuple[list[Arch], dict[str, Measurement]]:
    """Random networks that are not in the table, timed."""
    (device,) = run.devices.all.values()
    known = {row.key for row in read_latencies(run).tables[device.name].rows}
    rng = np.random.default_rng(UNSEEN_SEED)
    drawn = dict.fromkeys(run.space.sample(rng) for _ in range(2 * count))
    archs = [arch for arch in drawn if arch.id not in known][:count]
    return archs, time_networks(run, archs, folder / "unseen.jsonl")


def time_networks(run: Run, archs: Sequence[Arch], out: Path) -> dict[str, Measurement]:
    """Return models by architecture, as the run's device runs them."""
    devices = run.devices.all
    (device,) = devices.values()
    graphs = device_graphs(device, devices.values(), run.graph_variant)
    classes = _classes(run)
    named = {arch.id: run.space.with_classes(classes).unroll(arch) for arch in archs}
    paths = timing_export(graphs, _say)(named, out.parent / f"models-{out.stem}", None)
    return measure_networks(
        paths,
        device,
        rounds=ROUNDS[device.run.provider],
        seed=1,
        out=out,
        transport=run.devices.transport(device.name),
        quantiser_recipe=graphs.quantiser_recipe,
        progress=_say,
    )


def _say(what: str, done: int, total: int) -> None:
    if done in (0, total) or done % 500 == 0:
        print(f"{what} {done} of {total}", file=sys.stderr, flush=True)


def _classes(run: Run) -> int:
    return LatencyPredictor(run.space).fit(read_latencies(run).tables[next(iter(run.devices.all))]).space_.num_classes


def _p50(measured: dict[str, Measurement]) -> Floats:
    return np.array([one.p50_us for one in measured.values()])


def score(predictor: LatencyPredictor, archs: Sequence[Arch], measured: dict[str, Measurement]) -> dict[str, Any]:
    """Errors of predictions against measured p50, and what the machine itself repeats to."""
    seen, predicted = _p50(measured), predictor.predict(archs)
    error = predicted / seen - 1
    return {
        "networks": len(archs),
        "within_10": float(np.mean(np.abs(error) <= 0.10)),
        "within_5": float(np.mean(np.abs(error) <= 0.05)),
        "mape": float(np.abs(error).mean()),
        "bias": float(error.mean()),
        "kendall_tau": float(kendalltau(predicted, seen).statistic),
        "repeat_noise": float(np.mean([one.repeat_noise for one in measured.values()])),
        "archs_per_second": _speed(predictor),
    }


def _speed(predictor: LatencyPredictor, count: int = 100_000) -> float:
    space, rng = predictor.space, np.random.default_rng(0)
    genes = space.canonical(rng.integers(0, space.n_choices, (count, len(space.n_choices))))
    predictor.predict(genes)
    started = time.perf_counter()
    predictor.predict(genes)
    return count / (time.perf_counter() - started)


def _coverage(predictor: LatencyPredictor, table: LatencyTable, archs: Sequence[Arch], seen: Floats) -> dict[str, Any]:
    """Intervals of fits on random shares of the calibration networks, pooled."""
    rows = table.networks(predictor.space.structure_id, predictor.space_.num_classes)
    measured, p50 = [predictor.space.parse(row.key) for row in rows], np.array([row.p50_us for row in rows])
    inside, half = [], []
    for seed in range(FITS):
        kept = np.random.default_rng(seed).permutation(len(rows))[: round(FIT_SHARE * len(rows))]
        refit = predictor.refit([measured[place] for place in kept], p50[kept])
        bounds = refit.interval(archs, COVERAGE)
        inside.append(np.mean((bounds[:, 0] <= seen) & (seen <= bounds[:, 1])))
        half.append(np.median((bounds[:, 1] - bounds[:, 0]) / 2 / refit.predict(archs)))
    return {
        "interval_coverage": float(np.mean(inside)),
        "interval_coverage_by_fit": [float(value) for value in inside],
        "median_half_width": float(np.mean(half)),
        "networks_per_fit": len(kept),
    }


def few_shot(base: str, setting: str, folder: Path) -> dict[str, Any]:
    """Ten networks of one setting and the table of another, against the networks of `profile`."""
    rich, run = (open_run(folder / name / "run") for name in (base, setting))
    archs, measured = _unseen(run, folder / setting)
    begun = LatencyPredictor(rich.space).fit(read_latencies(rich).tables[base])
    few = informative_networks(begun, FEW, seed=1)
    own = time_networks(run, few, folder / setting / "few.jsonl")
    table = read_latencies(run).tables[setting]
    classes = _classes(run)
    rows = tuple(network_row(run.space.structure_id, classes, arch.id, own[arch.id]) for arch in few)
    predictor = LatencyPredictor(run.space).fit(LatencyTable(table.identity, {}, rows), begun)
    return {"base": base, "setting": setting, "networks_fitted": FEW, **score(predictor, archs, measured)}


def budgets(setting: str, folder: Path) -> dict[str, Any]:
    """Networks of the most MACs under each budget's bound, timed; three of each are kept.

    Where fewer hold, the predictor is refitted with what was timed and those budgets are searched again, as `edgenas
    run` does.
    """
    run = open_run(folder / setting / "run")
    table = read_latencies(run).tables[setting]
    limits = _limits(LatencyPredictor(run.space).fit(table))
    kept: dict[float, list[str]] = {limit: [] for limit in limits}
    measured: dict[str, Measurement] = {}
    candidates: dict[float, list[Arch]] = {limit: [] for limit in limits}
    tried = []
    for number in range(1 + REFITS):
        lacking = [limit for limit in limits if len(kept[limit]) < KEPT]
        if not lacking:
            break
        predictor = LatencyPredictor(run.space).fit(table)
        wanted = {limit: _most_macs(run.space, predictor, limit) for limit in lacking}
        fresh = [a for a in dict.fromkeys(chain(*wanted.values())) if a.id not in measured]
        found = time_networks(run, fresh, folder / setting / f"budgets-{number}.jsonl")
        measured |= found
        over = [measured[arch.id].p50_us > limit for limit, archs in wanted.items() for arch in archs]
        tried.append({"budgets": len(lacking), "timed": len(fresh), "over_budget": float(np.mean(over))})
        for limit, archs in wanted.items():
            candidates[limit] = list(dict.fromkeys([*candidates[limit], *archs]))
            kept[limit] = _promised(run.space, candidates[limit], measured, limit, predictor.space_.num_classes)
        rows = tuple(
            network_row(run.space.structure_id, predictor.space_.num_classes, arch, one) for arch, one in found.items()
        )
        table = table.extended(rows)
    value = {
        "measured_at": time.time(),
        "budgets": [{"limit_us": limit, "archs": archs} for limit, archs in kept.items()],
    }
    (folder / setting / "promise.json").write_text(json.dumps(value), encoding="utf-8")
    counts = {f"{limit:.0f}": len(archs) for limit, archs in kept.items()}
    return {"setting": setting, "searches": tried, "kept": counts}


def _limits(predictor: LatencyPredictor) -> list[float]:
    ends = predictor.predict([predictor.space.smallest, predictor.space.largest])
    found: list[float] = np.geomspace(1.3 * ends[0], 0.9 * ends[1], BUDGETS).tolist()
    return found


def _most_macs(space: SearchSpace, predictor: LatencyPredictor, limit_us: float) -> list[Arch]:
    def evaluate(genes: Genes) -> Floats:
        macs = [
            cost(space.with_classes(predictor.space_.num_classes).unroll(arch)).macs for arch in space.decode(genes)
        ]
        return np.column_stack([-np.array(macs, dtype=float), predictor.predict(genes)])

    def over(genes: Genes) -> Floats:
        return (predictor.upper(genes, RISK) / limit_us - 1)[:, None]

    initial = space.encode(covering(space, 40, seed=0))
    found = optimise(
        space.n_choices,
        evaluate,
        constraints=over,
        evaluations=EVALUATIONS,
        population=40,
        seed=0,
        initial=initial,
        repair=space.canonical,
    )
    within = np.flatnonzero((found.violations <= 0).all(axis=1))
    best = within[np.argsort(found.objectives[within, 0], kind="stable")][:CANDIDATES]
    return space.decode(found.genes[best])


def _promised(
    space: SearchSpace, archs: Sequence[Arch], measured: dict[str, Measurement], limit_us: float, num_classes: int
) -> list[str]:
    """Return the networks of the most MACs among those that one session judged to be within a budget."""
    budget = Budget(LATENCY, limit_us, "here")
    within = [arch for arch in archs if judge_measured(measured[arch.id], budget).verdict == "within"]
    within.sort(key=lambda arch: -cost(space.with_classes(num_classes).unroll(arch)).macs)
    return [arch.id for arch in within[:KEPT]]


def promise(setting: str, folder: Path) -> dict[str, Any]:
    """The kept networks timed again in fresh processes, half an hour later or more."""
    run = open_run(folder / setting / "run")
    value = json.loads((folder / setting / "promise.json").read_text(encoding="utf-8"))
    waited = time.time() - value["measured_at"]
    if waited < LATER_SECONDS:
        raise SystemExit(f"wait for another {LATER_SECONDS - waited:.0f} s: the promise is of later")
    pairs = [(arch, budget["limit_us"]) for budget in value["budgets"] for arch in budget["archs"]]
    archs = [run.space.parse(arch) for arch in dict.fromkeys(arch for arch, _ in pairs)]
    measured = time_networks(run, archs, folder / setting / "promise.jsonl")
    use = np.array([measured[arch].p50_us / limit for arch, limit in pairs])
    return {
        "setting": setting,
        "networks": len(pairs),
        "minutes_later": waited / 60,
        "broken_by_more_than_2_percent": int((use > 1 + TOLERANCE).sum()),
        "over_at_all": int((use > 1).sum()),
        "median_use": float(np.median(use)),
        "use": use.round(4).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["profile", "few-shot", "budgets", "promise"])
    parser.add_argument("settings", nargs="+", choices=list(SETTINGS))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--space", default=SPACE, choices=preset_names(), help="of profile; the others use the run's")
    parser.add_argument("--blocks", type=int, default=BLOCKS, help="measured by profile")
    parser.add_argument("--networks", type=int, default=NETWORKS, help="measured by profile to calibrate")
    parser.add_argument("--unseen", type=int, default=UNSEEN, help="networks that profile's predictor is compared on")
    arguments = parser.parse_args()
    if len(arguments.settings) != (2 if arguments.what == "few-shot" else 1):
        parser.error("few-shot takes two settings, the others one")
    *base, setting = arguments.settings
    where = {**machine(), **versions("torch", "onnxruntime"), "exporter_version": EXPORTER_VERSION}
    made: dict[str, Callable[[], dict[str, Any]]] = {
        "profile": lambda: profile(
            setting,
            arguments.folder / setting,
            arguments.space,
            arguments.blocks,
            arguments.networks,
            arguments.unseen,
        ),
        "few-shot": lambda: few_shot(*base, setting, arguments.folder),
        "budgets": lambda: budgets(setting, arguments.folder),
        "promise": lambda: promise(setting, arguments.folder),
    }
    print(json.dumps({"what": arguments.what, "machine": where, **made[arguments.what]()}, indent=2))


if __name__ == "__main__":
    main()
