"""The files of a bundle: exported, proven to be the network that was scored, quantised."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgenas.deploy.int8.quantize import RecipeChoice
from edgenas.deploy.onnx.batch_invariance import check_batches
from edgenas.deploy.onnx.embedded_preprocessing import embed_preprocessing
from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.deploy.onnx.parity import Int8Parity, Parity, check_parity
from edgenas.profiling.verdict import worst
from edgenas.progress import Progress
from edgenas.records.export import JudgedLatency, QatRecord
from edgenas.records.record import Verdict
from edgenas.space.graph_variant import PLAIN_VARIANT
from edgenas.stages.devices.int8_export import int8_gate, needs_seven_bits, quantised
from edgenas.stages.devices.measuring import Session
from edgenas.stages.shipping.bundle_network import Network, validation_top1
from edgenas.stages.weights.qat_finetuning import fine_tuned, qat_record, tuning_due

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Int8Export:
    """A file that passed its gate, and how its recipe was chosen."""

    path: Path
    choice: RecipeChoice
    parity: Int8Parity
    tuning: QatRecord | None


@dataclass(frozen=True)
class Prepared:
    """A network's files, proven and timed, before a bundle is written of them.

    Attributes:
        network: which.
        fp32: the file to be delivered.
        parity: parity of that file.
        int8: the int8 file beside it, where one was asked for.
        timed: sessions on every measured device, in which the files were timed side by side, by precision.
        judged: verdict on the deployed file by device.
    """

    network: Network
    fp32: Path
    parity: Parity
    int8: Int8Export | None
    timed: Mapping[str, Session]
    judged: Mapping[str, JudgedLatency]

    @property
    def verdict(self) -> Verdict | None:
        """The worst verdict on the deployed file over all devices; None where no latency is limited."""
        return worst(judged.verdict for judged in self.judged.values())


def plain_fp32(network: Network) -> Path:
    """Return the fp32 file without preprocessing: the measured one, unless the options ask for another."""
    if network.verified is not None and not network.options.dynamic_batch:
        return network.verified.model
    path, dynamic_batch = network.folder / "fp32.onnx", network.options.dynamic_batch
    return export_onnx(network.subnet, path, variant=network.variant, dynamic_batch=dynamic_batch)


def proven_fp32(network: Network, plain: Path) -> tuple[Path, Parity]:
    """Return the file to deliver and its parity; it is proven without preprocessing first, so failures name a block."""
    parity = _parity(network, plain)
    if not network.options.embed_preprocessing:
        return plain, parity
    embedded = embed_preprocessing(plain, network.folder / "fp32-embedded.onnx", network.preprocess)
    return embedded, _parity(network, embedded)


def warn_if_few_images(expected: int, available: int) -> None:
    """Warn if fewer validation images are compared than `export.parity_images` asks for."""
    if expected > available:
        LOGGER.warning(
            "note: export.parity_images is %d, but there are only %d validation images: parity is proven on those",
            expected,
            available,
        )


def _parity(network: Network, model: Path) -> Parity:
    images = network.images.dataset.validation.images[: network.config.export.parity_images]
    parity = check_parity(network.subnet, model, images, network.preprocess)
    if network.options.dynamic_batch:
        check_batches(model, images, network.preprocess)
    return parity


def proven_int8(network: Network, plain: Path, progress: Progress) -> Int8Export:
    """Return the int8 file to deliver, after it passed its gate.

    Raises:
        ParityError: it costs more validation top-1 than is allowed.
    """
    config, images, preprocess = network.config.export, network.images, network.preprocess
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
) -> tuple[RecipeChoice, QatRecord | None]:
    """Return the int8 file that `verify` measured, or else the most accurate one, fine-tuned where that is due."""
    if network.verified is not None and network.verified.int8 is not None and not network.options.dynamic_batch:
        return network.verified.int8, None
    config, images, devices = network.config, network.images, list(network.devices.measured.values())
    quantise = partial(quantised, config.export, images, preprocess=network.preprocess, devices=devices)
    choice = quantise(model=plain, folder=network.folder)
    drop, train = fp32_top1 - choice.best_top1, images.dataset.train
    if not tuning_due(config.export.quantisation_aware, drop):
        return choice, None
    tuned, seconds = fine_tuned(config, train, network.subnet, progress, seven_bit_weights=needs_seven_bits(devices))
    folder = network.folder / "fine-tuned"
    model = export_onnx(tuned, folder / "fp32.onnx", variant=PLAIN_VARIANT, dynamic_batch=network.options.dynamic_batch)
    other = quantise(model=model, folder=folder)
    tuning = qat_record(config.training, train, seconds, drop, fp32_top1 - other.best_top1)
    return (other if tuning.kept else choice), tuning
