"""Small search spaces, their archs and gene matrices, for hypothesis."""

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from hypothesis import strategies as st

from edgenas.space.arch import Arch
from edgenas.space.blocks import STAGES, parse_stage
from edgenas.space.blocks.cell import ACTIVATIONS as CELL_ACTIVATIONS
from edgenas.space.blocks.cell import EDGES, OPERATIONS
from edgenas.space.blocks.head import FeatureLayer
from edgenas.space.blocks.spec import Activation, Padding
from edgenas.space.blocks.stage import Stage
from edgenas.space.loading import load_space, preset_names
from edgenas.space.space import Genes, Head, SearchSpace, Stem

_RELU = {"stride": 2, "activation": "relu", "squeeze_excite": False}
_SQUEEZED = {"stride": 2, "activation": "hardswish", "squeeze_excite": True}
_SILU = {"activation": "silu"}
_LITE = {"base": "input", "divisor": 1, "activation": "silu", "gate": "sigmoid"}
SMALL = SearchSpace.model_validate(
    {
        "name": "small",
        "resolution": [16, 24],
        "stem": {"width": 16, "kernel": 3, "stride": 1, "activation": "hardswish"},
        "stages": [
            {"width": [16], "depth": [1], "kernel": [3], "expand": [1], **_RELU, "stride": 1},
            {"width": [16, 24], "depth": [1, 2, 3], "kernel": [3, 5], "expand": [2, 4], **_RELU},
            {"width": [40], "depth": [1, 2], "kernel": [3, 5, 7], "expand": [2, 3, 4], **_SQUEEZED},
            {"width": [64], "depth": [1, 2], "kernel": [3, 5], "expand": [2, 4], **_SQUEEZED, "stride": 1},
        ],
        "head": {"width": 192, "features": 0, "activation": "hardswish"},
    }
)
"""Presets get tuned; what a test says in numbers, it says of this space."""

TENSORFLOW = SearchSpace.model_validate(
    {
        "name": "tensorflow",
        "resolution": [15, 24],
        "stem": {"width": 8, "kernel": 3, "stride": 2, "activation": "relu6"},
        "stages": [
            {"width": [16], "depth": [1, 2], "kernel": [3, 5], "expand": [1, 3], **_RELU, "activation": "relu6"},
            {"block": "conv", "width": [24], "depth": [2], "kernel": [[3], [1, 3]], "stride": 1, "activation": "relu6"},
            {"block": "fused", "width": [16], "depth": [2], "kernel": [3], "expand": [2], "stride": 2, **_SILU},
            {
                "width": [24, 32],
                "depth": [2],
                "kernel": [5, 7],
                "expand": [2, 4],
                **_SQUEEZED,
                **_SILU,
                "squeeze": _LITE,
            },
        ],
        "head": {"width": 32, "features": 24, "feature_layer": "norm", **_SILU},
        "padding": "same",
        "norm_epsilon": 0.001,
    }
)
"""Properties that presets don't have."""
BY_POSITION = SearchSpace.model_validate(
    {
        **SMALL.model_dump(),
        "name": "by-position",
        "stages": [
            *SMALL.model_dump()["stages"][:3],
            {**SMALL.model_dump()["stages"][3], "depth": [1, 3], "kernel": [[3, 5, 7], [5], [3]]},
            {"block": "fused", "width": [64], "depth": [2], "kernel": [3], "expand": [[1, 2.5], [2, 3]], **_SILU}
            | {"stride": 1},
        ],
    }
)
"""A space whose blocks have choices by position."""
_UIB = {"block": "uib", "expand": [2, 3], "activation": "relu"}
MOBILENET_V4 = SearchSpace.model_validate(
    {
        "name": "mobilenet-v4",
        "resolution": [24, 32],
        "stem": {"width": 16, "kernel": 3, "stride": 2, "activation": "relu"},
        "stages": [
            {"block": "conv", "width": [16, 24], "depth": [1], "kernel": [1, 3], "stride": 1, "activation": "relu"},
            {**_UIB, "width": [24], "depth": [1, 2], "start": [3, 5], "middle": [0], "stride": 2},
            {**_UIB, "width": [32, 40], "depth": [1, 3], "start": [0, 3], "middle": [[3, 5], [0], [0, 3]], "stride": 2},
        ],
        "head": {"width": 0, "features": 32, "feature_layer": "norm", "activation": "relu"},
    }
)
"""A space of the blocks and the head of MobileNetV4."""
_CHOICES = {"activation": ["relu", "silu", "hardswish"], "expand": [2, 3], "stride": 2}
CHOICES = SearchSpace.model_validate(
    {
        **SMALL.model_dump(),
        "name": "choices",
        "stages": [
            {**_CHOICES, "width": [16], "depth": [1, 2], "kernel": [3, 5], "squeeze_excite": [0, 0.25, 0.5]},
            {**_CHOICES, "width": [24], "depth": [1, 2], "kernel": [3], "squeeze_excite": [0, 0.25], "squeeze": _LITE},
            {**_CHOICES, **_UIB, "width": [24], "depth": [2], "start": [3], "middle": [3], "activation": ["relu"]},
        ],
    }
)
"""A space whose blocks choose their activation and squeeze-excite."""
_CELL = {"block": "cell", "depth": [1], "edge01": [0, 4], "edge12": [1, 3], "edge23": [1, 2], "activation": "relu"}
CELLS = SearchSpace.model_validate(
    {
        "name": "cells",
        "resolution": [12, 15],
        "stem": {"width": 8, "kernel": 3, "stride": 1, "activation": "relu"},
        "stages": [
            {**_CELL, "width": [8, 16], "cells": [1, 2], "edge02": [0], "edge13": [0, 2], "stride": 1},
            {**_CELL, "width": [16], "depth": [1, 2], "cells": [2], "edge03": [0, 1, 3], "edge02": [0, 2], "stride": 2},
        ],
        "head": {"width": 0, "features": 0, "activation": "relu"},
    }
)
"""A space of cells of several numbers and widths."""
SPACES_OF_ALL_BLOCKS = {space.name: space for space in (TENSORFLOW, BY_POSITION, MOBILENET_V4, CHOICES, CELLS)}
"""Small spaces that together have every block kind and every property, by name, for tests that take long."""
EVERY_SPACE = {**{name: load_space(name) for name in preset_names()}, **SPACES_OF_ALL_BLOCKS}
"""The presets as well, by name."""

