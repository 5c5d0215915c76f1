"""A run: one folder, one config, one space."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgenas.config.reading import stored_config
from edgenas.config.run_config import RunConfig
from edgenas.errors import ConfigError, RunFolderError
from edgenas.objective import Objective, resolve_objectives
from edgenas.profiling.transport_registry import TransportRegistry, mounted_transports
from edgenas.records.export import ExportRecord
from edgenas.records.finetune import FinetuneRecord
from edgenas.records.init import InitRecord
from edgenas.records.paths import RESULTS
from edgenas.records.profile import ProfileRecord
from edgenas.records.record import Record
from edgenas.records.verify import VerifyRecord
from edgenas.records.weights import WeightsFacts
from edgenas.runs.devices import RunDevices, load_devices
from edgenas.runs.shelf import Shelf, read_shelf
from edgenas.runs.stage_order import ORDER, STAGE_OF, reason_to_skip
from edgenas.space.arch import Arch
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.graph_variant import GraphVariant
from edgenas.space.loading import load_space
from edgenas.space.run_spaces import RunSpaces
from edgenas.space.space import ClassifierSpace, SearchSpace

if TYPE_CHECKING:
    from edgenas.accuracy.scores import StatedAccuracy
    from edgenas.runs.images import RunImages
    from edgenas.supernet.pretrained.sources import PretrainedNetwork

INIT = "init.json"
WEIGHTS = "supernet/checkpoint.safetensors"
WITH_SHELF = (FinetuneRecord, ExportRecord)
"""Records that may hold networks of the shelf; in others all are of the run's own space."""
Result = TypeVar("Result", bound=Record)


