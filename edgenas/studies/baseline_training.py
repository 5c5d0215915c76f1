"""Train the baselines of a run: networks of equal measured latency, trained for equal time."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.errors import ConfigError
from edgenas.files import append_jsonl, read_jsonl
from edgenas.progress import Progress
from edgenas.records.export import ExportRecord
from edgenas.records.finetune import FinetuneRecord
from edgenas.records.search import SearchRecord
from edgenas.records.studies import StandaloneTraining
from edgenas.records.train import TrainRecord
from edgenas.runs.run import Run, open_run
from edgenas.runs.stage_costs import spent_on_results
from edgenas.space.arch import Arch
from edgenas.stages.predictors import run_variant
from edgenas.stages.standalone_networks import StandaloneTrainer, setting_id, supernet_epochs
from edgenas.studies.baseline_networks import Scale, Timer, at_scale
from edgenas.studies.baseline_sizes import MOBILENET, RANDOM, BaselineNetwork, BaselineSizes, Sizer, SizingRequest
from edgenas.studies.worker_pool import train_each
from edgenas.training.data.dataset import Dataset
from edgenas.training.fixed_settings import load_fixed_settings
from edgenas.training.materialise import top1

FOLDER = Path("study/baselines")
ROWS, SIZES = "rows.jsonl", "sizes.json"
NO_SUPERNET = "`edgenas study baselines` needs a run that trained its own supernet"
LOGGER = logging.getLogger(__name__)
_Key = tuple[str, int, int]
"""Baseline, seed and number of a network: `BaselineNetwork.key`."""
VERSION = 6
"""Version of the sizing method."""
NETWORKS_A_SEED = 1000
"""Distance between the seeds of random searches, above the number of their networks: weights have distinct seeds."""


@dataclass(frozen=True)
class BaselineSettings:
    """Settings of the comparison with baselines.

    Attributes:
        seeds: number of seeds of each baseline, from the run's seed on.
        minutes: training time of each baseline and seed, at the run's clock; None: the time that edgenas took.
    """

    seeds: int = 3
    minutes: float | None = None

    def check(self) -> None:
        """Check the ranges of the settings.

        Raises:
            ConfigError: a number is out of range.
        """
        if self.seeds < 1:
            raise ConfigError(f"--seeds: expected at least 1, got {self.seeds}")
        if self.minutes is not None and not 0 < self.minutes <= 100_000:
            raise ConfigError(f"--baseline-minutes: expected a number above 0, got {self.minutes:g}")


@dataclass(frozen=True)
class BaselineStudy:
    """Sizes and trains the baselines of a run.

    Attributes:
        run: a run that has been exported.
        settings: seeds and time of the comparison.
        dataset: the run's data set.
        trainer: trains networks from scratch.
        arch: the run's chosen network.
        classes: number of classes.
        spent: seconds of the supernet, the search and fine-tuning.
        seconds: training time of each baseline and seed.
        seeds: seeds of the baselines.
        epochs: epochs of the chosen network, in the supernet and in fine-tuning together.
        setting: digest of all settings that rows depend on.
    """

    run: Run
    settings: BaselineSettings
    dataset: Dataset
    trainer: StandaloneTrainer
    arch: Arch
    classes: int
    spent: dict[str, float]
    seconds: float
    seeds: list[int]
    epochs: float
    setting: str

    @classmethod
    def of(cls, run: Run, settings: BaselineSettings) -> BaselineStudy:
        """Return the study of an exported run.

        Raises:
            ConfigError, RunFolderError: see `run_baselines`.
        """
        settings.check()
        if run.config.accuracy is not None:
            raise ConfigError(f"{run.folder}: {NO_SUPERNET}; this one reads accuracies from a file")
        if run.lacks("finetune") is None and run.config.finetune.data is not None:
            raise ConfigError(
                f"{run.folder}: its network was fine-tuned on other images (finetune.data), baselines are not"
            )
        run.needs("export")
        arch, dataset = run.result(ExportRecord).chosen.arch, run.images.dataset
        trainer, times = StandaloneTrainer.of(run), _spent(run)
        seconds = sum(times.values()) if settings.minutes is None else 60 * settings.minutes
        threads = _threads(run, settings)
        seeds = list(range(run.config.seed, run.config.seed + settings.seeds))
        epochs = supernet_epochs(run)
        if not epochs:
            raise ConfigError(f"{run.folder}: {NO_SUPERNET}; this one imported its weights")
        epochs += fine_tuning(run).epochs
        setting = {
            "version": VERSION,
            "standalone": trainer.setting,
            "chosen": arch.id,
            "seconds": seconds,
            "epochs": epochs,
            "threads": threads,
        }
        return cls(
            run,
            settings,
            dataset,
            trainer,
            arch,
            run.num_classes,
            times,
            seconds,
            seeds,
            epochs,
            setting_id(setting),
        )

    @property
    def folder(self) -> Path:
        """Return the folder of all files of the study."""
        return self.run.folder / FOLDER

    def choose_sizes(self, timer: Timer, progress: Progress) -> BaselineSizes:
        """Return the baselines' sizes: saved ones, and new ones for seeds that have none."""
        path, sizes = self.folder / SIZES, self.saved_sizes()
        if sizes is None and path.exists():
            LOGGER.warning("note: %s has other settings: baselines are sized and trained again", path)
        unsized = self.unsized(sizes)
        if unsized or sizes is None:
            request = SizingRequest(self.arch, self.classes, self.seconds, unsized, self.epochs, self.step_seconds)
            sizes = Sizer(self.run, self.trainer, request, timer, progress).choose(path, self.setting, sizes)
        return sizes.select(self.seeds)

    @property
    def step_seconds(self) -> float | None:
        """Return the mean time of a fine-tuning step of the chosen network; None if baselines are trained differently.

        It measures the processor's clock during the run. A processor may run a third faster when baselines are sized,
        which would give them a third more steps in the same time.
        """
        if self.run.lacks("finetune") is not None or self.run.config.finetune.teacher != "none":
            return None
        record = self.run.result(FinetuneRecord)
        if record.threads != torch.get_num_threads():
            return None
        return record.seconds / self.trainer.steps(record.epochs)

    def saved_sizes(self) -> BaselineSizes | None:
        """Return the saved sizes, of these seeds and others."""
        return BaselineSizes.read(self.folder / SIZES, self.setting)

    def unsized(self, sizes: BaselineSizes | None) -> list[int]:
        """Return the seeds without sizes."""
        return [seed for seed in self.seeds if sizes is None or str(seed) not in sizes.archs]

    def share_left(self, sizes: BaselineSizes | None) -> float:
        """Return the training time that is left, in multiples of `seconds`."""
        rows, unsized = self.rows(), self.unsized(sizes)
        left = 2.0 * len(unsized)
        for seed in self.seeds:
            if sizes is None or seed in unsized:
                continue
            for baseline in (MOBILENET, RANDOM):
                networks = [network for network in sizes.networks(self.run.space, seed) if network.baseline == baseline]
                left += sum(not self.trained(network, rows) for network in networks) / max(1, len(networks))
        return left

    def networks(self, sizes: BaselineSizes) -> list[BaselineNetwork]:
        """Return all networks to train, one seed after another."""
        return [network for seed in self.seeds for network in sizes.networks(self.run.space, seed)]

    def trained(self, network: BaselineNetwork, rows: Mapping[_Key, Mapping[str, Any]]) -> bool:
        """Return whether a network of this size has a row and a file."""
        row = rows.get(network.key, {})
        same_size = (row.get("network"), row.get("steps")) == (network.network, network.steps)
        return same_size and self.model(network).exists()

    def train_all(self, networks: Sequence[BaselineNetwork], jobs: int, progress: Progress) -> None:
        """Train each network that is not trained yet, `jobs` at a time."""
        rows = self.rows()
        left = [network for network in networks if not self.trained(network, rows)]
        in_worker = partial(_train_in_worker, self.run.folder.resolve(), self.settings)
        train_each(self.train_network, in_worker, left, jobs, progress)

    def train_network(self, network: BaselineNetwork, progress: Progress) -> None:
        """Train a network, export it and append its validation top-1."""
        label = f"{network.baseline}, seed {network.seed}, {network.number + 1}"
        key = {"setting": self.setting, "baseline": network.baseline, "seed": network.seed, "number": network.number}
        key |= {"network": network.network, "steps": network.steps}
        specs = (
            self.run.space.with_classes(self.classes).unroll(network.arch)
            if network.arch
            else at_scale(self.run.space, self.classes, Scale.parse(network.network))
        )
        with self.trainer.trained(
            specs,
            network.steps,
            NETWORKS_A_SEED * network.seed + network.number,
            self.folder / "training" / setting_id(key),
            lambda done, total: progress(label, done, total),
            network.arch,
        ) as (subnet, seconds):
            calibrated = self.trainer.calibrated(subnet)
            score = top1(calibrated, self.run.images.scoring)
            export_onnx(calibrated, self.model(network), variant=run_variant(self.run))
            append_jsonl(self.folder / ROWS, {**key, "val_top1": score, "seconds": seconds})

    def model(self, network: BaselineNetwork) -> Path:
        """Return the path of a network's file."""
        return self.folder / "models" / f"{self.setting}-{network.baseline}-{network.seed}-{network.number:02d}.onnx"

    def rows(self) -> dict[_Key, dict[str, Any]]:
        """Return the last row of each network of this comparison; an earlier one belongs to a lost file."""
        rows = [row for row in read_jsonl(self.folder / ROWS) if row.get("setting") == self.setting]
        return {(row["baseline"], row["seed"], row["number"]): row for row in rows}


