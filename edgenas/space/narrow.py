"""Remove from a space what a device does not support, before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial

from edgenas.errors import SpaceError, one_of, shown
from edgenas.space.blocks.inverted_residual import GATE_OPERATORS
from edgenas.space.blocks.spec import Activation
from edgenas.space.blocks.stage import Stage
from edgenas.space.graph_variant import VARIANT_OPERATORS, supported_variants
from edgenas.space.space import SearchSpace

SQUEEZE_EXCITE = ("squeeze-excite", "HardSigmoid", "Mul")
"""Its name, and operators of it."""
AVERAGE_POOL = "AveragePool"
"""Operator of cells."""
ACTIVATIONS: dict[str, tuple[Activation, ...]] = {
    "HardSwish": ("hardswish",),
    "Clip": ("relu6",),
    "Sigmoid": ("silu",),
    "Mul": ("silu",),
}
"""Activations by the operators that they consist of; ReLU, which every device has, replaces them."""
NEEDED = ("Add", "Conv", "Gemm", "Relu", "Reshape")
"""Operators that every exported network has: shortcuts, convolutions, the classifier, activation."""
VARIANT_SPECIFIC = tuple(dict.fromkeys(operator for operators in VARIANT_OPERATORS.values() for operator in operators))
"""Operators that some graph variant does without, see `space.graph_variant`."""
ABSENT = (
    "BatchNormalization",
    "Elu",
    "Gelu",
    "LeakyRelu",
    "Mish",
    "PRelu",
    "Softmax",
    "Swish",
    "Tanh",
)
"""Operators that no exported fp32 network has; a device file may list them as unsupported, too."""
_KERNEL = re.compile(r"kernel (\d+)")


def check_unsupported(entries: Iterable[str]) -> None:
    """Refuse unknown entries, so that a typing error does not leave unsupported operators in the space.

    Raises:
        SpaceError: an entry is neither one of the operators above, nor `squeeze-excite`, nor like `kernel 7`.
    """
    names = (*ACTIVATIONS, *SQUEEZE_EXCITE, AVERAGE_POOL, *NEEDED, *VARIANT_SPECIFIC, *ABSENT, "kernel 7")
    for entry in entries:
        if entry not in names and not _KERNEL.fullmatch(entry):
            # The reader of device files puts the field's name before this message.
            raise SpaceError(f"{shown(entry)} is unknown; {one_of(entry, names)}")


def narrow(space: SearchSpace, unsupported: Iterable[str]) -> tuple[SearchSpace, list[str]]:
    """Return the space without what a device does not support.

    Args:
        space: the space to narrow.
        unsupported: operators by their ONNX name, `kernel 7` (any size), `squeeze-excite`. Activations of an operator
            become ReLU, which every device has; squeeze-excite uses HardSigmoid (or Sigmoid) and Mul.

    Returns:
        The narrowed space, which has another structure_id if activations or squeeze-excite changed; and a sentence for
        each entry that removed something.

    Raises:
        SpaceError: an entry is unknown, or nothing would be left of the part that the message names.
    """
    changes, lacking = [], tuple(dict.fromkeys(unsupported))
    if not supported_variants(lacking):
        pools = " and ".join(entry for entry in lacking if entry in VARIANT_SPECIFIC)
        raise SpaceError(f"unsupported: no network of space {space.name} does without both {pools}")
    for entry in lacking:
        check_unsupported([entry])
        if entry in NEEDED or entry == "kernel 1":
            raise SpaceError(f"unsupported: no network of space {space.name} does without {entry}")
        for done, narrowed in _narrowings(entry):
            if changed := _changed(space, narrowed(space)):
                changes.append(f"{entry}: {done} {', '.join(changed)}")
            space = narrowed(space)
    return space, changes


def _narrowings(entry: str) -> Iterable[tuple[str, Callable[[SearchSpace], SearchSpace]]]:
    """Yield what an entry removes, each as words and as a function."""
    if match := _KERNEL.fullmatch(entry):
        yield "taken out of", partial(_without_kernel, size=int(match[1]))
    if entry == AVERAGE_POOL:
        yield "average pooling taken out of", _without_average_pool
    for activation in ACTIVATIONS.get(entry, ()):
        yield f"{activation} replaced by relu in", partial(_without_activation, activation=activation)
    if entry in (*SQUEEZE_EXCITE, *GATE_OPERATORS.values()):
        yield "squeeze-excite taken out of", partial(_without_squeeze_excite, operator=entry)


def _changed(before: SearchSpace, after: SearchSpace) -> list[str]:
    stages = [f"stage{n}" for n, pair in enumerate(zip(before.stages, after.stages, strict=True)) if pair[0] != pair[1]]
    return ["stem"] * (before.stem != after.stem) + stages + ["head"] * (before.head != after.head)


def _with_stages(space: SearchSpace, stages: Iterable[Stage]) -> SearchSpace:
    return SearchSpace.model_validate({**space.model_dump(), "stages": [stage.model_dump() for stage in stages]})


def _without_kernel(space: SearchSpace, size: int) -> SearchSpace:
    if space.stem.kernel == size:
        raise SpaceError(f"unsupported: kernel {size}: the stem of space {space.name} has no other size")
    return _narrowed_stages(space, lambda stage: stage.without_kernel(size), f"kernel {size}", "has no other size")


def _without_average_pool(space: SearchSpace) -> SearchSpace:
    return _narrowed_stages(space, lambda stage: stage.without_average_pool(), AVERAGE_POOL, "does not do without it")


def _narrowed_stages(
    space: SearchSpace, narrowed: Callable[[Stage], Stage | None], entry: str, reason: str
) -> SearchSpace:
    stages = []
    for number, stage in enumerate(map(narrowed, space.stages)):
        if stage is None:
            raise SpaceError(f"unsupported: {entry}: stage{number} of space {space.name} {reason}")
        stages.append(stage)
    return _with_stages(space, stages)


def _without_squeeze_excite(space: SearchSpace, operator: str) -> SearchSpace:
    return _with_stages(space, [stage.without_squeeze_excite(operator) for stage in space.stages])


def _without_activation(space: SearchSpace, activation: Activation) -> SearchSpace:
    value = _with_stages(space, [stage.without_activation(activation) for stage in space.stages]).model_dump()
    for part in (value["stem"], value["head"]):
        if part["activation"] == activation:
            part["activation"] = "relu"
    return SearchSpace.model_validate(value)
