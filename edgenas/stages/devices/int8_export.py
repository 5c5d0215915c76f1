"""int8 at the end of a run: the most accurate recipe, the gate on accuracy, and the latency compared with fp32."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from edgenas.config.sections import ExportConfig
from edgenas.deploy.int8.quantiser_recipe import Method, QuantiserRecipe
from edgenas.deploy.int8.quantize import RecipeChoice, choose_recipe, quantise_each
from edgenas.deploy.onnx.embedded_preprocessing import device_inputs
from edgenas.deploy.onnx.parity import Int8Parity, check_int8_parity
from edgenas.deploy.onnx.scoring import onnx_top1
from edgenas.latency.device import Device
from edgenas.profiling.measurement import Measurement
from edgenas.runs.images import RunImages
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.preprocess import Preprocess
from edgenas.training.data.split import Split


def needs_seven_bits(devices: Iterable[Device]) -> bool:
    """Return whether weights must have 7 bits, because kernels of some device saturate."""
    return any(device.int8_saturates for device in devices)


def run_recipes(devices: Iterable[Device]) -> list[QuantiserRecipe]:
    """Return the recipes that a run's int8 files are chosen among; all its devices share them.

    They differ in the method only: both ends stay fp32, the fastest setting.
    """
    seven = needs_seven_bits(devices)
    return [QuantiserRecipe(method, "ends", seven) for method in get_args(Method)]


def quantised(
    config: ExportConfig,
    images: RunImages,
    model: Path,
    preprocess: Preprocess,
    *,
    devices: Iterable[Device],
    folder: Path,
) -> RecipeChoice:
    """Return the most accurate int8 file made of a proven fp32 file, on validation images.

    Methods of calibration are compared, which latency does not depend on.

    Raises:
        DataError: fewer training images than `export.calibration_images`.
    """
    count = config.calibration_images
    recipes = run_recipes(devices)
    calibration = device_inputs(images.dataset.train.images[:count], preprocess, embedded=False)
    files = quantise_each(model, {recipe: folder / f"{recipe}.onnx" for recipe in recipes}, calibration, images=count)
    split = images.scoring
    inputs = split.tensor()
    return choose_recipe(files, lambda path: onnx_top1(path, inputs, split.labels, preprocess))


def int8_gate(
    config: ExportConfig, split: Split, subnet: Subnet, int8: Path, preprocess: Preprocess, fp32_top1: float
) -> Int8Parity:
    """Score the int8 file on validation images with the runtime, and compare it with the fp32 file's top-1.

    Logits are compared with those of the network that was scored, also for a fine-tuned file: a bundle states how far
    its two files differ.

    Raises:
        ParityError: int8 costs more validation top-1 than `export.max_drop`.
    """
    limit = config.max_drop
    images = split.tensor()
    return check_int8_parity(subnet, int8, images, split.labels, preprocess, fp32_top1=fp32_top1, max_drop=limit)


@dataclass(frozen=True)
class Comparison:
    """int8 and fp32 of one network, timed side by side on one device."""

    device: str
    fp32: Measurement
    int8: Measurement

    @property
    def noise(self) -> float:
        """Repeat noise of the measurements: the larger of the two."""
        return max(self.fp32.repeat_noise, self.int8.repeat_noise)

    @property
    def speedup(self) -> float:
        """Latency in fp32 divided by latency in int8."""
        return self.fp32.p50_us / self.int8.p50_us

    @property
    def worth_it(self) -> bool:
        """Whether int8 is faster by more than the measurements' repeat noise."""
        return 1 - 1 / self.speedup > self.noise

    def __str__(self) -> str:
        times = f"{self.int8.p50_us / 1e3:.3f} ms against {self.fp32.p50_us / 1e3:.3f} ms in fp32, timed side by side"
        if self.worth_it:
            return f"int8 is {self.speedup:.2f} times as fast on {self.device}: {times}"
        why = f"no faster by the {self.noise:.1%} that they repeat to" if self.speedup > 1 else "no faster"
        return f"int8 is not worth it on {self.device}: {times}, {why}"
