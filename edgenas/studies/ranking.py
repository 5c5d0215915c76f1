"""Compare the accuracy that subnets inherit with the accuracy that they reach when trained from scratch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edgenas.errors import ConfigError
from edgenas.files import append_jsonl, prove_writable, read_jsonl, write_csv, write_json
from edgenas.report.evidence_values import Trust as TrustValues
from edgenas.report.study_charts import ranking_image
from edgenas.runs.folder import Progress, Run, open_run
from edgenas.runs.lock import locked
from edgenas.runs.run_data import run_classes, run_dataset, scoring_split
from edgenas.space.arch import Arch
from edgenas.stages.run_subnets import Subnets, run_subnets
from edgenas.stages.standalone_networks import Lone, in_groups, setting_id, supernet_epochs
from edgenas.stages.train import trained_supernet
from edgenas.statistics.inherited_accuracy import Pair, summarise
from edgenas.studies.ranking_design import NEAR, Design, run_design
from edgenas.studies.worker_pool import check_jobs, train_each
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training import checkpoint
from edgenas.training.data.split import Split
from edgenas.training.materialise import top1, uncalibrated_top1

FOLDER = "trust"
ROWS, RESULT, TABLE, FIGURE = "rows.jsonl", "trust.json", "trust.csv", "trust.png"
LEAST_SUBNETS = 6
MOST_REPEATS = 100


@dataclass(frozen=True)
class Trust:
    """What is compared.

    Attributes:
        subnets: how many.
        epochs: that each is trained from scratch; None: as many as the supernet was.
        seed: of the choice of subnets, and of their weights and images; None: the run's.
        repeats: trainings of each, with seeds from `seed` on; their mean counts.
    """

    subnets: int = 12
    epochs: float | None = None
    seed: int | None = None
    repeats: int = 1

    def check(self) -> None:
        """Refuse what cannot be compared.

        Raises:
            ConfigError: a number is out of range.
        """
        if self.subnets < LEAST_SUBNETS:
            raise ConfigError(f"--subnets: wanted at least {LEAST_SUBNETS}, got {self.subnets}")
        if self.epochs is not None and not 0 < self.epochs <= 100_000:
            raise ConfigError(f"--epochs: wanted a number above 0, got {self.epochs:g}")
        if not 1 <= self.repeats <= MOST_REPEATS:
            raise ConfigError(f"--repeats: wanted 1 to {MOST_REPEATS}, got {self.repeats}")


def run_trust(run: Run, trust: Trust, progress: Progress, jobs: int = 1) -> dict[str, Any]:
    """Compare subnets of a trained run; what its folder holds of this very comparison is not done again.

    Every subnet is trained from scratch from fresh weights: by the run's own recipe but for the supernet's sampling and
    teacher, on the same images, `jobs` of them at a time in a process each. Rows are appended as they come; a
    summary, a table and a figure end it.

    Returns:
        What `trust/trust.json` holds: rates are fractions.

    Raises:
        ConfigError: see `Trust.check` and `check_jobs`; or the run has no supernet.
        RunFolderError: it is not trained yet, or another process holds the folder.
    """
    trust.check()
    check_jobs(jobs)
    run.needs("train")
    prove_writable(run.folder / FOLDER / ROWS)
    with locked(run.folder):
        bench = _Bench.of(run, trust)
        path, count = run.folder / FOLDER / ROWS, len(bench.design.archs)
        net, subnets = trained_supernet(run, run_dataset(run)), run_subnets(run, run_dataset(run))
        for number, arch in enumerate(bench.design.archs):
            progress("scoring inherited", number, count)
            bench.inherit(net, subnets, arch, path)
        progress("scoring inherited", count, count)
        bench.train_all(path, jobs, progress)
        found = bench.summary(path)
        write_json(run.folder / FOLDER / RESULT, found)
        subnets = found["subnets"]
        columns = [key for key in subnets[0] if key != "alone_by_seed"]
        write_csv(run.folder / FOLDER / TABLE, columns, subnets)
        ranking_image(TrustValues.model_validate(found)).write(run.folder / FOLDER / FIGURE)
    return found


def trust_told(run: Run, trust: Trust, jobs: int = 1) -> tuple[list[str], float]:
    """What `run_trust` has yet to do and about how long it takes, in lines; and the seconds, by the clock.

    A few steps are timed.

    Raises:
        ConfigError: see `run_trust`.
    """
    trust.check()
    check_jobs(jobs)
    run.needs("train")
    bench, rows = _Bench.of(run, trust), read_jsonl(run.folder / FOLDER / ROWS)
    left = [number for number, _ in bench.left(rows)]
    took: dict[str, float] = {}
    for some in in_groups({str(number): bench.specs(number) for number in left}):
        took |= bench.lone.step_seconds(some, rounds=1)
    seconds = bench.steps * sum(took[str(number)] for number in left) / jobs
    lone, done = bench.lone, len(bench.trainings) - len(left)
    times = f", {trust.repeats} times" if trust.repeats > 1 else ""
    return [
        f"{len(bench.design.archs)} subnets, {sum(map(bench.design.grouped, range(len(bench.design.archs))))} of them "
        f"within ±{NEAR:.0%} of the same MACs; {done} are trained already",
        f"each alone for {bench.epochs:g} epochs of {len(lone.train):,} images: {bench.steps:,} steps of "
        f"{min(lone.config.batch_size, len(lone.train))}{times}",
        f"about {seconds / 60:.1f} minutes in all, as timed now; stopped at any moment, the same command goes on",
    ], seconds


@dataclass(frozen=True)
class _Bench:
    """All that it takes to score and train the subnets of a run."""

    run: Run
    trust: Trust
    design: Design
    lone: Lone
    validation: Split
    seeds: tuple[int, ...]
    epochs: float
    classes: int

    @classmethod
    def of(cls, run: Run, trust: Trust) -> _Bench:
        dataset, seed = run_dataset(run), run.config.seed if trust.seed is None else trust.seed
        classes, epochs = run_classes(run), trust.epochs or supernet_epochs(run, dataset)
        if not epochs:
            raise ConfigError(
                "--epochs: this run's supernet was not trained here, so say for how many to train subnets"
            )
        return cls(
            run,
            trust,
            run_design(run, trust.subnets, classes, seed),
            Lone.of(run, dataset),
            scoring_split(run, dataset),
            tuple(range(seed, seed + trust.repeats)),
            epochs,
            classes,
        )

    @property
    def trainings(self) -> list[tuple[int, int]]:
        """Subnet and seed of each; one seed of all subnets after another."""
        return [(number, seed) for seed in self.seeds for number in range(len(self.design.archs))]

    @property
    def steps(self) -> int:
        return self.lone.steps(self.epochs)

    def specs(self, number: int) -> Any:
        return self.run.space.unroll(self.design.archs[number], self.classes)

    def inherit(self, net: SuperNet, subnets: Subnets, arch: Arch, path: Path) -> None:
        """Append what a subnet inherits, unless it stands there."""
        if self._row(read_jsonl(path), self._inherited(arch)) is None:
            scores = {
                "top1": top1(subnets(arch), self.validation),
                "top1_uncalibrated": self.uncalibrated(net.extract(arch)),
            }
            append_jsonl(path, {**self._inherited(arch), **scores})

    def left(self, rows: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
        """Of `trainings`, those that have no row."""
        return [(number, seed) for number, seed in self.trainings if self.known_alone(rows, number, seed) is None]

    def train_all(self, path: Path, jobs: int, progress: Progress) -> None:
        """`train_network` each of those left, `jobs` at a time."""
        left = self.left(read_jsonl(path))
        here, apart = partial(self.train_network, path), partial(_train_apart, self.run.folder.resolve(), self.trust)
        train_each(here, apart, left, jobs, progress)

    def train_network(self, path: Path, training: tuple[int, int], progress: Progress) -> None:
        """Append what a subnet reaches alone."""
        number, seed = training
        arch, key, started = self.design.archs[number], self._alone(number, seed), time.perf_counter()
        label = f"subnet {number + 1} of {len(self.design.archs)}"
        label += f", seed {seed}" if len(self.seeds) > 1 else ""
        work = self.run.folder / FOLDER / "training" / setting_id(key)
        with self.lone.trained(
            self.specs(number), self.steps, seed, work, lambda done, total: progress(label, done, total), arch
        ) as (subnet, seconds):
            scores = {
                "top1_uncalibrated": self.uncalibrated(subnet),
                "top1": top1(self.lone.calibrated(subnet), self.validation),
            }
            timed = {"seconds": seconds, "seconds_since_start": time.perf_counter() - started}
            append_jsonl(path, {**key, **scores, **timed})

    def uncalibrated(self, subnet: Subnet) -> float | None:
        """Top-1 with the statistics that training left; None where these are of other weights than their average."""
        return None if self.averaged else uncalibrated_top1(subnet, self.validation)

    @property
    def averaged(self) -> bool:
        """Whether training ends with an average of its weights."""
        return self.lone.config.average is not None

    def known_alone(self, rows: Sequence[dict[str, Any]], number: int, seed: int) -> dict[str, Any] | None:
        """The row of a subnet that was trained from scratch before."""
        return self._row(rows, self._alone(number, seed))

    def summary(self, path: Path) -> dict[str, Any]:
        rows = read_jsonl(path)
        pairs, seconds = [], []
        for number, arch in enumerate(self.design.archs):
            inherited = self._row(rows, self._inherited(arch))
            alone = [row for seed in self.seeds if (row := self.known_alone(rows, number, seed))]
            assert inherited is not None
            assert len(alone) == len(self.seeds)
            # Earlier versions scored averaged weights with statistics of others.
            bare = None if self.averaged else inherited["top1_uncalibrated"]
            bare_alone = None if self.averaged else statistics.mean(row["top1_uncalibrated"] for row in alone)
            by_seed = tuple(row["top1"] for row in alone)
            scores = inherited["top1"], bare, statistics.mean(by_seed), bare_alone, by_seed
            pairs.append(Pair(arch.id, self.design.macs[number], self.design.grouped(number), *scores))
            seconds.append(sum(row["seconds"] for row in alone))
        return {
            "space": self.run.space.name,
            "dataset": self.lone.dataset,
            "weights": checkpoint.digest(self.run.result_path("train").parent),
            "recipe": self.lone.config.recipe,
            "epochs": self.epochs,
            "steps": self.steps,
            "training_images": len(self.lone.train),
            "validation_images": len(self.validation),
            "seed": self.seeds[0],
            "repeats": len(self.seeds),
            "supernet_from": self.lone.supernet_from,
            "average": self.lone.config.average,
            "seconds": sum(seconds),
            **summarise(pairs),
            "subnets": [
                {**asdict(pair), "alone_by_seed": list(pair.alone_by_seed), "seconds": took}
                for pair, took in zip(pairs, seconds, strict=True)
            ],
        }

    def _inherited(self, arch: Arch) -> dict[str, Any]:
        said = {"calibration_images": len(self.lone.calibration), "validation_images": len(self.validation)}
        weights = checkpoint.digest(self.run.result_path("train").parent)
        return {"kind": "inherited", "arch": arch.id, "weights": weights, **said}

    def _alone(self, number: int, seed: int) -> dict[str, Any]:
        said = {"steps": self.steps, "seed": seed, "validation_images": len(self.validation)}
        return {"kind": "alone", "arch": self.design.archs[number].id, **said, "setting": self.lone.setting}

    @staticmethod
    def _row(rows: Sequence[dict[str, Any]], key: dict[str, Any]) -> dict[str, Any] | None:
        return next((row for row in rows if key.items() <= row.items() and "top1" in row), None)


def _train_apart(folder: Path, trust: Trust, training: tuple[int, int], progress: Progress) -> None:
    """What a process of its own does."""
    run = open_run(folder)
    _Bench.of(run, trust).train_network(run.folder / FOLDER / ROWS, training, progress)
