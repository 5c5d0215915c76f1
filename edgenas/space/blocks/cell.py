"""Cells of NAS-Bench-201 (arXiv 2001.00326): four nodes, and an operation on each of the six edges between them.

A block is a stack of equal cells, so one set of genes serves a whole stage of depth 1; each stage has its own cell.
Where size or channels change, the stack begins with a residual reduction. Two rules differ from the benchmark's code:

- Edges that do not connect the input with the output are left out. A convolution of a node without input is one of
  them, though its batch norm would add a constant; the benchmark compares cells in the same way.
- If nothing connects the input with the output, the cell passes its input on; the benchmark's network is constant.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, model_validator

from edgenas.errors import shown
from edgenas.space.blocks.genes import BlockGenes, gene
from edgenas.space.blocks.spec import Activation, BlockSpec, Conv, conv_out_size, dimension
from edgenas.space.blocks.stage import Choices, OptionalSizes, Stage
from edgenas.space.graph_variant import GraphVariant

NONE, SKIP, POOL, CONV1, CONV3 = OPERATIONS = range(5)
"""Operations of an edge by size: none, skip, average pooling 3×3, convolution 1×1, convolution 3×3."""
KERNELS = {CONV1: 1, CONV3: 3}
EDGES = {"edge01": (0, 1), "edge02": (0, 2), "edge12": (1, 2), "edge03": (0, 3), "edge13": (1, 3), "edge23": (2, 3)}
"""Source and target node of each edge; node 0 is the input of a cell and node 3 its output."""
INPUT = "input"
ACTIVATIONS: tuple[Activation, ...] = ("relu", "relu6")
"""Activations of cells, which other operators may read beside their input."""


@dataclass(frozen=True, order=True)
class CellGenes(BlockGenes):
    """Number of equal cells, and the operation of each edge, in text `n5a4b1c0d2e4f3`."""

    prefix: ClassVar[str] = ""
    cells: int = gene("n")
    edge01: int = gene("a")
    edge02: int = gene("b")
    edge12: int = gene("c")
    edge03: int = gene("d")
    edge13: int = gene("e")
    edge23: int = gene("f")


@dataclass(frozen=True)
class Step:
    """One operator of a reduction or a cell.

    Attributes:
        output: name of the tensor that it writes.
        inputs: names of the tensors that it reads; `INPUT` is the input of the reduction or cell.
        operator: convolution, activation, average pooling, or sum of two tensors.
        channels: channels of the output.
        size: height and width of the output.
        kernel: kernel size of a convolution or pooling.
        stride: stride of a convolution or pooling.
        conv: the convolution, for its costs.
    """

    output: str
    inputs: tuple[str, ...]
    operator: Literal["conv", "activation", "pool", "add"]
    channels: int
    size: int
    kernel: int = 1
    stride: int = 1
    conv: Conv | None = None

    @property
    def elements(self) -> int:
        """Elements of the output."""
        return self.channels * self.size**2


@dataclass(frozen=True)
class CellSpec(BlockSpec):
    """A stack of equal cells, behind a residual reduction where size or channels change."""

    kind: ClassVar[str] = "cell"
    switches: ClassVar[tuple[str, ...]] = ("reduces",)
    cells: int = dimension("n")
    edge01: int = dimension("a", optional=True)
    edge02: int = dimension("b", optional=True)
    edge12: int = dimension("c", optional=True)
    edge03: int = dimension("d", optional=True)
    edge13: int = dimension("e", optional=True)
    edge23: int = dimension("f", optional=True)
    stride: int = dimension("s")
    activation: Activation = dimension("")

    @property
    def out_size(self) -> int:
        """Output height and width in pixels."""
        return conv_out_size(self.in_size, self.stride)

    @property
    def reduces(self) -> bool:
        """Whether the stack begins with a reduction."""
        return self.stride > 1 or self.in_channels != self.out_channels

    @property
    def operations(self) -> dict[str, int]:
        """The operation of each edge that connects the input with the output, by the edge's name."""
        present = {name: nodes for name, nodes in EDGES.items() if getattr(self, name) != NONE}
        fed, read = {0}, {3}
        for source, target in present.values():
            fed |= {target} if source in fed else set()
        for source, target in reversed(present.values()):
            read |= {source} if target in read else set()
        connecting = [name for name, (source, target) in present.items() if source in fed and target in read]
        return {name: getattr(self, name) for name in connecting} or {"edge03": SKIP}

    @property
    def description(self) -> str:
        """The operators in words."""
        names = ("none", "skip", "pool 3 × 3", "convolution 1 × 1", "convolution 3 × 3")
        edges = [f"{names[operation]} {edge[-2]}→{edge[-1]}" for edge, operation in self.operations.items()]
        reduction = f"reduction of stride {self.stride}, " if self.reduces else ""
        return f"{reduction}{self.cells} cells of {', '.join(edges)}, {self.activation}"

    @cached_property
    def reduction_steps(self) -> tuple[Step, ...]:
        """The residual reduction: two convolutions 3×3, and an average before a convolution 1×1 as the shortcut."""
        if not self.reduces:
            return ()
        into, out, size, stride = self.in_channels, self.out_channels, self.out_size, self.stride
        average = [Step("average", (INPUT,), "pool", into, size, stride, stride)] if stride > 1 else []
        steps = [
            Step("active", (INPUT,), "activation", into, self.in_size),
            _conv("first", "active", Conv(into, out, 3, 1, size, bias=False, norm=True), stride),
            Step("inner", ("first",), "activation", out, size),
            _conv("second", "inner", Conv(out, out, 3, 1, size, bias=False, norm=True)),
            *average,
            _conv("shortcut", "average" if average else INPUT, Conv(into, out, 1, 1, size, bias=False, norm=False)),
        ]
        return (*steps, Step("sum", ("shortcut", "second"), "add", out, size))

    @cached_property
    def cell_steps(self) -> tuple[Step, ...]:
        """The steps of each cell; none if it passes its input on."""
        channels, size = self.out_channels, self.out_size
        steps: dict[str, Step] = {}
        nodes: dict[int, str] = {0: INPUT}
        for edge, operation in self.operations.items():
            source, target = nodes[EDGES[edge][0]], EDGES[edge][1]
            term = source
            if operation == POOL:
                term = f"{edge}_pool"
                steps[term] = Step(term, (source,), "pool", channels, size, 3)
            elif operation in KERNELS:
                active, term = f"{source}_active", conv_name(edge, operation)
                steps.setdefault(active, Step(active, (source,), "activation", channels, size))
                conv = Conv(channels, channels, KERNELS[operation], 1, size, bias=False, norm=True)
                steps[term] = _conv(term, active, conv)
            if target in nodes:
                total = f"{edge}_sum"
                steps[total] = Step(total, (nodes[target], term), "add", channels, size)
                term = total
            nodes[target] = term
        return tuple(steps.values())

    @property
    def wide_elements(self) -> int:
        """Elements that are written before the output of the last cell."""
        written = [sum(step.elements for step in steps) for steps in (self.reduction_steps, self.cell_steps)]
        return max(written[0] + self.cells * written[1] - self.out_channels * self.out_size**2, 0)

    def convs(self) -> list[Conv]:
        """Return the convolutions of the reduction, then those of each cell."""
        reduction, cell = (
            [step.conv for step in steps if step.conv] for steps in (self.reduction_steps, self.cell_steps)
        )
        return reduction + cell * self.cells

    def peak_activation_elements(self, variant: GraphVariant = "direct") -> int:
        """Return the most of the reduction and of a cell, whose steps run one after the other."""
        source, inner = self.in_channels * self.in_size**2, self.out_channels * self.out_size**2
        reduction = _peak(self.reduction_steps, source) if self.reduces else 0
        return max(reduction, _peak(self.cell_steps, inner))

    def with_channels(self, into: int, out: int, inner: int) -> BlockSpec:
        """Return a stack of other channels that reduces where this one does."""
        return replace(self, in_channels=into, out_channels=out if self.reduces else into)


