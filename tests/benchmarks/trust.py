"""Can inherited accuracies be trusted? A table, as JSON, and a figure for each set.

    python tests/benchmarks/trust.py --work work --out examples/results/trust.json

Fashion-MNIST (12 subnets) and CIFAR-10 (10), 20,000 training images each. Prints first how many hours are left. Every
finished stage and subnet is kept, and the same command resumes. Accuracies of subnets trained from scratch are kept
beside --out, so that a command with another --work folder resumes with them.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from evidence_runs import SETTINGS, Rows, begun, do, parser, seconds_left, tell_hours, write_results

from edgenas.display import ProgressDisplay
from edgenas.studies.ranking import RankingSettings, plan_ranking, run_ranking


def main() -> None:
    command = parser(__doc__ or "")
    command.add_argument("--subnets", type=int, help="default: 12 of Fashion-MNIST, 10 of CIFAR-10")
    command.add_argument("--epochs", type=float, help="of each standalone training; default: as many as the supernet")
    command.add_argument("--repeats", type=int, default=1, help="standalone trainings of each subnet")
    args = command.parse_args()
    runs = {name: begun(name, args) for name in args.sets}
    rows = {name: Rows.of(run, "study/ranking", args.out) for name, run in runs.items()}
    for kept in rows.values():
        kept.take_up()
    wanted = {
        name: RankingSettings(args.subnets or SETTINGS[name].subnets, args.epochs, repeats=args.repeats)
        for name in args.sets
    }
    standalone = {name: plan_ranking(run, wanted[name], args.jobs)[1] for name, run in runs.items()}
    tell_hours({name: seconds_left(run, ("train",)) + standalone[name] for name, run in runs.items()})
    if args.estimate:
        return
    for name, run in runs.items():
        do(run, ("train",))
        try:
            with ProgressDisplay() as progress:
                found = run_ranking(run, wanted[name], progress, args.jobs)
        finally:
            rows[name].keep()
        write_results(args.out, name, found.to_json(), run.folder / "study/ranking/ranking.png")


if __name__ == "__main__":
    main()
