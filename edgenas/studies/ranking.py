"""Compare the accuracy that subnets inherit with the accuracy that they reach in standalone training."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from edgenas.accuracy.subnets import Subnets
from edgenas.errors import ConfigError
from edgenas.files import prove_writable, write_csv
from edgenas.progress import Progress
from edgenas.records.ledger import Ledger
from edgenas.records.paths import RANKING
from edgenas.records.ranking import ComparedSubnet, InheritedRow, RankingRecord, StandaloneRow, standalone_training
from edgenas.report.study_charts import ranking_image
from edgenas.runs.lock import locked
from edgenas.runs.run import Run, open_run
from edgenas.space.space import ClassifierSpace
from edgenas.stages.weights.run_accuracy import run_subnets
from edgenas.stages.weights.run_supernet import trained_supernet
from edgenas.stages.weights.standalone_networks import StandaloneTrainer, in_groups, setting_id, supernet_epochs
from edgenas.stages.weights.training_archs import TrainingPool
from edgenas.statistics.inherited_accuracy import agreement
from edgenas.studies.ranking_design import NEAR, Design, design, pool_design
from edgenas.studies.worker_pool import check_jobs, train_each
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training import checkpoint
from edgenas.training.data.split import Split
from edgenas.training.materialise import top1, uncalibrated_top1

FOLDER = Path(RANKING).parent
ROWS, TABLE, FIGURE = "rows.jsonl", "ranking.csv", "ranking.png"
MIN_SUBNETS = 6
MAX_REPEATS = 100


@dataclass(frozen=True)
class RankingSettings:
    """Settings of the ranking study.

    Attributes:
        subnets: number of subnets.
        epochs: epochs of each standalone training; None: those of the supernet.
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


def run_ranking(run: Run, settings: RankingSettings, progress: Progress, jobs: int = 1) -> RankingRecord:
    """Compare subnets of a trained run. Rows in the folder with the same settings are reused.

    Every subnet is trained by the run's recipe, without the supernet's sampling and teacher, on the same images: from
    random weights, or from its part of the pretrained network that the supernet started from. `jobs` are trained at a
    time, each in its own process. Rows are appended as they are finished. A summary, a table and a figure are written
    at the end.

    Returns:
        The content of `study/ranking/ranking.json`; rates are fractions.

    Raises:
        ConfigError: see `RankingSettings.check` and `check_jobs`; or the run has no supernet.
        RunFolderError: the run is not trained yet, a row is damaged, or another process holds the folder.
    """
    settings.check()
    check_jobs(jobs)
    run.require("train")
    folder = run.folder / FOLDER
    prove_writable(folder / ROWS)
    with locked(run.folder):
        study = RankingStudy.of(run, settings)
        study.score_inherited(trained_supernet(run), run_subnets(run), progress)
        train_in_worker = partial(_train_in_worker, run.folder.resolve(), settings)
        train_each(study.train_network, train_in_worker, study.left(), jobs, progress)
        record = study.record()
        record.write(run.folder / RANKING)
        columns = [name for name in ComparedSubnet.model_fields if name != "standalone_by_seed"]
        write_csv(folder / TABLE, columns, [subnet.to_json() for subnet in record.subnets])
        ranking_image(record).write(folder / FIGURE)
    return record