def _threads(run: Run, settings: BaselineSettings) -> int | None:
    """Return the number of training threads on a CPU, which must be that of the run.

    Raises:
        ConfigError: the number of threads differs from the run's.
    """
    schedule, now = load_fixed_settings(run.result_path("train").parent), torch.get_num_threads()
    before = None if schedule is None else schedule.circumstances.get("threads")
    if schedule is None or schedule.circumstances.get("device") != "cpu":
        return None
    if settings.minutes is None and before not in (None, now):
        raise ConfigError(
            f"{run.folder}: the run had {before} thread(s), baselines would have {now}: set OMP_NUM_THREADS={before}, "
            "or give their --baseline-minutes"
        )
    return now


def _train_in_worker(folder: Path, settings: BaselineSettings, network: BaselineNetwork, progress: Progress) -> None:
    """Train a network in a worker process."""
    BaselineStudy.of(open_run(folder), settings).train_network(network, progress)


def _spent(run: Run) -> dict[str, float]:
    """Return the seconds of training, search and fine-tuning, which baselines get too.

    Profiling and measuring the front serve baselines as well. A stage counts with its wall time, or with the sum of its
    steps and scores if that is larger.
    """
    counted = {
        "train": run.result(TrainRecord).train_seconds,
        "search": run.result(SearchRecord).seconds,
        "finetune": run.result(FinetuneRecord).seconds if run.lacks("finetune") is None else 0.0,
    }
    wall = spent_on_results(run.folder)
    # A killed stage has no wall time, and a rejected fine-tuning is not part of the network.
    return {
        name: max(counted[stage], wall.get(stage, 0.0)) if counted[stage] else 0.0
        for stage, name in (("train", "supernet"), ("search", "search"), ("finetune", "fine_tuning"))
    }


def fine_tuning(run: Run) -> StandaloneTraining:
    """Return how the chosen network was fine-tuned; zero epochs if it was not, or if that was rejected."""
    record = run.result(FinetuneRecord) if run.lacks("finetune") is None else None
    if record is None or not record.improves:
        return StandaloneTraining(epochs=0.0)
    return StandaloneTraining(epochs=record.epochs, start=record.start, learning_rate_share=record.learning_rate_share)
