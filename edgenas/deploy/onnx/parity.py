"""Parity check: an exported file must compute what the scored network computes, or no bundle is written."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import Tensor

from edgenas.deploy.onnx.divergence import BlockDivergence, block_divergences, first_diverging_block, largest_increase
from edgenas.deploy.onnx.embedded_preprocessing import INCLUDED
from edgenas.deploy.onnx.exporter import model_metadata
from edgenas.deploy.onnx.scoring import BATCH_SIZE, onnx_logits, onnx_top1, scoring_session
from edgenas.errors import ParityError, first_line
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.preprocess import Preprocess

MIN_TOP1_AGREEMENT = 0.995
"""Share of images that two runs of one network must give the same class; see `least_agreement`."""
TOLERANCE = 1e-3
"""Greatest |Δlogit| allowed in fp32. Absolute: logits of trained networks are of order 1 to 10."""
MAX_DROP = 0.01
"""Largest drop of validation top-1 from fp32 to int8, unless the user allows another."""
COMPARED_IMAGES = 256
WORST_IMAGES = 8
"""Number of images on which a failed check looks for the block that diverges."""


@dataclass(frozen=True)
class Parity:
    """Differences between the logits of ONNX Runtime and of torch (fp32), both on the CPU.

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


@dataclass(frozen=True)
class Int8Parity(Parity):
    """Comparison of an int8 file with the fp32 network it was made of; only the accuracy decides.

    Attributes:
        quantiser_recipe: how it was quantised.
        val_images: number of validation images that both were scored on.
        val_top1: validation top-1 of the int8 file.
        fp32_val_top1: validation top-1 of the fp32 file.
        val_top1_drop: drop from fp32 to int8, a fraction.
        max_drop: largest drop allowed.
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
    """Compare an exported fp32 file with its subnet.

    Args:
        subnet: calibrated subnet, which is not changed. It is run in fp32 on the CPU.
        onnx_path: exported file of the subnet.
        images: real images, uint8 of shape (n, 1 or 3, h, w), n at least 1.
        preprocess: preprocessing of the images.
        tolerance: largest |Δlogit| between torch and the runtime, and with and without graph optimisations.

    Raises:
        ParityError: the file has another architecture or is not valid ONNX, a logit differs by more than `tolerance` or
            is not a number, or fewer images than `least_agreement` are classified equally.
        UncalibratedError: the subnet was not calibrated.
        UserError: the file is missing, or the runtime lacks one of its operators or its opset.
        DataError: there are no images, or they have another type or shape.
    """
    metadata = _check_file(subnet, onnx_path)
    parity, worst = _compared(subnet, onnx_path, images, preprocess)
    problems = _problems(parity, tolerance)
    if problems:
        # A file with preprocessing inside has no input for torch's inputs; it was checked without preprocessing before.
        block = None if INCLUDED in metadata else first_diverging_block(subnet, onnx_path, preprocess(worst))
        divergence = f"the first block to diverge is {block}" if block else "no single block diverges"
        raise ParityError(
            f"{onnx_path} is not the network that was scored: over {parity.images} images {'; '.join(problems)}; "
            f"{divergence}: export again"
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
        labels: of the images, integers (n,).
        preprocess: how images become inputs.
        fp32_top1: top-1 of the fp32 file on the same images.
        max_drop: largest drop of top-1 allowed, a fraction.

    Raises:
        ParityError: the file is of another arch, is not int8, breaks ONNX's rules, or is less accurate than allowed.
        UncalibratedError: the subnet was not calibrated.
        UserError: no file, or the runtime lacks an operator or opset of it.
        DataError: no images, or of another type or shape.
    """
    metadata = _check_file(subnet, onnx_path)
    if "quantiser_recipe" not in metadata:
        raise ParityError(f"{onnx_path} is not int8: expected a file from edgenas.deploy.int8.quantize.quantise")
    parity, worst = _compared(subnet, onnx_path, images[:COMPARED_IMAGES], preprocess)
    val_top1 = onnx_top1(onnx_path, images, labels, preprocess)
    drop = fp32_top1 - val_top1
    # A drop of exactly the limit is allowed, and fractions of whole images are not exact.
    if not drop <= max_drop + 1e-9:
        divergences = [] if INCLUDED in metadata else block_divergences(subnet, onnx_path, preprocess(worst))
        step: BlockDivergence | str = largest_increase(divergences) or "no single block"
        raise ParityError(
            f"{onnx_path} ({metadata['quantiser_recipe']}) has validation top-1 {val_top1:.2%}, {100 * drop:.2f} "
            f"points below fp32's {fp32_top1:.2%} (allowed: {100 * max_drop:.2f}); most error is added at {step}: "
            "try another recipe, calibrate on more images, or allow a greater drop"
        )
    return Int8Parity(
        **dataclasses.asdict(parity),
        quantiser_recipe=metadata["quantiser_recipe"],
        val_images=len(images),
        val_top1=val_top1,
        fp32_val_top1=fp32_top1,
        val_top1_drop=drop,
        max_drop=max_drop,
    )