ACTIVATIONS = st.sampled_from(get_args(Activation))


def some_of(values: Sequence[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """One or two of `values`, ascending."""
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True).map(lambda v: tuple(sorted(v)))


def at_positions(choices: st.SearchStrategy[tuple[Any, ...]], positions: int) -> st.SearchStrategy[Any]:
    """Choices for all positions, or for each."""
    return st.one_of(choices, st.lists(choices, min_size=positions, max_size=positions))


@st.composite
def stages(draw: st.DrawFn, depths: Sequence[int], expands: Sequence[float]) -> Stage:
    """A stage of any block kind; kinds take the fields that they have."""
    kind = draw(st.sampled_from(sorted(STAGES)))
    depth = draw(some_of(depths))
    values = {
        "block": kind,
        "width": draw(some_of([8, 12, 16, 24])),
        "depth": depth,
        "kernel": draw(at_positions(some_of([1, 3, 5, 7]), depth[-1])),
        "start": draw(at_positions(some_of([0, 3, 5]), depth[-1])),
        # The first block needs a convolution for its stride.
        "middle": [draw(some_of([3, 5])), *(draw(some_of([0, 3, 5])) for _ in range(depth[-1] - 1))],
        "expand": draw(at_positions(some_of(expands), depth[-1])),
        "stride": draw(st.sampled_from([1, 2])),
        "activation": draw(ACTIVATIONS | st.lists(ACTIVATIONS, min_size=1, max_size=2, unique=True)),
        "squeeze_excite": draw(st.booleans() | some_of([0, 0.25, 0.5])),
        "squeeze": draw(st.sampled_from([{}, _LITE])),
        "cells": draw(some_of([1, 2])),
        # Of six edges with choices there would be thousands of blocks.
        **{edge: [draw(st.sampled_from(OPERATIONS))] for edge in EDGES},
        "edge13": draw(some_of(OPERATIONS)),
    }
    if kind == "cell":
        values["activation"] = draw(st.sampled_from([*CELL_ACTIVATIONS, list(CELL_ACTIVATIONS)]))
    return parse_stage({name: value for name, value in values.items() if name in STAGES[kind].model_fields})


@st.composite
def spaces(
    draw: st.DrawFn,
    max_stages: int = 2,
    depths: Sequence[int] = (1, 2, 3),
    expands: Sequence[float] = (1, 1.5, 2, 3),
) -> SearchSpace:
    return SearchSpace(
        name="tiny",
        network=draw(st.sampled_from(["", "efficientnet-lite0", "timm:tiny@in1k", "hf:some_one/tiny-1.5"])),
        resolution=draw(some_of([8, 9, 12, 16])),
        stem=Stem(width=8, kernel=3, stride=draw(st.sampled_from([1, 2])), activation=draw(ACTIVATIONS)),
        stages=tuple(draw(st.lists(stages(depths, expands), min_size=1, max_size=max_stages))),
        head=Head(
            width=draw(st.sampled_from([0, 16])),
            features=draw(st.sampled_from([0, 8])),
            activation=draw(ACTIVATIONS),
            feature_layer=draw(st.sampled_from(get_args(FeatureLayer))),
        ),
        padding=draw(st.sampled_from(get_args(Padding))),
        norm_epsilon=draw(st.sampled_from([1e-5, 1e-3])),
    )


def genes_of(space: SearchSpace, rows: int) -> st.SearchStrategy[Genes]:
    """Gene matrices of `rows` rows, not canonical."""
    row = st.tuples(*(st.integers(0, int(n) - 1) for n in space.n_choices))
    return st.lists(row, min_size=rows, max_size=rows).map(lambda drawn: np.array(drawn, dtype=np.int64))


@st.composite
def spaces_and_genes(draw: st.DrawFn, rows: int = 4) -> tuple[SearchSpace, Genes]:
    space = draw(spaces())
    return space, draw(genes_of(space, rows))


@st.composite
def spaces_and_archs(draw: st.DrawFn, count: int = 2) -> tuple[SearchSpace, list[Arch]]:
    space, genes = draw(spaces_and_genes(count))
    return space, space.decode(genes)


def random_archs(space: SearchSpace, count: int, seed: int = 0) -> list[Arch]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]
