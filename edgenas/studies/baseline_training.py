"""Train the baselines of a run: networks of equal measured latency, trained for equal time."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.errors import ConfigError
from edgenas.files import read_json
from edgenas.latency.device import Device
from edgenas.latency.predictor import LatencyPredictor
from edgenas.progress import Progress
from edgenas.records.baselines import BaselineRow, SizesRecord, StandaloneTraining
from edgenas.records.export import ExportRecord
from edgenas.records.finetune import FinetuneRecord
from edgenas.records.ledger import Ledger
from edgenas.records.paths import BASELINES
from edgenas.records.search import SearchRecord
from edgenas.records.train import TrainRecord
from edgenas.runs.devices import RunDevices
from edgenas.runs.images import RunImages
from edgenas.runs.run import Run
from edgenas.runs.stage_costs import spent_on_results
from edgenas.space.arch import Arch
from edgenas.space.graph_variant import GraphVariant
from edgenas.space.space import ClassifierSpace
from edgenas.stages.weights.standalone_networks import StandaloneTrainer, setting_id, supernet_epochs
from edgenas.stages.weights.tuned_network import halving_record
from edgenas.studies.baseline_networks import Scale, Timer, at_scale
from edgenas.studies.baseline_shelf import ShelfRivals
from edgenas.studies.baseline_sizes import (
    MOBILENET,
    RANDOM,
    SHELF,
    BaselineNetwork,
    Sizer,
    SizingRequest,
    seed_networks,
)
from edgenas.studies.baseline_time import spent_seconds, standalone_training, training_threads, tuning_step_seconds
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.preprocess import Preprocess
from edgenas.training.materialise import preprocess_for, top1

FOLDER = Path(BASELINES).parent
ROWS, SIZES = "rows.jsonl", "sizes.json"
NO_SUPERNET = "`edgenas study baselines` needs a run that trained its own supernet"
LOGGER = logging.getLogger(__name__)
VERSION = 7
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
        folder: folder of all files of the study.
        space: the run's space, with its classes.
        shelf: the networks of the run's shelf.
        images: the run's images.
        trainer: trains networks.
        device: the device that measures.
        variant: graph variant of the run.
        export: the run's export; its chosen network is compared.
        fine_tuning: the fine-tuning of the chosen network.
        spent: seconds of the supernet, the search and fine-tuning.
        seconds: training time of each baseline and seed.
        seeds: seeds of the baselines.
        epochs: epochs of the chosen network, in the supernet and in fine-tuning together.
        step_seconds: mean time of a fine-tuning step of the chosen network; None if baselines are trained differently.
            It measures the processor's clock during the run. A processor may run a third faster when baselines are
            sized, which would give them a third more steps in the same time.
        setting: digest of all settings that rows depend on.
    """

    folder: Path
    space: ClassifierSpace
    shelf: ShelfRivals
    images: RunImages
    trainer: StandaloneTrainer
    device: Device
    variant: GraphVariant
    export: ExportRecord
    fine_tuning: StandaloneTraining
    spent: dict[str, float]
    seconds: float
    seeds: tuple[int, ...]
    epochs: float
    step_seconds: float | None
    setting: str

    @classmethod
    def of(cls, run: Run, settings: BaselineSettings) -> BaselineStudy:
        """Return the study of an exported run.

        Raises:
            ConfigError, RunFolderError: see `run_baselines`.
        """
        settings.check()
        _check_run(run)
        export, trainer = run.result(ExportRecord), StandaloneTrainer.of(run)
        shelf = ShelfRivals.of(run)
        tuned = run.result(FinetuneRecord) if run.lacks("finetune") is None else None
        trained, search, all_tuned = run.result(TrainRecord), run.result(SearchRecord), halving_record(run) or tuned
        spent = spent_seconds(trained, search, all_tuned, spent_on_results(run.folder))
        seconds = sum(spent.values()) if settings.minutes is None else 60 * settings.minutes
        threads = training_threads(run.result_path("train").parent, settings.minutes)
        epochs = supernet_epochs(run)
        if not epochs:
            raise ConfigError(f"{run.folder}: {NO_SUPERNET}; this one imported its weights")
        fine_tuning = standalone_training(tuned)
        epochs += fine_tuning.epochs
        setting = {
            "version": VERSION,
            "standalone": trainer.setting,
            "chosen": export.chosen.arch.id,
            "shelf": shelf.digests,
            "seconds": seconds,
            "epochs": epochs,
            "threads": threads,
        }
        return cls(
            folder=run.folder / FOLDER,
            space=run.networks,
            shelf=shelf,
            images=run.images,
            trainer=trainer,
            device=baseline_device(run.devices),
            variant=run.graph_variant,
            export=export,
            fine_tuning=fine_tuning,
            spent=spent,
            seconds=seconds,
            seeds=tuple(range(run.config.seed, run.config.seed + settings.seeds)),
            epochs=epochs,
            step_seconds=tuning_step_seconds(tuned, trainer),
            setting=setting_id(setting),
        )

    @property
    def chosen(self) -> Arch:
        """The run's chosen network."""
        return self.export.chosen.arch

    def choose_sizes(self, predictor: LatencyPredictor, timer: Timer, progress: Progress) -> SizesRecord:
        """Return the baselines' sizes: saved ones, and new ones for seeds that have none."""
        path, sizes = self.folder / SIZES, self.saved_sizes()
        if sizes is None and path.exists():
            LOGGER.warning("note: %s has other settings: baselines are sized and trained again", path)
        unsized = self.unsized(sizes)
        if unsized or sizes is None:
            request = SizingRequest(self.chosen, self.seconds, unsized, self.epochs, self.step_seconds)
            spaces = self.space, self.shelf.spaces
            sizer = Sizer(*spaces, predictor, self.variant, self.trainer, request, timer, progress)
            sizes = sizer.choose(path, self.setting, sizes)
        archs = {seed: sizes.archs[seed] for seed in self.seeds}
        return sizes.model_copy(
            update={"archs": archs, "random_steps": {seed: sizes.random_steps[seed] for seed in archs}}
        )

    def saved_sizes(self) -> SizesRecord | None:
        """Return the saved sizes, of these seeds and others; None if there are none, or for another setting.

        Raises:
            RunFolderError: the file is damaged.
        """
        path, remedy = self.folder / SIZES, "run `edgenas study baselines` again"
        if not path.exists() or read_json(path, remedy).get("setting") != self.setting:
            return None
        return SizesRecord.read(path, remedy, self.space)

    def unsized(self, sizes: SizesRecord | None) -> list[int]:
        """Return the seeds without sizes."""
        return [seed for seed in self.seeds if sizes is None or seed not in sizes.archs]

    def share_left(self, sizes: SizesRecord | None) -> float:
        """Return the training time that is left, in multiples of `seconds`."""
        rows, unsized = self.rows(), self.unsized(sizes)
        baselines = (*((SHELF,) if self.shelf.spaces else ()), MOBILENET, RANDOM)
        left = float(len(baselines) * len(unsized))
        for seed in self.seeds:
            if sizes is None or seed in unsized:
                continue
            for baseline in baselines:
                networks = [network for network in seed_networks(sizes, seed) if network.baseline == baseline]
                left += sum(not self.trained(network, rows) for network in networks) / max(1, len(networks))
        return left

    def networks(self, sizes: SizesRecord) -> list[BaselineNetwork]:
        """Return all networks to train, one seed after another."""
        return [network for seed in self.seeds for network in seed_networks(sizes, seed)]

    def trained(self, network: BaselineNetwork, rows: Mapping[tuple[str, int, int], BaselineRow]) -> bool:
        """Return whether a network of this size has a row and a file."""
        row = rows.get(network.key)
        if row is None or (row.network, row.steps) != (network.network, network.steps):
            return False
        return self.model(network).exists()

    def untrained(self, sizes: SizesRecord) -> list[BaselineNetwork]:
        """Return the networks without a row and a file, one seed after another."""
        rows = self.rows()
        return [network for network in self.networks(sizes) if not self.trained(network, rows)]

    def train_network(self, network: BaselineNetwork, progress: Progress) -> None:
        """Train a network, export it and append its validation top-1."""
        label = f"{network.baseline}, seed {network.seed}, {network.number + 1}"
        seed = NETWORKS_A_SEED * network.seed + network.number
        with self.trainer.trained(
            self._initial(network, seed),
            network.steps,
            seed,
            self.folder / "training" / setting_id((self.setting, *network.key, network.network, network.steps)),
            lambda done, total: progress(label, done, total),
        ) as (subnet, seconds):
            calibrated = self.trainer.calibrated(subnet)
            row = BaselineRow(
                setting=self.setting,
                baseline=network.baseline,
                seed=network.seed,
                number=network.number,
                network=network.network,
                steps=network.steps,
                val_top1=top1(calibrated, self.images.scoring),
                seconds=seconds,
            )
            export_onnx(calibrated, self.model(network), variant=self.variant)
            self._ledger.append(row)

    def _initial(self, network: BaselineNetwork, seed: int) -> Subnet:
        """Return a network as its training begins: pretrained if it is of the shelf, or of a pretrained run's space."""
        if network.arch is None:
            return self.trainer.fresh(at_scale(self.space, Scale.parse(network.network)), seed)
        if network.arch.network:
            return self.shelf.initial(network.arch, seed)
        return self.trainer.initial(network.arch, self.space.unroll(network.arch), seed)

    def preprocess(self, network: BaselineNetwork) -> Preprocess:
        """Return how images become the inputs of a network."""
        own = self.images.preprocess(self.chosen)
        if network.arch is None:
            return dataclasses.replace(own, size=Scale.parse(network.network).resolution)
        pixels = self.shelf.pixels[network.arch.network] if network.arch.network else self.images.dataset.pixels
        return dataclasses.replace(preprocess_for(network.arch, pixels), presize=own.presize)

    def model(self, network: BaselineNetwork) -> Path:
        """Return the path of a network's file."""
        return self.folder / "models" / f"{self.setting}-{network.baseline}-{network.seed}-{network.number:02d}.onnx"

    def rows(self) -> dict[tuple[str, int, int], BaselineRow]:
        """Return the last row of each network of this comparison; an earlier one belongs to a lost file."""
        return {row.key: row for row in self._ledger.rows() if row.setting == self.setting}

    @property
    def _ledger(self) -> Ledger[BaselineRow]:
        return Ledger(self.folder / ROWS, BaselineRow, remedy="delete that line; the network is trained again")


def _check_run(run: Run) -> None:
    """Refuse a run whose network cannot be compared with baselines.

    Raises:
        ConfigError: see `run_baselines`.
    """
    if run.config.accuracy is not None:
        raise ConfigError(f"{run.folder}: {NO_SUPERNET}; this one reads accuracies from a file")
    if run.lacks("finetune") is None and run.config.finetune.data is not None:
        raise ConfigError(
            f"{run.folder}: its network was fine-tuned on other images (finetune.data), baselines are not"
        )
    run.require("export")
    if network := run.result(ExportRecord).chosen.arch.network:
        raise ConfigError(
            f"{run.folder}: its network is {network}, one of the shelf: the search found nothing to compare with it"
        )


def baseline_device(devices: RunDevices) -> Device:
    """Return the first device that measures in fp32.

    Raises:
        ConfigError: the run has no such device.
    """
    for device in devices.measured.values():
        if device.run.precision == "fp32":
            return device
    raise ConfigError(
        f"baselines are measured in fp32, but none of the run's devices measures in fp32: {', '.join(devices.names)}"
    )
