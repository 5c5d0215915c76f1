"""Proof that an exported file computes what the scored network computes: a gate that no bundle is written without."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import Tensor

from edgenas.deploy.onnx.divergence import Departure, block_departures, first_departing_block, greatest_step
from edgenas.deploy.onnx.embedded_preprocessing import INCLUDED, device_inputs
from edgenas.deploy.onnx.exporter import model_metadata
from edgenas.deploy.onnx.runtime import create_session, said_by_runtime
from edgenas.errors import DataError, ParityError, UserError, first_line
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.preprocess import Preprocess

MIN_TOP1_AGREEMENT = 0.995
"""Share of images that two runs of one network must give the same class; see `least_agreement`."""
TOLERANCE = 1e-3
"""Greatest |Δlogit| allowed in fp32. Absolute: logits of trained networks are of order 1 to 10."""
MAX_DROP = 0.01
"""Of validation top-1 from fp32 to int8, unless a user allows another."""
COMPARED_IMAGES = 256
BATCH_SIZE = 256
"""Images that are preprocessed together; the runtime gets them one by one."""
WORST_IMAGES = 8
"""On which a failed gate looks for the block that departs."""


@dataclass(frozen=True)
class Parity:
    """How far ONNX Runtime's logits are from torch's (fp32), both on the CPU.

    Attributes:
        images: number of images compared.
        max_abs_difference: greatest |Δlogit| over all images and classes.
        mean_abs_difference: mean |Δlogit|.
        top1_agreement: share of images given the same class.
        optimisation_difference: greatest |Δlogit| between the runtime with all its graph optimisations and with none.
    """

    images: int
    max_abs_difference: float
    mean_abs_difference: float
    top1_agreement: float
    optimisation_difference: float

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Int8Parity(Parity):
    """How far an int8 file is from the fp32 network it was made of; differences are stated, accuracy decides.

    Attributes:
        quantiser_recipe: how it was quantised.
        val_images: number of validation images that both were scored on.
        val_top1: of the int8 file.
        fp32_val_top1: of the fp32 file.
        val_top1_drop: from fp32 to int8, a fraction.
        max_drop: what was allowed.
    """

    quantiser_recipe: str
    val_images: int
    val_top1: float
    fp32_val_top1: float
    val_top1_drop: float
    max_drop: float


def check_parity(
    subnet: Subnet, onnx_path: Path, images: Tensor, preprocess: Preprocess, *, tolerance: float = TOLERANCE
) -> Parity:
    """Compare the exported fp32 file with the subnet it was made of.

    Args:
        subnet: calibrated; left as it was. It is run in fp32 on the CPU, whatever it was trained on.
        onnx_path: its exported file.
        images: real ones, uint8 (n, 1 or 3, h, w), n at least 1.
        preprocess: how they become inputs.
        tolerance: greatest |Δlogit| allowed, from torch, and by the runtime's graph optimisations.

    Raises:
        ParityError: the file is of another arch, breaks ONNX's rules, or a logit differs by more than `tolerance` (or
            is not a number), or fewer images get the same class than `least_agreement` asks for.
        UncalibratedError: the subnet was not calibrated.
        UserError: no file, or the runtime lacks an operator or opset of it.
        DataError: no images, or of another type or shape.
    """
    metadata = _check_file(subnet, onnx_path)
    parity, worst = _compared(subnet, onnx_path, images, preprocess)
    problems = _problems(parity, tolerance)
    if problems:
        # With preprocessing inside there is no input to give torch's inputs to; without it the file was proven first.
        found = None if INCLUDED in metadata else first_departing_block(subnet, onnx_path, preprocess(worst))
        place = f"the first block to depart is {found}" if found else "no single block departs"
        raise ParityError(
            f"{onnx_path} is not the network that was scored: over {parity.images} images {'; '.join(problems)}; "
            f"{place}: export again"
        )
    return parity


def least_agreement(images: int) -> float:
    """Return the smallest share of images that must get the same class: 99.5 %, or all but one where that is less.

    One image with two nearly equal logits must not fail a small set. At least half must agree, of a single image all.

    Args:
        images: number of images compared, at least 1.
    """
    return max(0.5, min(MIN_TOP1_AGREEMENT, 1 - 1 / images))


def check_int8_parity(
    subnet: Subnet,
    onnx_path: Path,
    images: Tensor,
    labels: Tensor,
    preprocess: Preprocess,
    *,
    fp32_top1: float,
    max_drop: float = MAX_DROP,
) -> Int8Parity:
    """Score an int8 file on validation images, and compare it with the subnet it was made of.

    Args:
        subnet: calibrated; left as it was.
        onnx_path: from `quantise`.
        images: all validation images, uint8 (n, 1 or 3, h, w); logits are compared on the first 256.
        labels: theirs, whole numbers (n,).
        preprocess: how images become inputs.
        fp32_top1: of the fp32 file on the same images.
        max_drop: of top-1 allowed, a fraction.

    Raises:
        ParityError: the file is of another arch, is not int8, breaks ONNX's rules, or is less accurate than allowed.
        UncalibratedError: the subnet was not calibrated.
        UserError: no file, or the runtime lacks an operator or opset of it.
        DataError: no images, or of another type or shape.
    """
    metadata = _check_file(subnet, onnx_path)
    if "quantiser_recipe" not in metadata:
        raise ParityError(f"{onnx_path} is not int8: wanted a file from edgenas.deploy.int8.quantize.quantise")
    parity, worst = _compared(subnet, onnx_path, images[:COMPARED_IMAGES], preprocess)
    val_top1 = onnx_top1(onnx_path, images, labels, preprocess)
    drop = fp32_top1 - val_top1
    # A drop of exactly the limit is allowed, and fractions of whole images are not exact.
    if not drop <= max_drop + 1e-9:
        departures = [] if INCLUDED in metadata else block_departures(subnet, onnx_path, preprocess(worst))
        step: Departure | str = greatest_step(departures) or "no single block"
        raise ParityError(
            f"{onnx_path} ({metadata['quantiser_recipe']}) has validation top-1 {val_top1:.2%}, {100 * drop:.2f} "
            f"points below fp32's {fp32_top1:.2%} (allowed: {100 * max_drop:.2f}); most error comes in at {step}: "
            "try another recipe, calibrate on more images, or allow a greater drop"
        )
    return Int8Parity(
        **parity.to_json(),
        quantiser_recipe=metadata["quantiser_recipe"],
        val_images=len(images),
        val_top1=val_top1,
        fp32_val_top1=fp32_top1,
        val_top1_drop=drop,
        max_drop=max_drop,
    )


def onnx_top1(onnx_path: Path, images: Tensor, labels: Tensor, preprocess: Preprocess) -> float:
    """Share of images that the exported file, run by ONNX Runtime, gives their label.

    Args:
        onnx_path: an exported file, fp32 or int8.
        images: uint8 (n, 1 or 3, h, w), n at least 1.
        labels: whole numbers (n,).
        preprocess: how images become inputs.

    Raises:
        UserError: no file, or the runtime lacks an operator or opset of it.
        DataError: no images, or of another type or shape.
    """
    return int((onnx_classes(onnx_path, images, preprocess) == labels.cpu()).sum()) / len(images)


def onnx_classes(onnx_path: Path, images: Tensor, preprocess: Preprocess) -> Tensor:
    """The class (n,) that the exported file, run by ONNX Runtime, gives each image; see `onnx_top1`."""
    return onnx_logits(onnx_path, images, preprocess).argmax(1)


def onnx_logits(
    onnx_path: Path, images: Tensor, preprocess: Preprocess, *, optimised: bool = True, batch: int = 1
) -> Tensor:
    """Logits (n, classes) that ONNX Runtime computes on the CPU, image by image, as a device would.

    int8 sums are exact, whatever this machine's CPU: a run gives devices whose kernels saturate 7-bit weights, whose
    sums stay below the limit.

    Images are shared among torch's number of threads: small networks gain nothing from sharing an operator.

    Args:
        onnx_path: an exported file, fp32 or int8.
        images: uint8 (n, 1 or 3, h, w), n at least 1.
        preprocess: how they become inputs.
        optimised: with all the runtime's graph optimisations, or with none.
        batch: images at a time, where the file's batch is open.

    Raises:
        UserError: no file, or the runtime lacks an operator or opset of it.
        DataError: no images, or of another type or shape.
    """
    if len(images) == 0:
        raise DataError("wanted at least one image to run the exported file on, got none")
    session = _session(onnx_path, optimised)
    run, threads = _runner(session, batch), torch.get_num_threads()
    embedded = session.get_inputs()[0].type == "tensor(uint8)"
    logits: list[npt.NDArray[np.float32]] = []
    with ThreadPoolExecutor(threads) as pool:
        for part in torch.split(images.cpu(), BATCH_SIZE):
            inputs = device_inputs(part, preprocess, embedded=embedded)
            logits += pool.map(run, np.array_split(inputs, min(threads, len(inputs))))
    return torch.from_numpy(np.concatenate(logits))


def _runner(session: onnxruntime.InferenceSession, batch: int) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]:
    """A function from inputs of n images to logits (n, classes), which may be called from several threads."""
    name = session.get_inputs()[0].name

    def run(inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        parts = np.split(inputs, range(batch, len(inputs), batch))
        return np.concatenate([session.run(None, {name: part})[0] for part in parts])

    return run


def _session(onnx_path: Path, optimised: bool) -> onnxruntime.InferenceSession:
    try:
        return create_session(onnx_path, optimised=optimised, exact_int8=True)
    # The runtime's own exceptions share no base but Exception.
    except Exception as error:
        raise UserError(
            f"{onnx_path}: ONNX Runtime {onnxruntime.__version__} cannot run it (it wants {_opsets(onnx_path)}): "
            f"{said_by_runtime(error)}: install a newer runtime, or export with operators and an opset that this has"
        ) from None


def _opsets(onnx_path: Path) -> str:
    model = onnx.load(onnx_path, load_external_data=False)
    return ", ".join(f"{entry.domain or 'ai.onnx'} opset {entry.version}" for entry in model.opset_import)


def _check_file(subnet: Subnet, onnx_path: Path) -> dict[str, str]:
    """The file's metadata, if it may be compared with the subnet at all."""
    subnet.require_calibrated("the parity check")
    metadata = model_metadata(onnx_path)
    arch = subnet.arch.id if subnet.arch else ""
    if metadata.get("arch", arch) != arch:
        raise ParityError(f"{onnx_path} is arch {metadata['arch']}, the scored network is {arch}: export that one")
    _session(onnx_path, optimised=True)
    try:
        # The full check infers all shapes, strictly, too.
        onnx.checker.check_model(onnx.load(onnx_path), full_check=True)
    # Shape inference has an error class of its own, with no base but Exception.
    except Exception as error:
        raise ParityError(f"{onnx_path} breaks ONNX's rules: {first_line(error)}: export again") from None
    return metadata