def plan_ranking(run: Run, settings: RankingSettings, jobs: int = 1) -> tuple[list[str], float]:
    """Return lines that describe what `run_ranking` has left to do, and the estimated seconds.

    It times a few training steps.

    Raises:
        ConfigError, RunFolderError: see `run_ranking`.
    """
    settings.check()
    check_jobs(jobs)
    run.require("train")
    study = RankingStudy.of(run, settings)
    left = [number for number, _ in study.left()]
    step_seconds: dict[str, float] = {}
    for group in in_groups({str(number): study.space.unroll(study.design.archs[number]) for number in left}):
        step_seconds |= study.trainer.step_seconds(group, rounds=1)
    seconds = study.steps * sum(step_seconds[str(number)] for number in left) / jobs
    trainer, done = study.trainer, len(study.trainings) - len(left)
    times = f", {settings.repeats} times" if settings.repeats > 1 else ""
    return [
        f"{len(study.design.archs)} subnets, {sum(map(study.design.grouped, range(len(study.design.archs))))} of them "
        f"within ±{NEAR:.0%} of the same MACs; {done} are trained already",
        f"each {standalone_training(trainer.pretrained)} for {study.epochs:g} epochs of {len(trainer.train):,} images: "
        f"{study.steps:,} steps of {min(trainer.config.batch_size, len(trainer.train))}{times}",
        f"about {seconds / 60:.1f} minutes in all, as timed now; if stopped, the same command resumes",
    ], seconds


