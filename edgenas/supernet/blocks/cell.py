"""Cells of NAS-Bench-201 (arXiv 2001.00326)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from edgenas.space.blocks.cell import EDGES, INPUT, KERNELS, CellSpec, Step, conv_name
from edgenas.space.blocks.spec import Activation
from edgenas.supernet.blocks.base import Block, BlockModules, ElasticBlock
from edgenas.supernet.elastic_layers import ElasticConv, ElasticConvNorm, Weights, prefixed
from edgenas.supernet.fake_quantisation import FoldedConv, Rounded
from edgenas.supernet.layers import ConvNorm, MakeConvNorm


class _Active(nn.Module):
    """An activation that is never in place: others may read its input."""

    def __init__(self, activation: Activation):
        super().__init__()
        self.function = {"relu": F.relu, "relu6": F.relu6}[activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class _Add(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class _RoundedLayer(nn.Module):
    """A layer of any number of inputs with rounded output."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer, self.rounding = layer, Rounded()

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.rounding(self.layer(*inputs))  # type: ignore[no-any-return]


class _Steps(nn.Module):
    """The layers of a reduction or a cell, by the tensors that they write."""

    def __init__(self, steps: Sequence[Step], activation: Activation, conv_norm: MakeConvNorm):
        super().__init__()
        self.steps = tuple(steps)
        self.layers = nn.ModuleDict({step.output: _layer(step, activation, conv_norm) for step in steps})

    def forward(self, x: Tensor) -> Tensor:
        tensors = {INPUT: x}
        for step in self.steps:
            x = tensors[step.output] = self.layers[step.output](*(tensors[name] for name in step.inputs))
        return x

    def fake_quantise(self, greatest: int, following: Sequence[Step]) -> None:
        """Round all weights and outputs in place, except outputs that the file only rounds behind an activation.

        Args:
            greatest: greatest int8 weight.
            following: steps that read the output; none at the end of a block.
        """
        late = _read_by_an_activation_alone(self.steps, following)
        for step in self.steps:
            layer = self.layers[step.output]
            if isinstance(layer, ConvNorm | nn.Conv2d):
                layer = FoldedConv(layer, nn.Identity(), greatest)
            self.layers[step.output] = layer if step.output in late else _RoundedLayer(layer)


def _read_by_an_activation_alone(steps: Sequence[Step], following: Sequence[Step]) -> set[str]:
    reads = [(name, step.operator) for step in steps for name in step.inputs]
    reads += [(steps[-1].output, step.operator) for step in following if steps and INPUT in step.inputs]
    counts = Counter(name for name, _ in reads)
    return {name for name, operator in reads if operator == "activation" and counts[name] == 1}


def _layer(step: Step, activation: Activation, conv_norm: MakeConvNorm) -> nn.Module:
    if step.operator == "activation":
        return _Active(activation)
    if step.operator == "add":
        return _Add()
    if step.operator == "pool":
        # With the stride 2 of a reduction, the last average of an odd size is over what is left.
        padding = (step.kernel - 1) // 2 if step.stride == 1 else 0
        return nn.AvgPool2d(step.kernel, step.stride, padding, ceil_mode=step.stride > 1, count_include_pad=False)
    assert step.conv is not None
    if not step.conv.norm:
        return nn.Conv2d(step.conv.in_channels, step.channels, step.kernel, bias=False)
    return conv_norm(step.conv.in_channels, step.channels, step.kernel, step.stride)


class Cells(Block):
    """Module of a CellSpec."""

    def __init__(self, spec: CellSpec, conv_norm: MakeConvNorm = ConvNorm):
        super().__init__()
        self.reduction = _Steps(spec.reduction_steps, spec.activation, conv_norm)
        self.cells = nn.Sequential(
            *(_Steps(spec.cell_steps, spec.activation, conv_norm) for _ in range(spec.cells)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map an input of shape (n, in, h, w) to (n, out, h', w')."""
        return self.cells(self.reduction(x))  # type: ignore[no-any-return]

    def fake_quantise(self, greatest: int) -> nn.Module:
        """Return the block with all weights and activations rounded, sums and averages included."""
        parts = [part for part in (self.reduction, *self.cells) if isinstance(part, _Steps)]
        for part, following in zip(parts, [*(later.steps for later in parts[1:]), ()], strict=True):
            part.fake_quantise(greatest, following)
        return self


class _ElasticSteps(nn.Module):
    """Weights of the layers of a cell or of a reduction, by the names that they have in `_Steps`."""

    def __init__(self, layers: Mapping[str, nn.Module]):
        super().__init__()
        self.layers = nn.ModuleDict(dict(layers))

    def cut(self, steps: Sequence[Step]) -> Weights:
        """Return the weights of steps, by their names in `_Steps`."""
        weights: Weights = {}
        for step in steps:
            if step.conv is not None:
                layer, conv = self.layers[step.output], step.conv
                assert isinstance(layer, ElasticConvNorm | ElasticConv)
                weights |= prefixed(
                    f"layers.{step.output}", layer.cut(conv.in_channels, conv.out_channels, conv.kernel)
                )
        return weights


class ElasticCells(ElasticBlock):
    """Weights of every stack of cells that can stand at one position: of each edge and operation in each cell."""

    def __init__(self, specs: Sequence[CellSpec], kernel_transforms: bool):
        super().__init__()
        into, out = max(spec.in_channels for spec in specs), max(spec.out_channels for spec in specs)
        reduction: dict[str, nn.Module] = {}
        if any(spec.reduces for spec in specs):
            reduction = {"first": ElasticConvNorm(into, out, 3), "second": ElasticConvNorm(out, out, 3)}
            reduction["shortcut"] = ElasticConv(into, out)
        self.reduction = _ElasticSteps(reduction)
        # An edge that is left out of these cells may be a part of others.
        operations = dict.fromkeys((edge, getattr(spec, edge)) for spec in specs for edge in EDGES)
        kernels = {conv_name(edge, op): KERNELS[op] for edge, op in operations if op in KERNELS}
        self.cells = nn.ModuleList(
            _ElasticSteps({name: ElasticConvNorm(out, out, kernel) for name, kernel in kernels.items()})
            for _ in range(max(spec.cells for spec in specs))
        )

    def cut(self, spec: CellSpec) -> Weights:
        """Return the weights of Cells."""
        weights = prefixed("reduction", self.reduction.cut(spec.reduction_steps))
        for number, cell in enumerate(list(self.cells)[: spec.cells]):
            assert isinstance(cell, _ElasticSteps)
            weights |= prefixed(f"cells.{number}", cell.cut(spec.cell_steps))
        return weights


MODULES = BlockModules(CellSpec, Cells, ElasticCells)