def _compared(subnet: Subnet, onnx_path: Path, images: Tensor, preprocess: Preprocess) -> tuple[Parity, Tensor]:
    """The comparison, and the images whose logits differ most."""
    got = onnx_logits(onnx_path, images, preprocess)
    plain = onnx_logits(onnx_path, images, preprocess, optimised=False)
    expected = _torch_logits(subnet, images, preprocess)
    if got.shape != expected.shape:
        raise ParityError(f"{onnx_path} gives logits {tuple(got.shape)}, torch {tuple(expected.shape)}: export again")
    difference = (got - expected).abs()
    parity = Parity(
        images=len(images),
        max_abs_difference=float(difference.max()),
        mean_abs_difference=float(difference.mean()),
        top1_agreement=float((got.argmax(1) == expected.argmax(1)).float().mean()),
        optimisation_difference=float((got - plain).abs().max()),
    )
    return parity, images[difference.amax(1).argsort(descending=True)[:WORST_IMAGES].to(images.device)]


def _problems(parity: Parity, tolerance: float) -> list[str]:
    problems = []
    # Written so that a difference which is not a number fails.
    if not parity.max_abs_difference <= tolerance:
        problems.append(f"the greatest |Δlogit| is {parity.max_abs_difference:.3g} (wanted at most {tolerance:g})")
    least = least_agreement(parity.images)
    # The share is in single precision.
    if not parity.top1_agreement >= least - 1e-6:
        problems.append(f"top-1 agreement is {parity.top1_agreement:.2%} (wanted at least {least:.1%})")
    if not parity.optimisation_difference <= tolerance:
        problems.append(
            f"the runtime's graph optimisations change a logit by {parity.optimisation_difference:.3g} "
            f"(wanted at most {tolerance:g})"
        )
    return problems


@torch.no_grad()
def _torch_logits(subnet: Subnet, images: Tensor, preprocess: Preprocess) -> Tensor:
    network = copy.deepcopy(subnet).cpu().float().eval()
    return torch.cat([network(preprocess(batch)) for batch in torch.split(images.cpu(), BATCH_SIZE)])
