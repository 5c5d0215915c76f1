"""Which recipe trains a supernet best in the same time? Fashion-MNIST; JSON lines, and a summary on standard output.

    python tests/benchmarks/ablations.py --minutes 8 --out ablations.jsonl --figure ablations.png > ablations.json

All sizes alike, uniform, sandwich with labels alone, sandwich with distillation, progressive shrinking,
alpha-divergence and delayed shrinking, each for --minutes by the clock (steps are timed first, so the actual time is
reported, too). Rows have the validation top-1 of the smallest, a middle and the largest subnet, with and without
batch-norm recalibration, and that of twelve subnets that cover the space, like the first ones of a search. Recipes are
ranked by the mean over these twelve, and compared by their seeds. Prints first how many hours are left. Each training
is a process of its own and appends a row; the same command resumes it and does what is missing. With --jobs trainings
share the machine equally, but for the last where their number is odd.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from evidence_runs import circumstances

from edgenas.config.reading import load_config
from edgenas.config.run_config import RunConfig
from edgenas.display import ProgressDisplay
from edgenas.files import append_jsonl, read_json, read_jsonl
from edgenas.progress import Progress
from edgenas.report.figure import Axis, Figure, Look, Series
from edgenas.report.image import Image, draw
from edgenas.report.lettering import lettering_of
from edgenas.space.arch import Arch
from edgenas.space.covering_samples import covering
from edgenas.space.space import SearchSpace
from edgenas.stages.weights.standalone_networks import setting_id
from edgenas.studies.worker_pool import check_jobs, train_in_pool
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.dataset import Dataset, load_dataset
from edgenas.training.fixed_settings import FILE_NAME as SCHEDULE
from edgenas.training.materialise import materialise, top1, uncalibrated_top1
from edgenas.training.training_loop import train

EXAMPLE = Path(__file__).parents[2] / "examples" / "fashion_mnist.yaml"
RECIPES = (
    "all-sizes",
    "uniform",
    "sandwich-labels",
    "sandwich",
    "progressive-shrinking",
    "alpha-divergence",
    "delayed-shrinking",
)
SUBNETS = ("smallest", "middle", "largest")
COVERING = 12
"""Subnets of all sizes, as a search begins with; the same for all recipes and seeds."""


@dataclass(frozen=True)
class Trial:
    """A training of one recipe from one seed; `setting` is a digest of the rest: config, threads, how many at once."""

    recipe: str
    seed: int
    minutes: float
    setting: str

    def row(self) -> dict[str, Any]:
        return asdict(self)


def archs_of(space: SearchSpace) -> dict[str, Arch]:
    middle = space.decode((space.n_choices // 2)[None])[0]
    return dict(zip(SUBNETS, (space.smallest, middle, space.largest), strict=True))


@dataclass(frozen=True)
class Trials:
    """Settings of all trials: the file of rows and the folder of checkpoints."""

    config: RunConfig
    out: Path
    work: Path

    def run(self, trial: Trial, progress: Progress) -> None:
        """Append the row of one."""
        # Of one seed for all: recipes are compared on the same images.
        append_jsonl(self.out, run_trial(trial, self.config, images(self.config), self.work, progress))


def images(config: RunConfig) -> Dataset:
    return load_dataset(config.images, config.seed, resolution=config.load_space().resolution[-1])


def run_trial(trial: Trial, config: RunConfig, dataset: Dataset, work: Path, progress: Progress) -> dict[str, Any]:
    """Train or resume training, then score."""
    space, folder = config.load_space(), work / f"{trial.recipe}-{trial.seed}-{trial.minutes:g}-{trial.setting}"
    trained = config.training.model_copy(update={"recipe": trial.recipe})
    torch.manual_seed(trial.seed)
    net = SuperNet(space.with_classes(dataset.num_classes), pixels=dataset.pixels)
    result = train(
        net,
        dataset,
        trained,
        seed=trial.seed,
        folder=folder,
        progress=lambda label, done, total: progress(f"{trial.recipe}, seed {trial.seed}: {label}", done, total),
        minutes=trial.minutes,
    )
    net.cpu().eval()
    images = dataset.train.images[: config.search.calibration_images]
    archs = archs_of(space).items()

    def calibrated(arch: Arch) -> float:
        return top1(materialise(net, arch, images), dataset.validation)

    row = {
        **trial.row(),
        "steps": read_json(folder / SCHEDULE)["steps"],
        "seconds": result.train_seconds,
        "images_per_second": result.images_per_second,
        "top1": {name: calibrated(arch) for name, arch in archs},
        "top1_covering": [calibrated(arch) for arch in covering(space, COVERING, 0)],
        "top1_uncalibrated": {name: uncalibrated_top1(net.extract(arch), dataset.validation) for name, arch in archs},
    }
    shutil.rmtree(folder)
    return row


def summary(rows: list[dict[str, Any]], dataset: Dataset, args: argparse.Namespace) -> dict[str, Any]:
    """Means over seeds, best first."""
    table = [of_recipe(recipe, [row for row in rows if row["recipe"] == recipe]) for recipe in args.recipes]
    return {
        **circumstances(),
        "training_images": len(dataset.train),
        "validation_images": len(dataset.validation),
        "minutes": args.minutes,
        "jobs": args.jobs,
        "recipes": sorted(table, key=lambda one: -one["mean_covering_top1"]),
    }


def of_recipe(recipe: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the accuracies and the time of a recipe's trainings."""
    scores = {
        kind: {name: float(np.mean([row[kind][name] for row in rows])) for name in SUBNETS}
        for kind in ("top1", "top1_uncalibrated")
    }
    covered = [float(np.mean(row["top1_covering"])) for row in rows]
    return {
        "recipe": recipe,
        **scores,
        "mean_top1": float(np.mean([*scores["top1"].values()])),
        "mean_covering_top1": float(np.mean(covered)),
        "covering_top1_by_seed": covered,
        "seeds": [row["seed"] for row in rows],
        "steps": [row["steps"] for row in rows],
        "seconds": [round(row["seconds"], 1) for row in rows],
    }


