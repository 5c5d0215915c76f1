"""What a device lacks, taken out of a space before anything is trained on it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from edgenas.errors import SpaceError, one_of, shown
from edgenas.space.graph_variant import VARIANT_OPERATORS, supported_variants
from edgenas.space.space import SearchSpace, Stage

SQUEEZE_EXCITE = ("squeeze-excite", "HardSigmoid", "Mul")
"""Its name, and the operators that networks have for its sake alone."""
NEEDED = ("Add", "Conv", "Gemm", "Relu", "Reshape")
"""Operators that exported networks do not do without: shortcuts, convolutions, the classifier, activation."""
VARIANT_SPECIFIC = tuple(dict.fromkeys(operator for operators in VARIANT_OPERATORS.values() for operator in operators))
"""Operators that only some graph variants need, see `space.graph_variant`."""
ABSENT = (
    "BatchNormalization",
    "Clip",
    "Elu",
    "Gelu",
    "LeakyRelu",
    "Mish",
    "PRelu",
    "Sigmoid",
    "Softmax",
    "Swish",
    "Tanh",
)
"""Operators that lists of a device's gaps name too, and that no fp32 network of ours has."""
_KERNEL = re.compile(r"kernel (\d+)")


def check_unsupported(entries: Iterable[str]) -> None:
    """Refuse what is not known, so that a slip does not leave in the space what the device lacks.

    Raises:
        SpaceError: an entry is neither an operator of ours, nor `squeeze-excite`, nor like `kernel 7`.
    """
    names = ("HardSwish", *SQUEEZE_EXCITE, *NEEDED, *VARIANT_SPECIFIC, *ABSENT, "kernel 7")
    for entry in entries:
        if entry not in names and not _KERNEL.fullmatch(entry):
            # Devices' files name the field before it themselves.
            raise SpaceError(f"{shown(entry)} is unknown; {one_of(entry, names)}")


def narrow(space: SearchSpace, unsupported: Iterable[str]) -> tuple[SearchSpace, list[str]]:
    """The space without what a device lacks.

    Args:
        space: where to take it from.
        unsupported: operators by their ONNX name, `kernel 7` (any size), `squeeze-excite`. HardSwish becomes
            ReLU, which every device has; HardSigmoid and Mul stand in squeeze-excite alone.

    Returns:
        The narrowed space, which has another structure_id if activations or squeeze-excite changed; and what
        was taken away, one sentence an entry, none for an entry that the space did not have.

    Raises:
        SpaceError: an entry is unknown, or nothing would be left of a part that is named.
    """
    said, lacking = [], tuple(dict.fromkeys(unsupported))
    if not supported_variants(lacking):
        pools = " and ".join(entry for entry in lacking if entry in VARIANT_SPECIFIC)
        raise SpaceError(f"unsupported: no network of space {space.name} does without both {pools}")
    for entry in lacking:
        check_unsupported([entry])
        if entry in NEEDED or entry == "kernel 1":
            raise SpaceError(f"unsupported: no network of space {space.name} does without {entry}")
        before = space
        if match := _KERNEL.fullmatch(entry):
            space = _without_kernel(space, int(match[1]))
        elif entry == "HardSwish":
            space = _without_hardswish(space)
        elif entry in SQUEEZE_EXCITE:
            space = _with_stages(space, [stage.model_copy(update={"squeeze_excite": False}) for stage in space.stages])
        if changed := _changed(before, space):
            said.append(f"{entry}: {_done(entry)} {', '.join(changed)}")
    return space, said


def _done(entry: str) -> str:
    if entry == "HardSwish":
        return "hardswish replaced by relu in"
    return "squeeze-excite taken out of" if entry in SQUEEZE_EXCITE else "taken out of"


def _changed(before: SearchSpace, after: SearchSpace) -> list[str]:
    stages = [f"stage{n}" for n, pair in enumerate(zip(before.stages, after.stages, strict=True)) if pair[0] != pair[1]]
    return ["stem"] * (before.stem != after.stem) + stages + ["head"] * (before.head != after.head)


def _with_stages(space: SearchSpace, stages: Iterable[Stage]) -> SearchSpace:
    return SearchSpace.model_validate({**space.model_dump(), "stages": [stage.model_dump() for stage in stages]})


def _without_kernel(space: SearchSpace, size: int) -> SearchSpace:
    if space.stem.kernel == size:
        raise SpaceError(f"unsupported: kernel {size}: the stem of space {space.name} has no other size")
    stages = []
    for number, stage in enumerate(space.stages):
        left = tuple(kernel for kernel in stage.kernel if kernel != size)
        if not left:
            raise SpaceError(f"unsupported: kernel {size}: stage{number} of space {space.name} has no other size")
        stages.append(stage.model_copy(update={"kernel": left}))
    return _with_stages(space, stages)


def _without_hardswish(space: SearchSpace) -> SearchSpace:
    value = space.model_dump()
    for part in (value["stem"], value["head"], *value["stages"]):
        if part["activation"] == "hardswish":
            part["activation"] = "relu"
    return SearchSpace.model_validate(value)
