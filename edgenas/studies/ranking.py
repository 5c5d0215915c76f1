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
from edgenas.progress import Progress
from edgenas.records.studies import RankingRecord
from edgenas.report.study_charts import ranking_image
from edgenas.runs.lock import locked
from edgenas.runs.run import Run, open_run
from edgenas.space.arch import Arch
from edgenas.stages.run_subnets import Subnets, run_subnets
from edgenas.stages.standalone_networks import StandaloneTrainer, in_groups, setting_id, supernet_epochs
from edgenas.stages.train import trained_supernet
from edgenas.statistics.inherited_accuracy import Pair, summarise
from edgenas.studies.ranking_design import NEAR, Design, run_design
from edgenas.studies.worker_pool import check_jobs, train_each
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training import checkpoint
from edgenas.training.data.split import Split
from edgenas.training.materialise import top1, uncalibrated_top1

FOLDER = Path("study/ranking")
ROWS, RESULT, TABLE, FIGURE = "rows.jsonl", "ranking.json", "ranking.csv", "ranking.png"
MIN_SUBNETS = 6
MAX_REPEATS = 100


@dataclass(frozen=True)
class RankingSettings:
    """Settings of the ranking study.

    Attributes:
        subnets: number of subnets.
        epochs: epochs of training each from scratch; None: those of the supernet.
        seed: seed of the choice of subnets, and of their weights and images; None: the run's.
        repeats: trainings of each subnet, with seeds from `seed` on; their mean counts.
    """

    subnets: int = 12
    epochs: float | None = None
    seed: int | None = None
    repeats: int = 1

    def check(self) -> None:
        """Check the ranges of the settings.

        Raises:
            ConfigError: a number is out of range.
        """
        if self.subnets < MIN_SUBNETS:
            raise ConfigError(f"--subnets: expected at least {MIN_SUBNETS}, got {self.subnets}")
        if self.epochs is not None and not 0 < self.epochs <= 100_000:
            raise ConfigError(f"--epochs: expected a number above 0, got {self.epochs:g}")
        if not 1 <= self.repeats <= MAX_REPEATS:
            raise ConfigError(f"--repeats: expected 1 to {MAX_REPEATS}, got {self.repeats}")


def run_ranking(run: Run, settings: RankingSettings, progress: Progress, jobs: int = 1) -> dict[str, Any]:
    """Compare subnets of a trained run. Rows in the folder with the same settings are reused.

    Every subnet is trained from random weights by the run's recipe, without the supernet's sampling and teacher, on the
    same images; `jobs` at a time, each in its own process. Rows are appended as they are finished. A summary, a table
    and a figure are written at the end.

    Returns:
        The content of `study/ranking/ranking.json`; rates are fractions.

    Raises:
        ConfigError: see `RankingSettings.check` and `check_jobs`; or the run has no supernet.
        RunFolderError: the run is not trained yet, or another process holds the folder.
    """
    settings.check()
    check_jobs(jobs)
    run.needs("train")
    prove_writable(run.folder / FOLDER / ROWS)
    with locked(run.folder):
        study = RankingStudy.of(run, settings)
        path, count = run.folder / FOLDER / ROWS, len(study.design.archs)
        net, subnets = trained_supernet(run), run_subnets(run)
        for number, arch in enumerate(study.design.archs):
            progress("scoring inherited", number, count)
            study.inherit(net, subnets, arch, path)
        progress("scoring inherited", count, count)
        study.train_all(path, jobs, progress)
        result = study.summary(path)
        write_json(run.folder / FOLDER / RESULT, result)
        columns = [key for key in result["subnets"][0] if key != "standalone_by_seed"]
        write_csv(run.folder / FOLDER / TABLE, columns, result["subnets"])
        ranking_image(RankingRecord.parse(result, RESULT, "run the study again")).write(run.folder / FOLDER / FIGURE)
    return result


