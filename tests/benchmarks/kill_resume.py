"""kill -9 at random moments of a run, then the same command: does it end with the undisturbed front?

    OMP_NUM_THREADS=1 python tests/benchmarks/kill_resume.py --kills 20 --seed 0 --jobs 2 --out kill_resume.jsonl

The device is synthetic and gives every run the same times. One run is not disturbed; every kill has a run of its own.
Moments lie at random in equal parts of the undisturbed run's duration. Rows are appended to --out as they come; the
same command resumes with the missing ones. The summary, with all rows, is printed as JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from killing import differences, kill_when, stage_of, start
from machine import machine, versions

from edgenas.files import append_jsonl, read_jsonl
from edgenas.records.paths import RESULTS
from edgenas.runs.stage_order import ORDER, STAGES

EARLIER = 0.8
"""Where a run ends before its moment comes, the next try is that much earlier."""


def main() -> None:
    args = parser().parse_args()
    work = args.work or args.out.with_suffix("")
    done = {row["trial"]: row for row in read_jsonl(args.out)}
    if "undisturbed" not in done or not finished(work / "undisturbed" / "run"):
        append_jsonl(args.out, undisturbed(work / "undisturbed", args))
    seconds = next(row["seconds"] for row in reversed(read_jsonl(args.out)) if row["trial"] == "undisturbed")
    draw = random.Random(args.seed)
    shares = [(number + draw.random()) / args.kills for number in range(args.kills)]
    with ThreadPoolExecutor(args.jobs) as pool:
        left = [number for number in range(args.kills) if number not in done]
        trials = [pool.submit(trial, number, shares[number], seconds, work, args) for number in left]
        for row in (future.result() for future in as_completed(trials)):
            append_jsonl(args.out, row)
            verdict = "equal" if row["equal"] else f"UNEQUAL {row['differences']}"
            print(f"trial {row['trial']}: killed in {row['stage']}, {verdict}", file=sys.stderr)
    print(json.dumps(summary(args), indent=2, ensure_ascii=False))


def undisturbed(cwd: Path, args: argparse.Namespace) -> dict[str, Any]:
    shutil.rmtree(cwd, ignore_errors=True)
    began = time.monotonic()
    process = begin(cwd, args)
    if process.wait() != 0:
        raise SystemExit(f"the undisturbed run ended with exit code {process.returncode}, see {cwd / 'log'}")
    seconds = time.monotonic() - began
    return {"trial": "undisturbed", "seconds": seconds}


def trial(number: int, share: float, seconds: float, work: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One kill, and the same command until it ends."""
    cwd, moment = work / f"trial-{number:03d}", share * seconds
    while not killed_at(moment, cwd, args):
        moment *= EARLIER
    stage = stage_of(cwd / "run")
    began = time.monotonic()
    process = begin(cwd, args)
    code = process.wait()
    unequal = differences(cwd / "run", work / "undisturbed" / "run") if code == 0 else ["did not finish"]
    row = {
        "trial": number,
        "killed_at_s": round(moment, 2),
        "share_of_undisturbed": round(moment / seconds, 4),
        "stage": stage,
        "exit_code": code,
        "resumed_s": round(time.monotonic() - began, 2),
        "equal": not unequal,
        "differences": unequal,
    }
    if not unequal:
        shutil.rmtree(cwd)
    return row


def killed_at(moment: float, cwd: Path, args: argparse.Namespace) -> bool:
    shutil.rmtree(cwd, ignore_errors=True)
    end = time.monotonic() + moment
    return kill_when(begin(cwd, args), lambda: time.monotonic() >= end)


def begin(cwd: Path, args: argparse.Namespace) -> subprocess.Popen[bytes]:
    cwd.mkdir(parents=True, exist_ok=True)
    return start(*arguments(args), cwd=cwd, pace=args.pace, checkpoints=args.checkpoints, log=cwd / "log")


def arguments(args: argparse.Namespace) -> list[str]:
    command = ["demo"] if args.config is None else ["run", str(args.config.resolve())]
    return [*command, "--run", "run", *(word for text in args.set for word in ("--set", text))]


def finished(folder: Path) -> bool:
    return all((folder / RESULTS[stage]).exists() for stage in STAGES)


def summary(args: argparse.Namespace) -> dict[str, Any]:
    rows = {row["trial"]: row for row in read_jsonl(args.out)}
    trials = [rows[number] for number in range(args.kills)]
    return {
        "command": "edgenas " + " ".join(arguments(args)),
        "machine": machine(),
        "versions": versions("torch", "numpy", "onnx", "onnxruntime"),
        "jobs": args.jobs,
        "pace_s": args.pace,
        "checkpoints_s": args.checkpoints,
        "seed": args.seed,
        "undisturbed_s": round(rows["undisturbed"]["seconds"], 1),
        "kills": len(trials),
        "equal": sum(row["equal"] for row in trials),
        "by_stage": {s: found for s in ("start", *ORDER) if (found := sum(row["stage"] == s for row in trials))},
        "trials": trials,
    }


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--kills", type=int, default=20)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--jobs", type=int, default=1, help="runs at a time")
    command.add_argument("--out", type=lambda text: Path(text).resolve(), default=Path("kill_resume.jsonl").resolve())
    command.add_argument(
        "--work", type=lambda text: Path(text).resolve(), help="folder of the runs; default: --out without its suffix"
    )
    command.add_argument("--config", type=Path, help="another config than the demo's")
    command.add_argument("--set", action="append", default=[], help="override a key of the config")
    command.add_argument("--pace", type=float, default=1.0, help="seconds that a process of the synthetic timer takes")
    command.add_argument("--checkpoints", type=float, default=2.0, help="seconds between checkpoints (edgenas: 60)")
    return command


if __name__ == "__main__":
    main()