@dataclass(frozen=True)
class Run:
    """A run folder, opened once: its config and space as resolved, and what is read from it once.

    Attributes:
        folder: the run folder.
        config: its config.
        space: its space.
        reach: transports, as the running command states them.
        loaded: images that were read before the run began; None where they are read when first needed.
    """

    folder: Path
    config: RunConfig
    space: SearchSpace
    reach: TransportRegistry = field(default_factory=mounted_transports)
    loaded: RunImages | None = field(default=None, compare=False, repr=False)

    @cached_property
    def devices(self) -> RunDevices:
        """The run's devices, as they were when it began.

        Raises:
            RunFolderError: some are missing.
            TableError: a file is broken.
        """
        return load_devices(self.folder, self.config.devices, self.reach)

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives that the run's search minimises: those that are scored first.

        Raises:
            ConfigError: see `resolve_objectives`.
        """
        return resolve_objectives(self.config.search.objectives, self.devices.names)

    @cached_property
    def init(self) -> InitRecord | None:
        """The pretrained network that the run was begun with; None where `train.init` leaves it out or is a path.

        Raises:
            RunFolderError: init.json is missing or damaged.
        """
        if self.config.train is None or not self.config.train.from_network:
            return None
        return InitRecord.read(self.folder / INIT, "begin the run again in another --run folder")

    def init_of(self, arch: Arch) -> InitRecord | None:
        """Return the pretrained network that an architecture's weights started from: on the shelf, it is itself.

        Raises:
            RunFolderError: see `init` and `shelf`.
        """
        if not arch.network:
            return self.init
        shelved = self.shelf.networks[arch.network]
        return InitRecord(
            asked=arch.network,
            network=shelved.weights,
            note=None,
            mean=shelved.mean,
            std=shelved.std,
            crop=shelved.crop,
        )

    @cached_property
    def pretrained(self) -> PretrainedNetwork | None:
        """The pretrained network with its weights; None where the run starts from others.

        Raises:
            WeightsError: the weights cannot be had.
            RunFolderError: they are not those that the run was begun with.
        """
        if self.init is None or self.init.network is None:
            return None
        return self._unchanged(self.init.network)

    def shelf_network(self, name: str) -> PretrainedNetwork:
        """Return a network of the shelf with its weights.

        Raises:
            WeightsError: the weights cannot be had.
            RunFolderError: they are not those that the run was begun with.
        """
        return self._unchanged(self.shelf.networks[name].weights)

    def _unchanged(self, facts: WeightsFacts) -> PretrainedNetwork:
        from edgenas.supernet.pretrained.sources import load_pretrained

        network = load_pretrained(facts.name)
        if network.facts.sha256 != facts.sha256:
            raise RunFolderError(
                f"{self.folder}: the weights of {facts.name} changed since this run began (their SHA-256 was "
                f"{facts.sha256}, is {network.facts.sha256}): restore {facts.origin}, or choose another --run folder"
            )
        return network

    @cached_property
    def shelf(self) -> Shelf:
        """The pretrained networks that are candidates beside those of the run's own space.

        Raises:
            RunFolderError: a file of the shelf is missing or damaged.
        """
        return read_shelf(self.folder) if self.config.shelf else Shelf()

    @cached_property
    def spaces(self) -> RunSpaces:
        """The run's space and those of its shelf.

        Raises:
            RunFolderError: see `shelf`.
        """
        return RunSpaces(self.space, self.shelf.spaces)

    def space_of(self, arch: Arch) -> ClassifierSpace:
        """Return the space of an architecture, the run's own or one of its shelf, with the run's number of classes.

        Raises:
            SpaceError: the architecture is of a network that is not on the shelf.
            DataError: see `num_classes`.
        """
        return self.spaces.of(arch).with_classes(self.num_classes)

    def unroll(self, arch: Arch) -> tuple[BlockSpec, ...]:
        """Return the network of an architecture as BlockSpecs, see `space_of`."""
        return self.space_of(arch).unroll(arch)

    @cached_property
    def images(self) -> RunImages:
        """The run's images. The first time they are described in the run folder; later they must be the same.

        Raises:
            RunFolderError: the images changed since the run began.
            DataError: see `load_images`.
        """
        # Images take torch, which commands that only look at a run do without.
        from edgenas.runs.images import check_unchanged, load_images

        images = self.loaded or load_images(self.folder, self.config, self.space, self.init)
        check_unchanged(self.folder, images)
        return images

    @cached_property
    def finetune_images(self) -> RunImages:
        """The images for fine-tuning: the run's own, or those of `finetune.data`, scaled like the run's own.

        Raises:
            RunFolderError: the run's images changed since it began.
            DataError: see `load_images`.
        """
        from edgenas.runs.images import load_finetune_images

        data = self.config.finetune.data
        return self.images if data is None else load_finetune_images(data, self.images, self.config.seed, self.space)

    @cached_property
    def num_classes(self) -> int:
        """The number of classes of the run's networks: that of its images, or of its source of accuracies.

        Raises:
            DataError: see `load_images` and `accuracy`.
        """
        if self.config.num_classes is not None:
            return self.config.num_classes
        return self.images.dataset.num_classes if self.accuracy is None else self.accuracy.num_classes

    @cached_property
    def accuracy(self) -> StatedAccuracy | None:
        """The source of accuracies that the config names; None where the run's own supernet gives them.

        Raises:
            DataError, ConfigError: see `open_source`.
        """
        if self.config.accuracy is None:
            return None
        from edgenas.accuracy.source import open_source

        return open_source(self.config.accuracy, self.space)

    @cached_property
    def networks(self) -> ClassifierSpace:
        """The run's space with its number of classes.

        Raises:
            DataError: see `num_classes`.
        """
        return self.space.with_classes(self.num_classes)

    def result_path(self, stage: str) -> Path:
        """Return the path of a stage's result, which exists once the stage is finished."""
        return self.folder / RESULTS[stage]

    def done(self, stage: str) -> bool:
        """Return whether a stage is finished; training is only as long as its weights exist."""
        return self.result_path(stage).exists() and (stage != "train" or (self.folder / WEIGHTS).exists())

    def finished(self, evaluations: int) -> list[str]:
        """Return the finished stages of a run whose search is to have so many evaluations.

        An extended search is not finished, and neither are the stages after it.
        """
        stages = ORDER[: ORDER.index("search")] if evaluations > self.config.search.evaluations else ORDER
        return [stage for stage in stages if self.done(stage)]

    def lacks(self, stage: str) -> str | None:
        """Return why a stage cannot be run with this config, and what it needs; None where it can."""
        return reason_to_skip(self.config, stage)

    def require(self, stage: str) -> None:
        """Refuse a stage that the run lacks something for.

        Raises:
            ConfigError: with the text of `lacks`.
        """
        if (why := self.lacks(stage)) is not None:
            raise ConfigError(f"{self.folder}: {why}")

    def result(self, kind: type[Result]) -> Result:
        """Return the record of a finished stage.

        Raises:
            RunFolderError: the stage is not finished (the command is named), or its result is damaged.
        """
        stage = STAGE_OF[kind]
        remedy = f"run `edgenas {stage} {self.folder}`"
        if not self.done(stage):
            raise RunFolderError(f"{self.folder}: {stage} has not been done: {remedy}")
        return kind.read(self.result_path(stage), remedy, self.spaces if kind in WITH_SHELF else self.space)

    @property
    def graph_variant(self) -> GraphVariant:
        """The graph variant in which the run's fp32 networks are exported and measured.

        Raises:
            RunFolderError: the run is not profiled, or its result is damaged.
        """
        return self.result(ProfileRecord).graph_variant

    @property
    def chosen(self) -> Arch:
        """The network that was exported; before, the one that was fine-tuned, or is to be (`first_candidate`).

        Raises:
            RunFolderError: the run is not verified, or a result is damaged.
        """
        if self.done("export"):
            return self.result(ExportRecord).chosen.arch
        tuned = self.lacks("finetune") is None and self.done("finetune")
        return self.result(FinetuneRecord).arch if tuned else self.first_candidate

    @property
    def first_candidate(self) -> Arch:
        """The network of `finetune.arch`, else the first candidate of `verify`.

        Raises:
            RunFolderError: the run is not verified, or its result is damaged.
            SpaceError: `finetune.arch` is no architecture of the run.
        """
        arch = self.config.finetune.arch
        return self.result(VerifyRecord).chosen if arch is None else self.spaces.parse(arch)

    def finish(self, record: Record) -> None:
        """Write the record of a stage, which marks it finished, and invalidate later stages."""
        stage = STAGE_OF[type(record)]
        for later in ORDER[ORDER.index(stage) + 1 :]:
            # The supernet is kept: training reads the profile once, to check budgets and to sample within them.
            if (stage, later) != ("profile", "train"):
                self.result_path(later).unlink(missing_ok=True)
        record.write(self.result_path(stage))


def open_run(folder: Path, reach: TransportRegistry | None = None) -> Run:
    """Open a run begun before.

    Raises:
        RunFolderError: the folder holds no run.
    """
    missing = [name for name in ("config.yaml", "space.yaml") if not (folder / name).exists()]
    if missing:
        raise RunFolderError(
            f"{folder} is no run folder (it holds no {missing[0]}): start one with `edgenas run CONFIG.yaml`"
        )
    config = stored_config(folder / "config.yaml")
    # The space as it was at the start: its preset may have changed, or its file gone, since.
    return Run(folder, config, load_space(folder / "space.yaml"), reach or mounted_transports())