@dataclass(frozen=True)
class RankingStudy:
    """Scores and trains the subnets of a run.

    Attributes:
        folder: folder of all files of the study.
        space: the run's space, with its classes.
        design: the subnets.
        trainer: trains them.
        supernet: folder of the supernet; a plan needs none that is trained.
        validation: images that they are scored on.
        seeds: seeds of the trainings.
        epochs: epochs of a training.
    """

    folder: Path
    space: ClassifierSpace
    design: Design
    trainer: StandaloneTrainer
    supernet: Path
    validation: Split
    seeds: tuple[int, ...]
    epochs: float

    @classmethod
    def of(cls, run: Run, settings: RankingSettings) -> RankingStudy:
        """Return the study of a trained run.

        Raises:
            ConfigError: the supernet was imported and no epochs are given.
            RunFolderError: the file of the pool that the supernet was trained on is broken.
        """
        seed = run.config.seed if settings.seed is None else settings.seed
        epochs, space = settings.epochs or supernet_epochs(run), run.networks
        pool = TrainingPool(run.folder, run.config.training, run.space).archs()
        if not epochs:
            raise ConfigError("this run imported its supernet: give the --epochs of training each subnet")
        return cls(
            run.folder / FOLDER,
            space,
            design(space, settings.subnets, seed) if pool is None else pool_design(space, pool, settings.subnets, seed),
            StandaloneTrainer.of(run),
            run.result_path("train").parent,
            run.images.scoring,
            tuple(range(seed, seed + settings.repeats)),
            epochs,
        )

    @cached_property
    def weights(self) -> str:
        """The digest of the supernet's weights.

        Raises:
            RunFolderError: it is not trained yet.
        """
        return checkpoint.digest(self.supernet)

    @property
    def trainings(self) -> list[tuple[int, int]]:
        """Return subnet and seed of each training; all subnets of one seed after another."""
        return [(number, seed) for seed in self.seeds for number in range(len(self.design.archs))]

    @property
    def steps(self) -> int:
        """Return the training steps of each subnet."""
        return self.trainer.steps(self.epochs)

    def score_inherited(self, net: SuperNet, subnets: Subnets, progress: Progress) -> None:
        """Append the inherited accuracies of the subnets that have none."""
        ledger, count = self._inherited(), len(self.design.archs)
        scored = ledger.last(lambda row: row.key)
        for number, arch in enumerate(self.design.archs):
            progress("scoring inherited", number, count)
            if self._inherited_key(number) not in scored:
                row = InheritedRow(
                    arch=arch,
                    weights=self.weights,
                    calibration_images=len(self.trainer.calibration),
                    validation_images=len(self.validation),
                    top1=top1(subnets(arch), self.validation),
                    top1_uncalibrated=self._uncalibrated(net.extract(arch)),
                )
                ledger.append(row)
        progress("scoring inherited", count, count)

    def left(self) -> list[tuple[int, int]]:
        """Return the trainings without a row."""
        trained = self._standalone().last(lambda row: row.key)
        return [training for training in self.trainings if self._standalone_key(*training) not in trained]

    def train_network(self, training: tuple[int, int], progress: Progress) -> None:
        """Train a subnet and append its accuracy."""
        number, seed = training
        arch, started = self.design.archs[number], time.perf_counter()
        label = f"subnet {number + 1} of {len(self.design.archs)}"
        label += f", seed {seed}" if len(self.seeds) > 1 else ""
        work = self.folder / "training" / setting_id(self._standalone_key(number, seed))
        initial, labelled = self.trainer.initial(arch, self.space.unroll(arch), seed), partial(progress, label)
        with self.trainer.trained(initial, self.steps, seed, work, labelled) as (subnet, seconds):
            row = StandaloneRow(
                arch=arch,
                steps=self.steps,
                seed=seed,
                validation_images=len(self.validation),
                setting=self.trainer.setting,
                # Before batch norm is recalibrated in place.
                top1_uncalibrated=self._uncalibrated(subnet),
                top1=top1(self.trainer.calibrated(subnet), self.validation),
                seconds=seconds,
                seconds_since_start=time.perf_counter() - started,
            )
            self._standalone().append(row)

    def record(self) -> RankingRecord:
        """Return the result from the rows of all trainings."""
        inherited = self._inherited().last(lambda row: row.key)
        standalone = self._standalone().last(lambda row: row.key)
        subnets = []
        for number in range(len(self.design.archs)):
            rows = [standalone[self._standalone_key(number, seed)] for seed in self.seeds]
            subnets.append(self._compared(number, inherited[self._inherited_key(number)], rows))
        return RankingRecord(
            space=self.space.name,
            dataset=self.trainer.dataset,
            weights=self.weights,
            recipe=self.trainer.config.recipe,
            epochs=self.epochs,
            steps=self.steps,
            training_images=len(self.trainer.train),
            validation_images=len(self.validation),
            seed=self.seeds[0],
            repeats=len(self.seeds),
            supernet_from=self.trainer.supernet_from,
            standalone_from=self.trainer.pretrained,
            average=self.trainer.config.average,
            seconds=sum(subnet.seconds for subnet in subnets),
            all=agreement(subnets),
            group=agreement([subnet for subnet in subnets if subnet.grouped]),
            subnets=tuple(subnets),
        )

    def _compared(self, number: int, inherited: InheritedRow, standalone: Sequence[StandaloneRow]) -> ComparedSubnet:
        uncalibrated = [row.top1_uncalibrated for row in standalone if row.top1_uncalibrated is not None]
        return ComparedSubnet(
            arch=self.design.archs[number],
            macs=self.design.macs[number],
            grouped=self.design.grouped(number),
            inherited=inherited.top1,
            uncalibrated=inherited.top1_uncalibrated,
            standalone=statistics.mean(row.top1 for row in standalone),
            standalone_uncalibrated=statistics.mean(uncalibrated) if uncalibrated else None,
            standalone_by_seed=tuple(row.top1 for row in standalone),
            seconds=sum(row.seconds for row in standalone),
        )

    def _uncalibrated(self, subnet: Subnet) -> float | None:
        """Return top-1 with training's batch-norm statistics; None if training ends with averaged weights."""
        return uncalibrated_top1(subnet, self.validation) if self.trainer.config.average is None else None

    def _inherited(self) -> Ledger[InheritedRow]:
        return Ledger(self.folder / ROWS, InheritedRow, self.space, "delete that line; the subnet is scored again")

    def _standalone(self) -> Ledger[StandaloneRow]:
        return Ledger(self.folder / ROWS, StandaloneRow, self.space, "delete that line; the subnet is trained again")

    def _inherited_key(self, number: int) -> tuple[object, ...]:
        return self.design.archs[number], self.weights, len(self.trainer.calibration), len(self.validation)

    def _standalone_key(self, number: int, seed: int) -> tuple[object, ...]:
        return self.design.archs[number], self.steps, seed, len(self.validation), self.trainer.setting


def _train_in_worker(folder: Path, settings: RankingSettings, training: tuple[int, int], progress: Progress) -> None:
    """Train a subnet in a worker process."""
    RankingStudy.of(open_run(folder), settings).train_network(training, progress)
