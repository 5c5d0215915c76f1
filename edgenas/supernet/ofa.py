"""Read the public checkpoints of once-for-all (Cai et al., ICLR 2020, arXiv 1908.09791) into a SuperNet.

Their kernel transforms (section 3.2) are taken over, so every subnet computes what `OFAMobileNetV3` does once its
batch-norm statistics are fixed. Nothing in the file is executed (`torch.load(weights_only=True)`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgenas.errors import DataError, SpaceError, first_line, one_of, shortened
from edgenas.first_bytes import stand_in_cause
from edgenas.space.loading import load_space
from edgenas.space.space import ClassifierSpace, SearchSpace
from edgenas.supernet.pixels import IMAGENET
from edgenas.supernet.supernet import SuperNet

SPACES = ("ofa-mbv3-w1.0", "ofa-mbv3-w1.2")
CLASSIFIER, LAST_WIDTH = "classifier.linear.bias", "final_expand_layer.conv.weight"
SPELLINGS = {
    "module.": "",
    ".mobile_inverted_conv.": ".conv.",
    ".bn.bn.": ".bn.",
    ".conv.conv.weight": ".conv.weight",
    ".linear.linear.": ".linear.",
}
"""Of tensors' names, over the years; the shortest is kept."""
PARTS = {
    "expand": "inverted_bottleneck",
    "depthwise": "depth_conv",
    "project": "point_linear",
    "se": "depth_conv.se.fc",
}
"""Of a block, and what they call them."""
WORDS = ("stage", "block")
ENDS = {
    "blocks.stem.conv.": "first_conv.",
    "blocks.head.conv.": "final_expand_layer.",
    "blocks.head.mix.": "feature_mix_layer.conv.",
    "blocks.head.classifier.": "classifier.linear.",
}


def import_ofa_checkpoint(path: Path | str, space: SearchSpace) -> SuperNet:
    """Return a supernet with the weights of a public once-for-all checkpoint, in eval mode.

    Args:
        path: a checkpoint: a state dict, or a dict that holds one as `state_dict`.
        space: `load_space("ofa-mbv3-w1.0")` or `w1.2`, perhaps with fewer resolutions. With a number of classes
            (`with_classes`), the checkpoint must have as many.

    Raises:
        SpaceError: the space is another, or narrowed in more than its resolutions.
        DataError: the file is broken, of another width or class count, lacks a tensor or has one too many.
    """
    origin = Path(path)
    _check_space(space)
    found = {_spelled(name): tensor for name, tensor in _load(origin).items()}
    found = {name: tensor for name, tensor in found.items() if not name.endswith("num_batches_tracked")}
    classes = _count_classes(origin, found)
    if isinstance(space, ClassifierSpace) and space.num_classes != classes:
        raise DataError(
            f"{origin} is of {classes} classes, but the data has {space.num_classes}: expected images of the classes "
            "that it was trained on, one folder a class"
        )
    net = SuperNet(space.with_classes(classes), kernel_transforms=True, pixels=IMAGENET)
    wanted = {name: _ofa_name(name, space) for name in net.state_dict()}
    _check_width(origin, found, space)
    _check_names(origin, wanted.values(), found)
    net.load_state_dict(
        {name: _fitting(origin, theirs, found[theirs], net.state_dict()[name]) for name, theirs in wanted.items()}
    )
    return net.eval()


def has_ofa_checkpoints(space: SearchSpace) -> bool:
    """Whether there are public checkpoints of a space."""
    return space.structure_id in _whole()


def _whole() -> dict[str, SearchSpace]:
    return {space.structure_id: space for space in map(load_space, SPACES)}


def _check_space(space: SearchSpace) -> None:
    whole = _whole().get(space.structure_id)
    if whole is None:
        raise SpaceError(f"space {space.name} has no once-for-all checkpoints; {one_of(space.name, SPACES)}")
    if whole.stages != space.stages:
        raise SpaceError(
            f"space {space.name} is narrowed in other genes than its resolution: expected it as "
            f'load_space("{whole.name}") has it, since a checkpoint fills all of it'
        )


def _load(path: Path) -> Mapping[str, Tensor]:
    try:
        state: Any = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist: expected a once-for-all checkpoint, like ofa_mbv3_d234_e346_k357_w1.0"
        ) from None
    # What a damaged pickle raises depends on where it is damaged: errors of struct, of indices, of assertions.
    except Exception as error:
        cause = stand_in_cause(path) or f"{first_line(error)}; is it truncated? get it again"
        raise DataError(f"{path} cannot be read as a PyTorch checkpoint ({cause})") from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    named = isinstance(state, dict) and all(isinstance(name, str) for name in state)
    if not named or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"{path}: expected a dict of tensors by name, alone or as its 'state_dict'")
    tensors: Mapping[str, Tensor] = state
    return tensors


def _spelled(name: str) -> str:
    for old, new in SPELLINGS.items():
        name = name.replace(old, new)
    return name


def _ofa_name(name: str, space: SearchSpace) -> str:
    """What they call a tensor of our supernet: `blocks.stage1_block2.depthwise.conv.weight` is in `blocks.3`."""
    for ours, theirs in ENDS.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours).replace("norm.", "bn.")
    _, place, part, rest = name.split(".", 3)
    stage, block = (int(token.removeprefix(word)) for token, word in zip(place.split("_"), WORDS, strict=True))
    number = sum(one.positions for one in space.stages[:stage]) + block
    rest = rest.replace("norm.", "bn.").replace("squeeze.", "reduce.").replace("excite.", "expand.")
    if "transforms." in rest:
        rest = f"conv.{rest.rpartition('.')[2]}_matrix"
    return f"blocks.{number}.conv.{PARTS[part]}.{rest}"


def _count_classes(path: Path, found: Mapping[str, Tensor]) -> int:
    if CLASSIFIER not in found:
        raise DataError(f"{path} is no once-for-all MobileNetV3 checkpoint: it lacks {CLASSIFIER}")
    return found[CLASSIFIER].numel()


def _check_width(path: Path, found: Mapping[str, Tensor], space: SearchSpace) -> None:
    width = next(iter(found[LAST_WIDTH].shape), 0) if LAST_WIDTH in found else space.head.width
    others = [name for name in SPACES if load_space(name).head.width == width]
    if others and space.head.width != width:
        raise DataError(f"{path} is of another width than {space.name}: its space is {others[0]}")


def _check_names(path: Path, wanted: Iterable[str], found: Mapping[str, Tensor]) -> None:
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    problems = [f"{what} {shortened(names)}" for what, names in (("lacks", missing), ("has also", extra)) if names]
    if problems:
        kernels = any("_matrix" in name for name in missing)
        hint = "; without kernel transforms it is of a single network" if kernels else ""
        raise DataError(f"{path} does not fit: it {' and '.join(problems)}{hint}")


def _fitting(path: Path, name: str, tensor: Tensor, wanted: Tensor) -> Tensor:
    # Their feature layer is a convolution of 1×1, ours a linear layer.
    shaped = tensor.flatten(1) if tensor.ndim == 4 and wanted.ndim == 2 else tensor
    if shaped.shape != wanted.shape:
        raise DataError(f"{path}: {name} has shape {tuple(tensor.shape)}, expected {tuple(wanted.shape)}")
    if not shaped.is_floating_point() or not shaped.isfinite().all():
        raise DataError(f"{path}: {name} holds something else than finite numbers")
    return shaped