def plan_ranking(run: Run, settings: RankingSettings, jobs: int = 1) -> tuple[list[str], float]:
    """Return lines that describe what `run_ranking` has left to do, and the estimated seconds.

    It times a few training steps.

    Raises:
        ConfigError: see `run_ranking`.
    """
    settings.check()
    check_jobs(jobs)
    run.needs("train")
    study, rows = RankingStudy.of(run, settings), read_jsonl(run.folder / FOLDER / ROWS)
    left = [number for number, _ in study.left(rows)]
    step_seconds: dict[str, float] = {}
    for group in in_groups({str(number): study.specs(number) for number in left}):
        step_seconds |= study.trainer.step_seconds(group, rounds=1)
    seconds = study.steps * sum(step_seconds[str(number)] for number in left) / jobs
    trainer, done = study.trainer, len(study.trainings) - len(left)
    times = f", {settings.repeats} times" if settings.repeats > 1 else ""
    return [
        f"{len(study.design.archs)} subnets, {sum(map(study.design.grouped, range(len(study.design.archs))))} of them "
        f"within ±{NEAR:.0%} of the same MACs; {done} are trained already",
        f"each trained from scratch for {study.epochs:g} epochs of {len(trainer.train):,} images: {study.steps:,} "
        f"steps of {min(trainer.config.batch_size, len(trainer.train))}{times}",
        f"about {seconds / 60:.1f} minutes in all, as timed now; if stopped, the same command resumes",
    ], seconds