def conv_name(edge: str, operation: int) -> str:
    """Return the name of the tensor that an edge's convolution writes, and of its layer."""
    return f"{edge}_conv{KERNELS[operation]}"


def _conv(output: str, source: str, conv: Conv, stride: int = 1) -> Step:
    return Step(output, (source,), "conv", conv.out_channels, conv.out_size, conv.kernel, stride, conv)


def _peak(steps: tuple[Step, ...], source: int) -> int:
    """Return the most elements alive while steps run in order; see `space.cost` for the rules.

    Args:
        steps: steps of a reduction or a cell.
        source: elements of the input.
    """
    if not steps:
        return source
    readers = Counter(name for step in steps for name in set(step.inputs))
    home, sizes = {INPUT: INPUT}, {INPUT: source}
    born, last = {INPUT: 0}, {INPUT: 0}
    for now, step in enumerate(steps):
        in_place = step.operator == "activation" and readers[step.inputs[0]] == 1
        home[step.output] = home[step.inputs[0]] if in_place else step.output
        sizes.setdefault(home[step.output], step.elements)
        born.setdefault(home[step.output], now)
        last |= {home[name]: now for name in (*step.inputs, step.output)}
    return max(
        sum(size for name, size in sizes.items() if born[name] <= now <= last[name]) for now in range(len(steps))
    )