def _check_file(subnet: Subnet, onnx_path: Path) -> dict[str, str]:
    """Return the metadata of a valid file of the subnet's architecture."""
    subnet.require_calibrated("the parity check")
    metadata = model_metadata(onnx_path)
    arch = subnet.arch.id if subnet.arch else ""
    if metadata.get("arch", arch) != arch:
        raise ParityError(f"{onnx_path} is arch {metadata['arch']}, the scored network is {arch}: export that one")
    scoring_session(onnx_path)
    try:
        # The full check also infers all shapes, strictly.
        onnx.checker.check_model(onnx.load(onnx_path), full_check=True)
    # Shape inference has an error class of its own, with no base but Exception.
    except Exception as error:
        raise ParityError(f"{onnx_path} breaks ONNX's rules: {first_line(error)}: export again") from None
    return metadata


def _compared(subnet: Subnet, onnx_path: Path, images: Tensor, preprocess: Preprocess) -> tuple[Parity, Tensor]:
    """Return the comparison, and the images whose logits differ most."""
    actual = onnx_logits(onnx_path, images, preprocess)
    plain = onnx_logits(onnx_path, images, preprocess, optimised=False)
    expected = _torch_logits(subnet, images, preprocess)
    if actual.shape != expected.shape:
        raise ParityError(
            f"{onnx_path} gives logits {tuple(actual.shape)}, torch {tuple(expected.shape)}: export again"
        )
    difference = (actual - expected).abs()
    parity = Parity(
        images=len(images),
        max_abs_difference=float(difference.max()),
        mean_abs_difference=float(difference.mean()),
        top1_agreement=float((actual.argmax(1) == expected.argmax(1)).float().mean()),
        optimisation_difference=float((actual - plain).abs().max()),
    )
    return parity, images[difference.amax(1).argsort(descending=True)[:WORST_IMAGES].to(images.device)]


def _problems(parity: Parity, tolerance: float) -> list[str]:
    problems = []
    # Written so that a difference which is not a number fails.
    if not parity.max_abs_difference <= tolerance:
        problems.append(f"the greatest |Δlogit| is {parity.max_abs_difference:.3g} (expected at most {tolerance:g})")
    least = least_agreement(parity.images)
    # The share is in single precision.
    if not parity.top1_agreement >= least - 1e-6:
        problems.append(f"top-1 agreement is {parity.top1_agreement:.2%} (expected at least {least:.1%})")
    if not parity.optimisation_difference <= tolerance:
        problems.append(
            f"the runtime's graph optimisations change a logit by {parity.optimisation_difference:.3g} "
            f"(expected at most {tolerance:g})"
        )
    return problems


@torch.no_grad()
def _torch_logits(subnet: Subnet, images: Tensor, preprocess: Preprocess) -> Tensor:
    network = copy.deepcopy(subnet).cpu().float().eval()
    return torch.cat([network(preprocess(batch)) for batch in torch.split(images.cpu(), BATCH_SIZE)])
