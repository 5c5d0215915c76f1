"""Shipped files measured again: do files that were judged `within` their budget stay within it half an hour later?

    for seed in 0 1 2; do edgenas demo --run runs/$seed --set seed=$seed --set verify.networks=12; done
    python tests/benchmarks/shipped_again.py ship runs/0 runs/1 runs/2 --best 10 --out shipped
    # at least 30 minutes later
    python tests/benchmarks/shipped_again.py again shipped

`ship` exports up to ten of the best networks of each run, each with its verdict, and times all files in one session,
interleaved with a sentinel model (the first file). `again` times them once more and prints JSON: how many files of
those that shipped as `within` are over their budget by more than 3 %, relative to the sentinel and raw.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from machine import machine, versions

from edgenas.files import read_json, write_json
from edgenas.latency.device import probe
from edgenas.profiling.session import measure_networks
from edgenas.profiling.transport_registry import TransportRegistry
from edgenas.records.verify import VerifyRecord
from edgenas.runs.run import open_run
from edgenas.stages.export import export_bundle
from edgenas.stages.shipping.bundle_network import BundleOptions

ROUNDS, SLACK, LEAST_SECONDS = 40, 1.03, 1800


def silent(label: str, done: int, total: int) -> None:
    pass


def ship(folders: list[Path], best: int, out: Path) -> None:
    rows: list[dict[str, Any]] = []
    for folder in folders:
        run = open_run(folder)
        for k in range(1, min(best, len(run.result(VerifyRecord).to_json()["candidates"])) + 1):
            bundle = export_bundle(run, f"best:{k}", BundleOptions(), out / f"{folder.name}-{k}", silent)
            manifest = read_json(bundle / "manifest.json")
            ((device, latency),) = manifest["latency"].items()
            rows.append({"name": bundle.name, "arch": manifest["arch"], "device": device, **latency})
    write_json(out / "shipped.json", {"files": rows, "measured_at": time.time(), "first_us": timed(out, rows, "first")})


def timed(out: Path, rows: list[dict[str, Any]], session: str) -> dict[str, float]:
    """Time all files in one session, interleaved; p50 in microseconds by name."""
    files = {row["name"]: out / row["name"] / "model.onnx" for row in rows}
    device = probe()
    transport = TransportRegistry().transport(device)
    rows_path = out / f"{session}.jsonl"
    measured = measure_networks(files, device, rounds=ROUNDS, seed=0, out=rows_path, transport=transport)
    return {name: found.p50_us for name, found in measured.items()}


def again(out: Path) -> dict[str, Any]:
    shipped = read_json(out / "shipped.json")
    waited = time.time() - shipped["measured_at"]
    if waited < LEAST_SECONDS:
        raise SystemExit(f"wait {LEAST_SECONDS - waited:.0f} s more: files are measured again half an hour later")
    rows, first = shipped["files"], shipped["first_us"]
    second = timed(out, rows, "second")
    sentinel = rows[0]["name"]
    speed = second[sentinel] / first[sentinel]
    files = [
        {
            "arch": row["arch"],
            "verdict": row["verdict"],
            "limit_us": row["limit_us"],
            "shipped_us": row["p50_us"],
            "first_us": first[row["name"]],
            "again_us": second[row["name"]],
            "over": second[row["name"]] / speed > SLACK * row["limit_us"],
            "over_raw": second[row["name"]] > SLACK * row["limit_us"],
        }
        for row in rows
    ]
    within = [file for file in files if file["verdict"] == "within"]
    return {
        "machine": machine(),
        "versions": versions("onnxruntime", "torch"),
        "minutes_between": waited / 60,
        "sentinel_ratio": speed,
        "within": len(within),
        "over_by_3_percent": sum(file["over"] for file in within),
        "over_by_3_percent_raw": sum(file["over_raw"] for file in within),
        "files": files,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    shipping = commands.add_parser("ship")
    shipping.add_argument("runs", type=Path, nargs="+")
    shipping.add_argument("--best", type=int, default=10)
    shipping.add_argument("--out", type=Path, required=True)
    commands.add_parser("again").add_argument("out", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "ship":
        ship(arguments.runs, arguments.best, arguments.out)
    else:
        print(json.dumps(again(arguments.out), indent=2))


if __name__ == "__main__":
    main()
