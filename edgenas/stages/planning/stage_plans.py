"""Estimates of what each stage of a run does, how long it takes, and how much disk space it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, get_args

from edgenas.config.run_config import RunConfig
from edgenas.deploy.int8.quantiser_recipe import Method
from edgenas.latency.device import Device
from edgenas.profiling.device_time import MACS_PER_US, REPETITION_SECONDS, TIMER_SECONDS, device_seconds
from edgenas.profiling.measurement import PROCESSES
from edgenas.profiling.transport_registry import TransportRegistry
from edgenas.records.init import InitRecord
from edgenas.runs.stage_order import ORDER, reason_to_skip
from edgenas.space.cost import cost
from edgenas.space.graph_variant import GRAPH_VARIANTS
from edgenas.space.space import ClassifierSpace, SearchSpace
from edgenas.stages.devices.fastest_variant import VARIANT_NETWORKS, VARIANT_PROCESSES
from edgenas.stages.devices.profile_plan import ProfilePlans
from edgenas.stages.front.shelf_timing import TOGETHER
from edgenas.stages.planning.plan_timing import NetworkTimes
from edgenas.stages.planning.training_length import too_few_steps
from edgenas.stages.time_shares import finetuning_seconds
from edgenas.stages.tuning.candidates import most_on_shelf
from edgenas.stages.tuning.rungs import rung_counts, whole_seconds
from edgenas.training.data.dataset import SetSize
from edgenas.training.recipe import takes_pool
from edgenas.training.standalone import epochs_of

EXPORT_SECONDS_PER_BLOCK = 0.06
QUANTISE_SECONDS_PER_MODEL = 0.1
"""Seconds to quantise a block or network for timing."""
FRONT_INT8_SECONDS = 4.0
"""Seconds to quantise a network of the front by every method, without scoring the files."""
EXPORT_SECONDS_PER_NETWORK = 1.5
"""Seconds to export a network of the front; networks for timing are stitched from exported blocks."""
QUANTISE_SECONDS = 1.0
"""Seconds of one recipe, without looking at images."""
QUANTISE_TIMES = 6
"""How many times as long a recipe takes to look at an image as scoring one does: it keeps all activations."""
SOURCE_SECONDS, LOOKUP_SECONDS = 8.0, 0.001
"""Seconds to fit a model of a table's accuracies, and to predict the accuracy of a subnet."""
METHODS = len(get_args(Method))