def verdict(recipes: list[dict[str, Any]]) -> str:
    """Return the best recipe, or those that are not significantly different, since their seeds overlap."""
    least = min(recipes[0]["covering_top1_by_seed"])
    level = [one["recipe"] for one in recipes if max(one["covering_top1_by_seed"]) >= least]
    seeds = len(recipes[0]["seeds"])
    if seeds == 1:
        return f"{level[0]} is ahead with one seed, which may be the seed's"
    if len(level) > 1:
        return f"{seeds} seeds do not tell {', '.join(level[:-1])} and {level[-1]} apart"
    return f"{level[0]} trains subnets of all sizes best, with each of {seeds} seeds"


def figure(found: dict[str, Any]) -> Image:
    """Draw top-1 of the subnets by recipe, the best above, recalibrated and with batch norm as trained."""
    recipes = found["recipes"]
    names = [one["recipe"] for one in recipes]
    looks = {"smallest": Look("blue", "down"), "middle": Look("green", "circle"), "largest": Look("red", "up")}
    panels = {
        "top1": ("validation top-1, batch norm recalibrated (%)", [_covering_mean(recipes)]),
        "top1_uncalibrated": ("validation top-1, batch norm as trained (%)", []),
    }
    finding = verdict(recipes)
    figures = []
    for kind, (title, others) in panels.items():
        series = [Series(name, [100 * one[kind][name] for one in recipes], names, look) for name, look in looks.items()]
        figures.append(Figure(finding, Axis(title), Axis("", categories=names), (*series, *others)))
    return draw(figures, finding, lettering_of({}))


def _covering_mean(recipes: list[dict[str, Any]]) -> Series:
    top1 = [100 * one["mean_covering_top1"] for one in recipes]
    return Series(
        f"mean of {COVERING} that cover the space", top1, [one["recipe"] for one in recipes], Look("ink", "diamond")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=RECIPES)
    parser.add_argument("--images", type=int, default=20_000, help="training images: a fixed, stratified subset")
    parser.add_argument("--minutes", type=float, default=8.0, help="of each training")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, with OMP_NUM_THREADS=1 one a core")
    parser.add_argument("--out", type=Path, default=Path("ablations.jsonl"))
    parser.add_argument("--figure", type=Path, help="PNG of the summary")
    parser.add_argument("--work", type=Path, help="folder of checkpoints; default: --out without its suffix")
    parser.add_argument("--config", type=Path, default=EXAMPLE)
    parser.add_argument("--set", action="append", default=[], help="override a key of the config")
    parser.add_argument("--estimate", action="store_true", help="only say how many hours are left")
    args = parser.parse_args()
    config = load_config(args.config, [f"data.limit={args.images}", *args.set])
    check_jobs(args.jobs)
    # What a row depends on; a recipe's training ends before anything else of a run begins.
    settings = config.model_dump(mode="json", include={"seed", "space", "data", "train"})
    settings |= {"calibration_images": config.search.calibration_images}
    setting = setting_id(settings | {"threads": torch.get_num_threads(), "jobs": args.jobs})
    wanted = [Trial(recipe, seed, args.minutes, setting) for seed in range(args.seeds) for recipe in args.recipes]
    left = [trial for trial in wanted if known(trial, args.out) is None]
    print(f"{len(left)} trainings left, about {len(left) * args.minutes / 60 / args.jobs:.2f} hours", file=sys.stderr)
    if args.estimate:
        return
    trials = Trials(config, args.out, args.work or args.out.with_suffix(""))
    with ProgressDisplay() as progress:
        train_in_pool(trials.run, left, args.jobs, progress)
    rows = [row for trial in wanted if (row := known(trial, args.out))]
    found = summary(rows, images(config), args)
    if args.figure:
        figure(found).write(args.figure)
    print(json.dumps(found, indent=2))


def known(trial: Trial, out: Path) -> dict[str, Any] | None:
    """The row of a trial that was done before."""
    return next((row for row in read_jsonl(out) if trial.row().items() <= row.items()), None)


if __name__ == "__main__":
    main()
