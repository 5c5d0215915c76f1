"""A finished run folder, written in the formats the stages write."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.files import write_json, write_yaml
from edgenas.report.load import load_run
from edgenas.report.markdown import render_markdown
from edgenas.report.report_sections import report_of

BUDGET_US = 400.0


QUALITY = {
    "mape": 0.027,
    "within_5": 0.92,
    "within_10": 1.0,
    "kendall_tau": 0.97,
    "rmspe": 0.031,
    "bias": 0.008,
    "n_fit": 96,
    "n_test": 12,
    "repeat_noise": 0.009,
    "coverage_90": 0.92,
    "median_half_width_90": 0.055,
    "mape_macs_linear": 0.142,
    "mape_plain_sum": 0.088,
}
FEASIBLE = {"smallest": 100.0, "median": 300.0, "largest": 900.0, "share": 0.25}


def markdown_of(folder: Path) -> str:
    """Return report.md of a run without its images, which take long to draw."""
    return render_markdown(report_of(load_run(folder)))


def budgets_of(devices: tuple[str, ...]) -> list[str]:
    return [f"{device}={BUDGET_US * (1 + k)}us" for k, device in enumerate(devices)] + ["macs=12.5M"]


def arch(i: int) -> str:
    return f"r{20 + 2 * i}_w16-k3e1_w24-k5e4-k3e3_w{32 + 8 * i}-k3e{1 + i % 3}"


def write_run(folder: Path, devices: tuple[str, ...] = ("here",), seed: int = 0) -> dict[str, Any]:
    """Write a whole run; returns its summary."""
    rng = np.random.default_rng(seed)
    config = {"name": "digits-demo", "space": "digits-24", "data": {"name": "digits"}, "train": {"epochs": 30}}
    write_yaml(folder / "config.yaml", {"schema_version": 1, **config, "devices": list(devices)})
    write_json(
        folder / "data.json",
        {
            "name": "digits",
            "num_classes": 10,
            "classes": [str(i) for i in range(10)],
            "counts": {"train": 1149, "validation": 288, "test": 360},
            "class_counts": {},
            "presize": None,
            "broken": [],
            "equal_images": 0,
            "copies": [],
            "notes": [],
            "digest": "d",
        },
    )
    _training(folder, rng)
    for device in devices:
        _latency(folder / "latency" / device, rng)
    _search(folder, devices, rng)
    summary = _summary(devices, rng)
    write_json(folder / "summary.json", summary)
    return summary


def _training(folder: Path, rng: np.random.Generator) -> None:
    for step in range(0, 600, 2):
        loss = 0.25 + 2.1 * np.exp(-step / 90) + rng.normal(0, 0.06)
        append = {"kind": "step", "step": step, "epoch": step / 18, "loss": max(float(loss), 0.05)}
        append |= {"learning_rate": 2e-3 * (1 - step / 600), "images_per_second": 2100.0, "seconds": step * 0.03}
        _append(folder / "supernet" / "training.jsonl", append)
        if step % 100 == 98:
            top1 = {"smallest": 0.93 - 0.6 * np.exp(-step / 120), "largest": 0.985 - 0.5 * np.exp(-step / 90)}
            row = {"kind": "validation", "step": step, "epoch": step / 18, "top1": top1}
            _append(folder / "supernet" / "training.jsonl", row)


def _append(path: Path, row: dict[str, Any]) -> None:
    # `files.append_jsonl` waits for the disk at each row, too long for hundreds.
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


def _latency(folder: Path, rng: np.random.Generator) -> None:
    measured = np.sort(rng.uniform(150, 900, 12))
    predicted = measured * rng.normal(1.01, 0.03, 12)
    held_out = [
        {"arch": arch(i), "predicted_us": float(p), "measured_us": float(m)}
        for i, (p, m) in enumerate(zip(predicted, measured, strict=True))
    ]
    write_json(
        folder / "score.json",
        QUALITY | {"held_out": held_out},
    )
    circumstances = {"cpu": "4-core example", "governor": None, "load_before": 0.12, "turbo": True}
    write_json(folder / "meta.json", {"device": folder.name, "circumstances": circumstances})


def _search(folder: Path, devices: tuple[str, ...], rng: np.random.Generator) -> None:
    for i in range(120):
        latency = float(rng.uniform(120, 420))
        error = 0.02 + 0.09 * float(np.exp(-latency / 160)) + abs(float(rng.normal(0, 0.012)))
        times = {device: latency * (1 + k) for k, device in enumerate(devices)}
        row = {"arch": f"r{i + 1}_w8-k3e1", "error": error, "latency_us": times, "weights": "w", "seconds": 0.4}
        _append(folder / "search" / "evaluations.jsonl", row)
    write_json(
        folder / "search" / "result.json",
        {
            "strategy": "nsga2",
            "refits": 0,
            "asked": 120,
            "evaluations": 120,
            "origins": {},
            "exhausted": False,
            "failures": [],
            "seconds": 48.2,
            "objectives": [{"name": "error", "unit": ""}, {"name": "latency@here", "unit": "us"}],
            "hypervolume": 31.4,
            "reference_point": [0.16, 452.0],
            "budgets": budgets_of(devices),
            "feasibility": {"share": 0.2, "budgets": [dict(FEASIBLE)] * (len(devices) + 1)},
            "front": [{"arch": arch(5), "val_top1": 0.98, "objectives": {"error": 0.02}}],
            "hypervolume_by_batch": [22.0, 27.5, 29.9, 30.8, 31.3, 31.4],
            "evaluations_by_batch": [20, 40, 60, 80, 100, 120],
        },
    )


def _summary(devices: tuple[str, ...], rng: np.random.Generator) -> dict[str, Any]:
    front = []
    for i in range(7):
        latency = {}
        for k, device in enumerate(devices):
            predicted = (170 + 36 * i) * (1 + k)
            p50 = predicted * float(rng.normal(1.0, 0.025)) if i < 6 else BUDGET_US * (1 + k) * 1.04
            latency[device] = {
                "predicted_us": predicted,
                "interval_us": [0.95 * predicted, 1.05 * predicted],
                "coverage": 0.9,
                "p50_us": p50,
                "p95_us": p50 * 1.04,
                "verdict": "within" if p50 <= BUDGET_US * (1 + k) else "over",
            }
        val_top1 = 0.985 - 0.045 * float(np.exp(-i / 2.2))
        dropped = {"dropped": i == 6, "dropped_because": "over budget" if i == 6 else None, "eligible": i < 6}
        front.append({"arch": arch(i), "val_top1": val_top1, "deployed_top1": val_top1, **dropped, "latency": latency})
    search = {"strategy": "nsga2", "evaluations": 120, "seconds": 48.2, "hypervolume": 31.4, "exhausted": False}
    return {
        "name": "digits-demo",
        "seed": 0,
        "space_id": "digits-24@1",
        "space_size": 1000,
        "space": "digits-24",
        "dataset": "digits",
        "budgets": budgets_of(devices),
        "supernet": {"params": 412_345, "train_seconds": 75.3, "images_per_second": 2104.0},
        "predictors": dict.fromkeys(devices, QUALITY),
        "search": search | {"reference_point": [0.16, 452.0], "objectives": []},
        "choice": {"by": "best", "words": "the most accurate within every budget"},
        "notes": [],
        "front": front,
        "first_predictions": {d: [_first_prediction(one, d) for one in front] for d in devices},
        "chosen": {
            "arch": arch(5),
            "val_top1": front[5]["val_top1"],
            "latency": {device: _shipped(front[5]["latency"][device], 1 + k) for k, device in enumerate(devices)},
            "verdict": "within",
            "test_top1": 0.9722,
            "onnx": "export/bundle/model.onnx",
            "bundle": "export/bundle",
        },
    }


def _first_prediction(network: dict[str, Any], device: str) -> dict[str, Any]:
    keys = ("predicted_us", "interval_us", "coverage", "p50_us")
    return {"arch": network["arch"], **{key: network["latency"][device][key] for key in keys}}


def _shipped(measured: dict[str, Any], times: int) -> dict[str, Any]:
    """What the shipped file took, a little less than the network of the front."""
    p50 = 0.98 * measured["p50_us"]
    return {
        "p50_us": p50,
        "p95_us": 1.04 * p50,
        "ci_low_us": 0.99 * p50,
        "ci_high_us": 1.01 * p50,
        "count": 1600,
        "verdict": "within",
        "limited": "p50",
        "limit_us": BUDGET_US * times,
        "value_us": p50,
        "upper_us": 1.01 * p50,
        "sessions": 4,
        "repeated": False,
        "warnings": [],
        "model_rss_bytes": None,
        "process_rss_bytes": None,
    }


def with_int8(folder: Path, devices: tuple[str, ...] = ("here",)) -> dict[str, Any]:
    """Let a finished run have exported int8, too; returns what summary.json says of it."""
    summary = json.loads((folder / "summary.json").read_text())
    latency = {
        device: {
            "p50_us": 200.0 * (1 + k),
            "p95_us": 210.0 * (1 + k),
            "ci_low_us": 198.0 * (1 + k),
            "ci_high_us": 203.0 * (1 + k),
            "repeat_noise": 0.012,
            "warnings": [],
            "fp32_p50_us": 350.0,
            "fp32_ci_low_us": 347.0,
            "fp32_ci_high_us": 352.0,
            "fp32_repeat_noise": 0.008,
            "speedup": 350.0 / (200.0 * (1 + k)),
            "worth_it": k == 0,
        }
        for k, device in enumerate(devices)
    }
    int8 = {
        "onnx": "export/bundle/model_int8.onnx",
        "val_top1": summary["chosen"]["val_top1"] - 0.007,
        "test_top1": 0.9556,
        "fp32_val_top1": summary["chosen"]["val_top1"],
        "fp32_test_top1": summary["chosen"]["test_top1"],
        "fine_tuning": None,
        "quantiser_recipe": "qdq-u8s8-pc-entropy-fp32ends-v1",
        "recipes_tried": {
            "qdq-u8s8-pc-minmax-fp32ends-v1": 0.941,
            "qdq-u8s8-pc-entropy-fp32ends-v1": summary["chosen"]["val_top1"] - 0.007,
        },
        "max_drop": 0.01,
        "size_bytes": 130_000,
        "fp32_size_bytes": 410_000,
        "latency": latency,
        "notes": [f"int8 is worth it on {device}" for device in devices],
    }
    write_json(folder / "summary.json", summary | {"int8": int8})
    return int8


def understanding(tau: float = 0.9) -> dict[str, Any]:
    """What verify/understanding.json holds."""

    def gene(name: str, points: float, here: float) -> dict[str, Any]:
        latency = {"here": {"change": here, "share": 0.5}, "pi4": {"change": 2 * here, "share": 0.5}}
        return {"name": name, "val_top1": {"change": points, "share": 0.4}, "latency_us": latency}

    def move(before: float, after: float, top1: float, deviation: float | None, *, within: bool) -> dict[str, Any]:
        change = {"val_top1": top1, "deviation": deviation, "source": "scored" if deviation is None else "model"}
        latency = {"here": 10.0 * (after - before), "pi4": 20.0 * (after - before)}
        own = {"gene": "stage1.block0.kernel", "before": before, "after": after, "arch": "r8_w8-k3e1"}
        costs = {"macs": 1e5 * (after - before), "weight_bytes": 4e3 * (after - before), "peak_activation_bytes": 0.0}
        return {**own, "latency_us": latency, "costs": costs, "within_budgets": within, **change}

    return {
        "evaluations": 80,
        "model": {"kind": "ordinal", "rows": 80, "rmse": 0.01, "kendall_tau": tau, "coverage_90": 0.9},
        "genes": [gene("resolution", 0.02, 50.0), gene("stage1.expand", 0.01, 90.0), gene("stage1.kernel", 0.0, 5.0)],
        "moves": [
            move(3, 5, 0.004, 0.01, within=True),
            move(3, 1, -0.01, None, within=True),
            move(5, 7, 0.02, None, within=False),
        ],
    }