@dataclass(frozen=True)
class StagePlan:
    """One stage: what it does, how long it is expected to take, and whether it is finished already."""

    stage: str
    what: str
    seconds: float
    disk_bytes: int
    done: bool = False
    warning: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the stage as `--json` prints it."""
        return asdict(self)


@dataclass(frozen=True)
class RunPlan:
    """Plans of the stages of a run that trains no supernet; each method plans the stage of its name.

    Attributes:
        config: config of the run.
        networks: its space.
        devices: its measured devices.
        reach: transports of devices.
        init: its pretrained network; None where `train.init` names none.
        shelf: the spaces of the networks on its shelf, by name.
    """

    config: RunConfig
    networks: ClassifierSpace
    devices: Sequence[Device]
    reach: TransportRegistry
    init: InitRecord | None
    shelf: Mapping[str, SearchSpace]

    def stages(self) -> list[StagePlan]:
        """Plan the stages that the config has, in their order."""
        plans = {
            "profile": self.profile,
            "train": self.train,
            "search": self.search,
            "verify": self.verify,
            "finetune": self.finetune,
            "export": self.export,
            "report": self.report,
        }
        return [plans[stage]() for stage in ORDER if reason_to_skip(self.config, stage) is None]

    def profile(self) -> StagePlan:
        """Plan the measurements of blocks and networks on all devices."""
        if not self.devices:
            return StagePlan("profile", "read latency tables; no device is measured", 5.0, 10**6)
        plans = ProfilePlans(self.networks, self.config.profile, self.config.seed)
        blocks, networks = len(plans.whole.blocks), len(plans.whole.networks)
        what = f"export and time {blocks} blocks and {networks} networks on {self._device_count}"
        seconds = len(self.devices) * ((blocks + networks) * EXPORT_SECONDS_PER_BLOCK + plans.seconds)
        seconds += (
            self._int8_devices * (blocks + networks) * QUANTISE_SECONDS_PER_MODEL + PROCESSES * self._process_seconds
        )
        if self.config.export.graph_variant == "auto":
            what, seconds = f"compare graph variants, {what}", seconds + self._variant_seconds
        return StagePlan("profile", what, seconds, len(self.devices) * networks * self._weight_bytes)

    def train(self) -> StagePlan:
        """Plan to take weights from a file."""
        return StagePlan("train", "take the weights of train.init", 5.0, 3 * self._weight_bytes)

    def search(self) -> StagePlan:
        """Plan the search on accuracies from elsewhere."""
        search = self.config.search
        what = f"look at up to {search.evaluations} of {self.networks.size:.3g} subnets with {search.strategy}"
        seconds = SOURCE_SECONDS + search.evaluations * LOOKUP_SECONDS
        return StagePlan("search", what, seconds, search.evaluations * 500)

    def verify(self) -> StagePlan:
        """Plan the measurements of the front."""
        networks = self.config.verify.networks if self.devices else 0
        what = f"measure up to {networks} subnets of the front on {self._device_count}"
        timing = len(self.devices) * self.config.verify.rounds * REPETITION_SECONDS
        seconds = networks * (self._front_network_seconds + timing) + PROCESSES * self._process_seconds
        if self.shelf and self.devices:
            what, seconds = f"{what}, and {len(self.shelf)} network(s) of the shelf", seconds + self._shelf_seconds
        # An int8 file has a byte a weight instead of four.
        size = self._weight_bytes + (self._weight_bytes // 4 if self._int8_devices else 0)
        return StagePlan("verify", what, seconds, networks * size)

    def finetune(self) -> StagePlan:
        """Plan the fine-tuning of the chosen subnet."""
        what = f"{self.config.finetune.epochs:g} epochs of the chosen subnet on its own"
        return StagePlan("finetune", what, 60.0, self._weight_bytes)

    def export(self) -> StagePlan:
        """Plan the export of the chosen subnet."""
        return StagePlan("export", "prove the chosen file equal and bundle it", 60.0, self._weight_bytes)

    def report(self) -> StagePlan:
        """Plan the report."""
        return StagePlan("report", "draw the report", 5.0, 10**6)

    @property
    def _int8_devices(self) -> int:
        return sum(device.run.precision == "int8" for device in self.devices)

    @property
    def _device_count(self) -> str:
        in_int8 = f", {self._int8_devices} in int8" if self._int8_devices else ""
        return f"{len(self.devices)} device(s){in_int8}"

    @cached_property
    def _weight_bytes(self) -> int:
        return cost(self.networks.unroll(self.networks.largest)).weight_bytes

    @property
    def _process_seconds(self) -> float:
        """Seconds to start one process of the timer on every device, beyond those of the local timer."""
        return sum(self.reach.stated_kind(device).start_seconds for device in self.devices)

    @property
    def _variant_seconds(self) -> float:
        # Three files a network; the start of the timer's processes counts most.
        repetitions = len(GRAPH_VARIANTS) * VARIANT_NETWORKS * self.config.profile.rounds
        seconds = repetitions * REPETITION_SECONDS + VARIANT_PROCESSES * TIMER_SECONDS
        return len(self.devices) * seconds + VARIANT_PROCESSES * self._process_seconds

    @property
    def _shelf_seconds(self) -> float:
        """Seconds to time every network of the shelf at as many resolutions as in one session."""
        seconds = PROCESSES * (len(self.devices) * TIMER_SECONDS + self._process_seconds)
        for space in self.shelf.values():
            networks = space.with_classes(self.networks.num_classes)
            for resolution in space.resolution[-TOGETHER:]:
                specs = networks.unroll(space.arch(resolution, space.largest.stages))
                timing = device_seconds(1, self.config.verify.rounds, cost(specs).macs / MACS_PER_US)
                seconds += EXPORT_SECONDS_PER_NETWORK + len(self.devices) * timing
        return seconds

    @property
    def _front_network_seconds(self) -> float:
        """Seconds for a network of the front, without measuring its latency."""
        return EXPORT_SECONDS_PER_NETWORK


@dataclass(frozen=True)
class SupernetPlan(RunPlan):
    """Plans of the stages of a run that trains its supernet.

    Attributes:
        sizes: numbers of its images.
        steps: optimiser steps in all.
        minutes: training time that sets the number of steps; None where epochs do.
        times: seconds that its networks take on this machine.
    """

    sizes: SetSize
    steps: int
    minutes: float | None
    times: NetworkTimes

    def train(self) -> StagePlan:
        """Plan the training of the supernet, and warn where it is hopelessly short."""
        training = self.config.training
        what = f"{self.steps} steps of {training.batch_size} images through {training.subnets_per_step} subnets"
        seconds = self.steps * self.times.step
        if takes_pool(training):
            what += " that the budgets allow; timed as if they allowed all: at most"
        if self.minutes is not None:
            what, seconds = f"as many steps as {self.minutes:g} minutes hold", 60 * self.minutes
        if self.init is not None:
            network = self.init.network
            what = f"from {'random weights' if network is None else network.name}: {what}"
            if network is None:
                training = training.model_copy(update={"init": None})
        warning = too_few_steps(training, self.networks, self.steps)
        return StagePlan("train", what, seconds, 3 * self._weight_bytes, warning=warning)

    def search(self) -> StagePlan:
        """Plan the search, which recalibrates and scores every subnet."""
        search = self.config.search
        what = f"score up to {search.evaluations} of {self.networks.size:.3g} subnets with {search.strategy}"
        seconds = search.evaluations * self._score_seconds / search.workers
        return StagePlan("search", what, seconds, search.evaluations * (500 + self._statistics_bytes))

    def finetune(self) -> StagePlan:
        """Plan the fine-tuning; other images are assumed to be as many as the run's."""
        epochs = self.config.finetune.epochs
        if epochs is None:
            epochs = epochs_of(self.config.training, self.sizes.train, self.steps)
        seconds = epochs * self.sizes.train * self.times.trained_image
        if self.config.halves:
            return self._halving(seconds)
        return StagePlan(
            "finetune", f"{epochs:.3g} epochs of the chosen subnet on its own", seconds, self._weight_bytes
        )

    def _halving(self, longest: float) -> StagePlan:
        """Plan the fine-tuning of several candidates.

        Args:
            longest: seconds of the one that is trained longest, where the config gives epochs.
        """
        own, shelf = self.config.tuned_candidates, most_on_shelf(len(self.shelf))
        counts = rung_counts(own + shelf, 2 if shelf else 1)
        seconds = whole_seconds(counts, longest) + self._candidate_seconds(own)
        if self.config.finetune.epochs is None:
            earlier = (self.profile(), self.train(), self.search(), self.verify())
            seconds = finetuning_seconds(self.config.minutes, {stage.stage: stage.seconds for stage in earlier})
        of_shelf = f" and {shelf} of the shelf" if shelf else ""
        what = f"fine-tune up to {own} candidates{of_shelf} by successive halving"
        # Every candidate's weights are kept after each of its rungs.
        return StagePlan("finetune", what, seconds, sum(counts) * self._weight_bytes)

    def _candidate_seconds(self, candidates: int) -> float:
        """Return the seconds to time candidates of the space; those of the shelf are timed in `verify`."""
        timing = len(self.devices) * self.config.verify.rounds * REPETITION_SECONDS
        starts = PROCESSES * (len(self.devices) * TIMER_SECONDS + self._process_seconds)
        return candidates * (EXPORT_SECONDS_PER_NETWORK + timing) + starts

    def export(self) -> StagePlan:
        """Plan the export; fine-tuning for int8, which is rarely due, is not counted."""
        # The front, the chosen file twice, the largest subnet.
        seconds = 5 + (self.config.verify.networks + 3) * self.sizes.test * self.times.scored_image
        if self.config.export.precision == "fp32" and not self._int8_devices:
            what = "prove the chosen file equal, bundle it, and look at test images"
            return StagePlan("export", what, seconds, self._weight_bytes)
        images, devices = self.config.export.calibration_images, len(self.devices)
        quantising = METHODS * (QUANTISE_SECONDS + images * QUANTISE_TIMES * self.times.scored_image)
        # Every recipe's file; fp32's; and for the gate the subnet and the chosen file.
        scoring = ((METHODS + 3) * self._validation_images + self.sizes.test) * self.times.scored_image
        # Both files, and the two that the timer always has among them.
        timing = devices * (PROCESSES * TIMER_SECONDS + 4 * self.config.verify.rounds * REPETITION_SECONDS)
        what = (
            f"prove the chosen file equal, quantise it by {METHODS} recipes on {images} images, score each on "
            f"{self._validation_images} validation images, time int8 beside fp32 on {devices} device(s), and bundle "
            "both"
        )
        return StagePlan("export", what, seconds + quantising + scoring + timing, 2 * self._weight_bytes)

    @property
    def _validation_images(self) -> int:
        return min(self.sizes.validation, self.config.search.validation_images or self.sizes.validation)

    @property
    def _score_seconds(self) -> float:
        images = min(self.config.search.calibration_images, self.sizes.train) + self._validation_images
        return images * self.times.scored_image

    @property
    def _front_network_seconds(self) -> float:
        seconds = self._score_seconds + super()._front_network_seconds
        if not self._int8_devices:
            return seconds
        # Every method's file and the fp32 one are scored.
        return seconds + FRONT_INT8_SECONDS + (METHODS + 1) * self._validation_images * self.times.scored_image

    @property
    def _statistics_bytes(self) -> int:
        """Size of a subnet's batch-norm statistics: a mean and a variance a channel, and their names."""
        specs = self.networks.unroll(self.networks.largest)
        widths = [conv.out_channels for spec in specs for conv in spec.convs() if conv.norm]
        return 8 * sum(widths) + 250 * len(widths)
