"""Is the search worth it? Rivals of equal measured latency and equal time, as JSON, and a figure for each set.

    python tests/benchmarks/worth.py --work work --out examples/results/worth.json

Whole runs on Fashion-MNIST and CIFAR-10, 20,000 training pictures each (those of `trust.py`, if --work is the same),
then MobileNetV3-Small and random search with the time that each run took, three seeds each. Says first how many hours
are left. Everything is kept as it is done: the same command goes on. Latencies are measured: nothing else should run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from evidence_runs import begun, do, parser, seconds_left, tell_hours, write_results

from edgenas.display import ProgressDisplay
from edgenas.pipeline.run import STAGES, Run
from edgenas.pipeline.worth import Worth, run_worth, worth_told


def main() -> None:
    command = parser(__doc__ or "")
    command.add_argument("--seeds", type=int, default=3)
    args = command.parse_args()
    runs = {name: begun(name, args) for name in args.sets}
    tell_hours({name: hours_left(run, args) for name, run in runs.items()})
    if args.estimate:
        return
    for name, run in runs.items():
        do(run, STAGES)
        with ProgressDisplay() as progress:
            found = run_worth(run, Worth(args.seeds), progress)
        write_results(args.out, name, found, run.folder / "worth/worth.png")


def hours_left(run: Run, args: argparse.Namespace) -> float:
    """Seconds of the run's own stages and of the rivals, who take as long as training and searching do."""
    if run.done("export"):
        return worth_told(run, Worth(args.seeds))[1]
    trained = float(run.result("train")["train_seconds"]) if run.done("train") else seconds_left(run, ("train",))
    searched = float(run.result("search")["seconds"]) if run.done("search") else seconds_left(run, ("search",))
    return seconds_left(run, STAGES) + 2 * args.seeds * (trained + searched)


if __name__ == "__main__":
    main()
