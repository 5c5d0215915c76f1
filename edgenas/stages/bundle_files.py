"""The files of a bundle: exported, proven to be the network that was scored, quantised."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgenas.deploy.int8.quantize import RecipeChoice
from edgenas.deploy.onnx.batch_invariance import check_batches
from edgenas.deploy.onnx.embedded_preprocessing import embed_preprocessing
from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.deploy.onnx.parity import Int8Parity, Parity, check_parity
from edgenas.progress import Progress
from edgenas.space.graph_variant import PLAIN_VARIANT
from edgenas.stages.bundle_network import Network, validation_top1
from edgenas.stages.front_int8 import int8_choice
from edgenas.stages.int8_export import int8_gate, needs_seven_bits, quantised
from edgenas.stages.predictors import run_variant
from edgenas.stages.qat_finetuning import FineTuning, fine_tuned, outcome, tuning_due

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Int8Export:
    """A file that passed its gate, and how its recipe was chosen."""

    path: Path
    choice: RecipeChoice
    parity: Int8Parity
    tuning: FineTuning | None


def plain_fp32(network: Network) -> Path:
    """Return the fp32 file without preprocessing: the measured one, unless the options ask for another."""
    if network.verified is not None and not network.options.dynamic_batch:
        return network.verified[1]
    path, variant = network.folder / "fp32.onnx", run_variant(network.run)
    return export_onnx(network.subnet, path, variant=variant, dynamic_batch=network.options.dynamic_batch)


def proven_fp32(network: Network, plain: Path) -> tuple[Path, Parity]:
    """Return the file to deliver and its parity; it is proven without preprocessing first, so failures name a block."""
    parity = _parity(network, plain)
    if not network.options.embed_preprocessing:
        return plain, parity
    embedded = embed_preprocessing(plain, network.folder / "fp32-embedded.onnx", network.preprocess)
    return embedded, _parity(network, embedded)


def warn_if_few_images(network: Network) -> None:
    """Warn if fewer images are compared than the config asks for."""
    expected, available = network.run.config.export.parity_images, len(network.images.dataset.validation)
    if expected > available:
        LOGGER.warning(
            "note: export.parity_images is %d, but there are only %d validation images: parity is proven on those",
            expected,
            available,
        )


def _parity(network: Network, model: Path) -> Parity:
    images = network.images.dataset.validation.images[: network.run.config.export.parity_images]
    parity = check_parity(network.subnet, model, images, network.preprocess)
    if network.options.dynamic_batch:
        check_batches(model, images, network.preprocess)
    return parity


def proven_int8(network: Network, plain: Path, progress: Progress) -> Int8Export:
    """Return the int8 file to deliver, after it passed its gate.

    Raises:
        ParityError: it costs more validation top-1 than is allowed.
    """
    config, images, preprocess = network.run.config.export, network.images, network.preprocess
    fp32_top1 = validation_top1(network, plain)
    progress("choosing an int8 form", 0, 1)
    choice, tuning = _choose(network, plain, fp32_top1, progress)
    progress("choosing an int8 form", 1, 1)
    path = choice.path
    progress("proving int8", 0, 1)
    parity = int8_gate(config, images.scoring, network.subnet, path, preprocess, fp32_top1)
    if network.options.embed_preprocessing:
        path = embed_preprocessing(path, network.folder / "int8-embedded.onnx", preprocess)
        parity = int8_gate(config, images.scoring, network.subnet, path, preprocess, fp32_top1)
    if network.options.dynamic_batch:
        check_batches(path, images.dataset.validation.images[: config.parity_images], preprocess)
    progress("proving int8", 1, 1)
    return Int8Export(path, choice, parity, tuning)


def _choose(
    network: Network, plain: Path, fp32_top1: float, progress: Progress
) -> tuple[RecipeChoice, FineTuning | None]:
    """Return the int8 file that `verify` measured, or else the most accurate one, fine-tuned where that is due."""
    run, images, devices = network.run, network.images, list(network.run.devices.measured.values())
    measured = _measured_int8(network)
    if measured is not None:
        return measured, None
    quantise = partial(quantised, run.config.export, images, preprocess=network.preprocess, devices=devices)
    choice = quantise(model=plain, folder=network.folder)
    drop = fp32_top1 - choice.best_top1
    if not tuning_due(run, drop):
        return choice, None
    tuned, seconds = fine_tuned(
        run, images.dataset, network.subnet, progress, seven_bit_weights=needs_seven_bits(devices)
    )
    folder = network.folder / "fine-tuned"
    model = export_onnx(tuned, folder / "fp32.onnx", variant=PLAIN_VARIANT, dynamic_batch=network.options.dynamic_batch)
    other = quantise(model=model, folder=folder)
    tuning = outcome(run, images.dataset, seconds, drop, fp32_top1 - other.best_top1)
    return (other if tuning.kept else choice), tuning


def _measured_int8(network: Network) -> RecipeChoice | None:
    """Return the int8 file without preprocessing that `verify` measured; None where the options ask for another."""
    if network.verified is None or network.options.dynamic_batch or network.verified[0].int8 is None:
        return None
    return int8_choice(network.verified[0].int8, network.run.folder)