def _known(choices: tuple[int, ...]) -> tuple[int, ...]:
    if choices[-1] not in OPERATIONS:
        raise ValueError(
            "expected operations 0 (none), 1 (skip), 2 (average pooling 3×3), 3 (convolution 1×1) and "
            f"4 (convolution 3×3), got {shown(list(choices))}"
        )
    return choices


Operations = Annotated[OptionalSizes, AfterValidator(_known)]
"""Choices of an edge, see `OPERATIONS`."""


class CellStage(Stage):
    """A stage of stacks of cells: one stack, and thus one cell, where its depth is 1."""

    spec = CellSpec
    genes = CellGenes
    kernels = ()
    joint = ("cells", *EDGES)
    block: Literal["cell"] = "cell"
    cells: Choices
    edge01: Operations = tuple(OPERATIONS)
    edge02: Operations = tuple(OPERATIONS)
    edge12: Operations = tuple(OPERATIONS)
    edge03: Operations = tuple(OPERATIONS)
    edge13: Operations = tuple(OPERATIONS)
    edge23: Operations = tuple(OPERATIONS)

    @model_validator(mode="after")
    def _activations_of_one_operator(self) -> Self:
        choices = self.activation if isinstance(self.activation, tuple) else (self.activation,)
        if not set(choices) <= set(ACTIVATIONS):
            raise ValueError(
                f"blocks of kind cell have the activation {' or '.join(ACTIVATIONS)}, got {shown(choices)}"
            )
        return self

    def without_kernel(self, size: int) -> Self | None:
        """Return the stage; None for 3, the kernel size of reductions and of pooling."""
        return None if size == KERNELS[CONV3] else self

    def without_average_pool(self) -> Self | None:
        """Return the stage without pooling on its edges; None where its reduction or an edge has nothing else."""
        left = {edge: tuple(op for op in getattr(self, edge) if op != POOL) for edge in EDGES}
        if self.stride > 1 or not all(left.values()):
            return None
        return self.model_copy(update=left)

    def make_spec(self, before: BlockSpec, width: int, genes: CellGenes, stride: int, name: str) -> CellSpec:
        """Return the BlockSpec of one stack."""
        return CellSpec(
            in_channels=before.out_channels,
            in_size=before.out_size,
            out_channels=width,
            cells=genes.cells,
            **{edge: getattr(genes, edge) for edge in EDGES},
            stride=stride,
            activation=self.activation_of(genes),
            name=name,
        )


STAGE = CellStage
