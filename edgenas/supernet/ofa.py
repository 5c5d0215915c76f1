"""Import of the public checkpoints of once-for-all (Cai et al., ICLR 2020, arXiv 1908.09791) into a SuperNet.

Kernel transforms (section 3.2) are imported too, so every subnet computes the same as `OFAMobileNetV3` with fixed
batch-norm statistics. Code in the file is never executed (`torch.load(weights_only=True)`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from edgenas.errors import SpaceError, WeightsError, one_of, shortened
from edgenas.space.loading import load_space
from edgenas.space.space import ClassifierSpace, SearchSpace
from edgenas.supernet.pixels import IMAGENET
from edgenas.supernet.pretrained.state_dict_file import read_state_dict
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
"""Replacements that shorten the different names that tensors have had over the years."""
PARTS = {
    "expand": "inverted_bottleneck",
    "depthwise": "depth_conv",
    "project": "point_linear",
    "se": "depth_conv.se.fc",
}
"""Parts of a block, and their names in checkpoints."""
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
        path: path of the checkpoint, which is a state dict or a dict with the key `state_dict`.
        space: `load_space("ofa-mbv3-w1.0")` or `w1.2`, optionally with fewer resolutions. If it has a number of classes
            (`with_classes`), the checkpoint must have the same number.

    Raises:
        SpaceError: it is another space, or it is narrowed in other genes than its resolutions.
        WeightsError: the file is malformed, is for another width or number of classes, or has missing or additional
            tensors.
    """
    origin = Path(path)
    _check_space(space)
    tensors = {_short_name(name): tensor for name, tensor in read_state_dict(origin).items()}
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    classes = _count_classes(origin, tensors)
    if isinstance(space, ClassifierSpace) and space.num_classes != classes:
        raise WeightsError(
            f"{origin} has {classes} classes, but the data has {space.num_classes}: expected images of the classes "
            "that it was trained on, with one folder per class"
        )
    net = SuperNet(space.with_classes(classes), kernel_transforms=True, pixels=IMAGENET)
    ofa_names = {name: _ofa_name(name, space) for name in net.state_dict()}
    _check_width(origin, tensors, space)
    _check_names(origin, ofa_names.values(), tensors)
    net.load_state_dict(
        {
            name: _reshape(origin, ofa_name, tensors[ofa_name], net.state_dict()[name])
            for name, ofa_name in ofa_names.items()
        }
    )
    return net.eval()


def has_ofa_checkpoints(space: SearchSpace) -> bool:
    """Return whether a space has public checkpoints."""
    return space.structure_id in _full_spaces()


def _full_spaces() -> dict[str, SearchSpace]:
    return {space.structure_id: space for space in map(load_space, SPACES)}


def _check_space(space: SearchSpace) -> None:
    full = _full_spaces().get(space.structure_id)
    if full is None:
        raise SpaceError(f"space {space.name} has no once-for-all checkpoints; {one_of(space.name, SPACES)}")
    if full.stages != space.stages:
        raise SpaceError(
            f"space {space.name} is narrowed in other genes than its resolution: expected the stages of "
            f'load_space("{full.name}"), since a checkpoint has the weights of all of them'
        )


def _short_name(name: str) -> str:
    for old, new in SPELLINGS.items():
        name = name.replace(old, new)
    return name


def _ofa_name(name: str, space: SearchSpace) -> str:
    """Return the name that a tensor of a supernet has in checkpoints.

    For example, `blocks.stage1_block2.depthwise.conv.weight` is in `blocks.3`.
    """
    for prefix, ofa_prefix in ENDS.items():
        if name.startswith(prefix):
            return ofa_prefix + name.removeprefix(prefix).replace("norm.", "bn.")
    _, position, part, rest = name.split(".", 3)
    stage, block = (int(token.removeprefix(word)) for token, word in zip(position.split("_"), WORDS, strict=True))
    number = sum(previous.positions for previous in space.stages[:stage]) + block
    rest = rest.replace("norm.", "bn.").replace("squeeze.", "reduce.").replace("excite.", "expand.")
    if "transforms." in rest:
        rest = f"conv.{rest.rpartition('.')[2]}_matrix"
    return f"blocks.{number}.conv.{PARTS[part]}.{rest}"


def _count_classes(path: Path, tensors: Mapping[str, Tensor]) -> int:
    if CLASSIFIER not in tensors:
        raise WeightsError(f"{path} is not a once-for-all MobileNetV3 checkpoint: it lacks {CLASSIFIER}")
    return tensors[CLASSIFIER].numel()


def _check_width(path: Path, tensors: Mapping[str, Tensor], space: SearchSpace) -> None:
    width = next(iter(tensors[LAST_WIDTH].shape), 0) if LAST_WIDTH in tensors else space.head.width
    others = [name for name in SPACES if load_space(name).head.width == width]
    if others and space.head.width != width:
        raise WeightsError(f"{path} is of another width than {space.name}: its space is {others[0]}")


def _check_names(path: Path, expected: Iterable[str], tensors: Mapping[str, Tensor]) -> None:
    missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    problems = [f"{verb} {shortened(names)}" for verb, names in (("lacks", missing), ("has also", extra)) if names]
    if problems:
        without_kernels = any("_matrix" in name for name in missing)
        hint = "; a checkpoint without kernel transforms is of a single network" if without_kernels else ""
        raise WeightsError(f"{path} does not have the expected tensors: it {' and '.join(problems)}{hint}")


def _reshape(path: Path, name: str, tensor: Tensor, expected: Tensor) -> Tensor:
    # The feature layer is a 1×1 convolution in checkpoints and a linear layer in supernets.
    reshaped = tensor.flatten(1) if tensor.ndim == 4 and expected.ndim == 2 else tensor
    if reshaped.shape != expected.shape:
        raise WeightsError(f"{path}: {name} has shape {tuple(tensor.shape)}, expected {tuple(expected.shape)}")
    if not reshaped.is_floating_point() or not reshaped.isfinite().all():
        raise WeightsError(f"{path}: {name} has values that are not finite numbers")
    return reshaped
