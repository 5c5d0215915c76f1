"""Is the search worth it? Baselines of equal measured latency and equal time, as JSON, and a figure for each set.

    python tests/benchmarks/worth.py --work work --out examples/results/worth.json

Whole runs on Fashion-MNIST and CIFAR-10, 20,000 training images each (those of `trust.py`, if --work is the same),
then MobileNetV3-Small and random search with the time that each run took, three seeds each. Prints first how many hours
are left. Finished work is kept, and the same command resumes. Latencies are measured: nothing else should run. With
OMP_NUM_THREADS=1 everything is trained with one thread, and --jobs trains as many baselines at a time.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from evidence_runs import begun, do, parser, seconds_left, tell_hours, write_results

from edgenas.display import ProgressDisplay
from edgenas.records.finetune import FinetuneRecord
from edgenas.records.search import SearchRecord
from edgenas.records.train import TrainRecord
from edgenas.runs.run import Run
from edgenas.runs.stage_order import ORDER
from edgenas.studies.baseline_training import BaselineSettings
from edgenas.studies.baselines import plan_baselines, run_baselines


def main() -> None:
    command = parser(__doc__ or "")
    command.add_argument("--seeds", type=int, default=3)
    args = command.parse_args()
    runs = {name: begun(name, args) for name in args.sets}
    tell_hours({name: all_seconds_left(run, args) for name, run in runs.items()})
    if args.estimate:
        return
    for name, run in runs.items():
        do(run, ORDER)
        with ProgressDisplay() as progress:
            found = run_baselines(run, BaselineSettings(args.seeds), progress, jobs=args.jobs)
        write_results(args.out, name, found.to_json(), run.folder / "study/baselines/baselines.png")


def all_seconds_left(run: Run, args: argparse.Namespace) -> float:
    """Seconds of the run's own stages, and of the baselines: as long as training, searching and fine-tuning take."""
    if run.done("export"):
        return plan_baselines(run, BaselineSettings(args.seeds), args.jobs)[1]
    train_seconds = run.result(TrainRecord).train_seconds if run.done("train") else seconds_left(run, ("train",))
    search_seconds = run.result(SearchRecord).seconds if run.done("search") else seconds_left(run, ("search",))
    finetune_seconds = run.result(FinetuneRecord).seconds if run.done("finetune") else seconds_left(run, ("finetune",))
    each = train_seconds + search_seconds + finetune_seconds
    return seconds_left(run, ORDER) + 2 * args.seeds * each / args.jobs


if __name__ == "__main__":
    main()