@dataclass(frozen=True)
class RankingStudy:
    """Scores and trains the subnets of a run."""

    run: Run
    settings: RankingSettings
    design: Design
    trainer: StandaloneTrainer
    validation: Split
    seeds: tuple[int, ...]
    epochs: float
    classes: int

    @classmethod
    def of(cls, run: Run, settings: RankingSettings) -> RankingStudy:
        """Return the study of a trained run.

        Raises:
            ConfigError: the supernet was imported and no epochs are given.
        """
        seed = run.config.seed if settings.seed is None else settings.seed
        classes, epochs = run.num_classes, settings.epochs or supernet_epochs(run)
        if not epochs:
            raise ConfigError("this run imported its supernet: give the --epochs of training each subnet")
        return cls(
            run,
            settings,
            run_design(run, settings.subnets, classes, seed),
            StandaloneTrainer.of(run),
            run.images.scoring,
            tuple(range(seed, seed + settings.repeats)),
            epochs,
            classes,
        )

    @property
    def trainings(self) -> list[tuple[int, int]]:
        """Return subnet and seed of each training; all subnets of one seed after another."""
        return [(number, seed) for seed in self.seeds for number in range(len(self.design.archs))]

    @property
    def steps(self) -> int:
        """Return the training steps of each subnet."""
        return self.trainer.steps(self.epochs)

    def specs(self, number: int) -> Any:
        """Return the blocks of a subnet."""
        return self.run.space.with_classes(self.classes).unroll(self.design.archs[number])

    def inherit(self, net: SuperNet, subnets: Subnets, arch: Arch, path: Path) -> None:
        """Append the inherited accuracy of a subnet, unless the file has it."""
        if self._row(read_jsonl(path), self._inherited_key(arch)) is None:
            scores = {
                "top1": top1(subnets(arch), self.validation),
                "top1_uncalibrated": self.uncalibrated(net.extract(arch)),
            }
            append_jsonl(path, {**self._inherited_key(arch), **scores})

    def left(self, rows: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
        """Return the trainings without a row."""
        return [(number, seed) for number, seed in self.trainings if self.standalone_row(rows, number, seed) is None]

    def train_all(self, path: Path, jobs: int, progress: Progress) -> None:
        """Train each subnet that is left, `jobs` at a time."""
        left = self.left(read_jsonl(path))
        in_worker = partial(_train_in_worker, self.run.folder.resolve(), self.settings)
        train_each(partial(self.train_network, path), in_worker, left, jobs, progress)

    def train_network(self, path: Path, training: tuple[int, int], progress: Progress) -> None:
        """Train a subnet from scratch and append its accuracy."""
        number, seed = training
        arch, key, started = self.design.archs[number], self._standalone_key(number, seed), time.perf_counter()
        label = f"subnet {number + 1} of {len(self.design.archs)}"
        label += f", seed {seed}" if len(self.seeds) > 1 else ""
        work = self.run.folder / FOLDER / "training" / setting_id(key)
        with self.trainer.trained(
            self.specs(number), self.steps, seed, work, lambda done, total: progress(label, done, total), arch
        ) as (subnet, seconds):
            scores = {
                "top1_uncalibrated": self.uncalibrated(subnet),
                "top1": top1(self.trainer.calibrated(subnet), self.validation),
            }
            timed = {"seconds": seconds, "seconds_since_start": time.perf_counter() - started}
            append_jsonl(path, {**key, **scores, **timed})

    def uncalibrated(self, subnet: Subnet) -> float | None:
        """Return top-1 with training's batch-norm statistics; None if the weights are averaged."""
        return None if self.averaged else uncalibrated_top1(subnet, self.validation)

    @property
    def averaged(self) -> bool:
        """Return whether training ends with an average of its weights."""
        return self.trainer.config.average is not None

    def standalone_row(self, rows: Sequence[dict[str, Any]], number: int, seed: int) -> dict[str, Any] | None:
        """Return the row of a subnet that was trained from scratch."""
        return self._row(rows, self._standalone_key(number, seed))

    def summary(self, path: Path) -> dict[str, Any]:
        """Return the result from the rows of all trainings."""
        rows = read_jsonl(path)
        pairs, seconds = [], []
        for number, arch in enumerate(self.design.archs):
            inherited = self._row(rows, self._inherited_key(arch))
            standalone = [row for seed in self.seeds if (row := self.standalone_row(rows, number, seed))]
            assert inherited is not None
            assert len(standalone) == len(self.seeds)
            by_seed = tuple(row["top1"] for row in standalone)
            pairs.append(
                Pair(
                    arch=arch.id,
                    macs=self.design.macs[number],
                    grouped=self.design.grouped(number),
                    inherited=inherited["top1"],
                    uncalibrated=inherited["top1_uncalibrated"],
                    standalone=statistics.mean(by_seed),
                    standalone_uncalibrated=(
                        None if self.averaged else statistics.mean(row["top1_uncalibrated"] for row in standalone)
                    ),
                    standalone_by_seed=by_seed,
                )
            )
            seconds.append(sum(row["seconds"] for row in standalone))
        return {
            "space": self.run.space.name,
            "dataset": self.trainer.dataset,
            "weights": checkpoint.digest(self.run.result_path("train").parent),
            "recipe": self.trainer.config.recipe,
            "epochs": self.epochs,
            "steps": self.steps,
            "training_images": len(self.trainer.train),
            "validation_images": len(self.validation),
            "seed": self.seeds[0],
            "repeats": len(self.seeds),
            "supernet_from": self.trainer.supernet_from,
            "average": self.trainer.config.average,
            "seconds": sum(seconds),
            **summarise(pairs),
            "subnets": [
                {**asdict(pair), "standalone_by_seed": list(pair.standalone_by_seed), "seconds": training_seconds}
                for pair, training_seconds in zip(pairs, seconds, strict=True)
            ],
        }

    def _inherited_key(self, arch: Arch) -> dict[str, Any]:
        return {
            "kind": "inherited",
            "arch": arch.id,
            "weights": checkpoint.digest(self.run.result_path("train").parent),
            "calibration_images": len(self.trainer.calibration),
            "validation_images": len(self.validation),
        }

    def _standalone_key(self, number: int, seed: int) -> dict[str, Any]:
        return {
            "kind": "standalone",
            "arch": self.design.archs[number].id,
            "steps": self.steps,
            "seed": seed,
            "validation_images": len(self.validation),
            "setting": self.trainer.setting,
        }

    @staticmethod
    def _row(rows: Sequence[dict[str, Any]], key: dict[str, Any]) -> dict[str, Any] | None:
        return next((row for row in rows if key.items() <= row.items() and "top1" in row), None)


def _train_in_worker(folder: Path, settings: RankingSettings, training: tuple[int, int], progress: Progress) -> None:
    """Train a subnet in a worker process."""
    run = open_run(folder)
    RankingStudy.of(run, settings).train_network(run.folder / FOLDER / ROWS, training, progress)
