import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spaces import EVERY_SPACE, random_archs

from edgenas.errors import SpaceError
from edgenas.space.blocks import parse_block
from edgenas.space.blocks.cell import INPUT, CellSpec, Step
from edgenas.space.blocks.fused import FusedSpec
from edgenas.space.blocks.head import HeadSpec
from edgenas.space.blocks.inverted_residual import InvertedResidualSpec
from edgenas.space.blocks.spec import BlockSpec, make_divisible
from edgenas.space.blocks.stem import StemSpec
from edgenas.space.blocks.uib import UibSpec


@pytest.mark.parametrize("name", EVERY_SPACE)
def test_keys_of_every_block_read_back(name: str) -> None:
    space = EVERY_SPACE[name]
    archs = [*random_archs(space, 8), space.smallest, space.largest]
    blocks = {spec for arch in archs for spec in space.with_classes(10).unroll(arch)}
    assert {type(spec) for spec in blocks} == {StemSpec, *(stage.spec for stage in space.stages), HeadSpec}
    for spec in blocks:
        assert parse_block(spec.key) == spec
    assert len({spec.key for spec in blocks}) == len(blocks)


def ir(**changes: object) -> InvertedResidualSpec:
    sizes = {"in_channels": 24, "in_size": 56, "out_channels": 40, "mid_channels": 96, "kernel": 5, "stride": 2}
    rest = {"se_channels": 24, "activation": "hardswish"}
    return InvertedResidualSpec(**{**sizes, **rest, **changes})  # type: ignore[arg-type]


def test_the_key_is_the_documented_one() -> None:
    assert ir().key == "ir_i24_r56_o40_m96_k5_s2_se24_hardswish"


def test_options_are_written_only_where_they_are_not_the_default() -> None:
    spec = ir(padding="same", gate="sigmoid")
    assert spec.key == "ir_i24_r56_o40_m96_k5_s2_se24_hardswish_same_gatesigmoid"
    assert (ir().family, spec.family) == ("ir", "ir_same_gatesigmoid")


def test_names_are_no_part_of_identity() -> None:
    one, other = ir(name="stage1.block0"), ir(name="stage3.block2")
    assert (one, hash(one), one.key) == (other, hash(other), other.key)


def test_every_dimension_is_part_of_identity() -> None:
    spec = ir()
    for field in dataclasses.fields(spec):
        if not field.compare:
            continue
        tokens = field.metadata.get("tokens", {"relu": "relu"})
        value = getattr(spec, field.name)
        value = next(iter(tokens.values())) if isinstance(value, str) else value + 1
        other = dataclasses.replace(spec, **{field.name: value})
        assert other != spec
        assert other.key != spec.key


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("mbconv_i24", "unknown kind 'mbconv'; did you mean 'conv'"),
        ("ir_i24_r56", "expected 8 dimensions after 'ir', got 2"),
        ("ir_i24_r56_o40_m96_k5_s2_se24_gelu", "expected one of relu, relu6, hardswish, silu, got 'gelu'"),
        (
            "ir_i24_r56_o40_m96_k5_s2_se24_relu_valid",
            "after its dimensions, expected same, squeezerelu6, .* got 'valid'",
        ),
        ("ir_i24_r56_o40_m96_k5_s2_se24_relu_same_same", "after its dimensions, expected same, .* got 'same_same'"),
        ("ir_i24_x56_o40_m96_k5_s2_se24_relu", "expected r and a number, got 'x56'"),
        ("ir_i24_r_o40_m96_k5_s2_se24_relu", "expected r and a number, got 'r'"),
    ],
)
def test_malformed_keys_are_refused(key: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        parse_block(key)


@given(st.floats(1, 2000))
def test_make_divisible_gives_the_nearest_multiple_that_loses_at_most_a_tenth(value: float) -> None:
    found = make_divisible(value)
    allowed = [multiple for multiple in range(8, 2100, 8) if multiple >= 0.9 * value]
    assert found in allowed
    assert found <= max(allowed[0], value + 4)


def elements_alive(steps: list[tuple[list[str], str]], sizes: dict[str, int]) -> int:
    """Reference: run `steps` (inputs, output) in order, free every tensor behind its last use."""
    peak = 0
    for now, (inputs, output) in enumerate(steps):
        needed = {name for later, _ in steps[now + 1 :] for name in later}
        made = {"x", *(target for _, target in steps[:now])}
        peak = max(peak, sum(sizes[name] for name in (needed & made) | set(inputs) | {output}))
    return peak


def peak_of_inverted_residual(spec: InvertedResidualSpec) -> int:
    inner, outer, mid = spec.in_size**2, spec.out_size**2, spec.mid_channels
    sizes = {"x": spec.in_channels * inner, "wide": mid * inner, "deep": mid * outer, "pooled": mid, "gate": mid}
    sizes |= {"squeezed": spec.se_channels, "scaled": mid * outer, "thin": spec.out_channels * outer}
    sizes["sum"] = sizes["thin"]
    steps = [(["x"], "wide")] if spec.expands else []
    steps.append((["wide"] if spec.expands else ["x"], "deep"))
    if spec.se_channels:
        steps += [(["deep"], "pooled"), (["pooled"], "squeezed"), (["squeezed"], "gate"), (["deep", "gate"], "scaled")]
    steps.append((["scaled"] if spec.se_channels else ["deep"], "thin"))
    if spec.residual:
        steps.append((["x", "thin"], "sum"))
    return elements_alive(steps, sizes)


def peak_of_fused(spec: FusedSpec) -> int:
    sizes = {"x": spec.in_channels * spec.in_size**2, "wide": spec.mid_channels * spec.out_size**2}
    sizes |= dict.fromkeys(("thin", "sum"), spec.out_channels * spec.out_size**2)
    steps = [(["x"], "wide"), (["wide"], "thin"), *([(["x", "thin"], "sum")] if spec.residual else [])]
    return elements_alive(steps, sizes)


def peak_of_uib(spec: UibSpec) -> int:
    sizes, steps, last = {"x": spec.in_channels * spec.in_size**2}, [], "x"
    for number, conv in enumerate(spec.convs()):
        name = f"output{number}"
        sizes[name] = conv.out_channels * conv.out_size**2
        steps.append(([last], name))
        last = name
    sizes["sum"] = sizes[last]
    return elements_alive([*steps, *([(["x", last], "sum")] if spec.residual else [])], sizes)


def peak_of_cell(spec: CellSpec) -> int:
    """Of the reduction and of a cell; an activation that alone reads a tensor is in place."""
    return max(
        _peak_of_steps(spec.reduction_steps, spec.in_channels * spec.in_size**2),
        _peak_of_steps(spec.cell_steps, spec.out_channels * spec.out_size**2),
    )


def _peak_of_steps(steps: Sequence[Step], source: int) -> int:
    if not steps:
        return source
    sizes = {"x": source, **{step.output: step.elements for step in steps}}
    renamed, plain = {INPUT: "x"}, []
    for step in steps:
        inputs = [renamed[name] for name in step.inputs]
        alone = sum(step.inputs[0] in other.inputs for other in steps) == 1
        renamed[step.output] = inputs[0] if step.operator == "activation" and alone else step.output
        if renamed[step.output] == step.output:
            plain.append((inputs, step.output))
    # The output is read by the next block.
    return elements_alive([*plain, ([renamed[steps[-1].output]], "end")], {**sizes, "end": 0})


def peak_of_head(spec: HeadSpec) -> int:
    sizes = {"x": spec.in_channels * spec.in_size**2, "wide": spec.width * spec.in_size**2, "pooled": spec.width}
    sizes |= {"features": spec.features, "logits": spec.out_channels}
    sizes["wide"] = sizes["wide"] if spec.first == "conv" else sizes["x"]
    mixed = [(["pooled"], "features"), (["features"], "logits")]
    first = [(["x"], "wide")] if spec.first == "conv" else []
    steps = [*first, (["wide"] if first else ["x"], "pooled"), *(mixed if spec.features else [(["pooled"], "logits")])]
    return elements_alive(steps, sizes)


def peak(spec: BlockSpec) -> int:
    match spec:
        case InvertedResidualSpec():
            return peak_of_inverted_residual(spec)
        case FusedSpec():
            return peak_of_fused(spec)
        case UibSpec():
            return peak_of_uib(spec)
        case CellSpec():
            return peak_of_cell(spec)
        case HeadSpec():
            return peak_of_head(spec)
    return spec.in_channels * spec.in_size**2 + spec.out_channels * spec.out_size**2


@pytest.mark.parametrize("name", EVERY_SPACE)
def test_peak_activations_of_presets_equal_a_liveness_count(name: str) -> None:
    space = EVERY_SPACE[name]
    for arch in random_archs(space, 4):
        for spec in space.with_classes(10).unroll(arch):
            assert spec.peak_activation_elements() == peak(spec), spec.key


CHANNELS = st.integers(1, 6).map(lambda n: 8 * n)
INVERTED_RESIDUALS = st.builds(
    InvertedResidualSpec,
    in_channels=CHANNELS,
    in_size=st.integers(1, 9),
    out_channels=CHANNELS,
    mid_channels=CHANNELS,
    kernel=st.just(3),
    stride=st.sampled_from([1, 2]),
    se_channels=st.sampled_from([0, 8]),
    activation=st.just("relu"),
)
FUSED = st.builds(
    FusedSpec,
    in_channels=CHANNELS,
    in_size=st.integers(1, 9),
    out_channels=CHANNELS,
    mid_channels=CHANNELS,
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2]),
    activation=st.just("relu"),
)
UIBS = st.builds(
    UibSpec,
    in_channels=CHANNELS,
    in_size=st.integers(1, 9),
    out_channels=CHANNELS,
    mid_channels=CHANNELS,
    start=st.sampled_from([0, 3, 5]),
    middle=st.sampled_from([0, 3, 5]),
    stride=st.just(1),
    activation=st.just("relu"),
)
HEADS = st.builds(
    HeadSpec,
    in_channels=CHANNELS,
    in_size=st.integers(1, 4),
    out_channels=st.integers(2, 1000),
    width=CHANNELS,
    features=st.sampled_from([0, 8, 40]),
    activation=st.just("relu"),
)


@given(INVERTED_RESIDUALS)
def test_peak_activation_of_an_inverted_residual_equals_a_liveness_count(spec: InvertedResidualSpec) -> None:
    assert spec.peak_activation_elements() == peak(spec)


@given(FUSED)
def test_peak_activation_of_a_fused_inverted_residual_equals_a_liveness_count(spec: FusedSpec) -> None:
    assert spec.peak_activation_elements() == peak(spec)


@given(UIBS)
def test_peak_activation_of_a_universal_inverted_bottleneck_equals_a_liveness_count(spec: UibSpec) -> None:
    assert spec.peak_activation_elements() == peak(spec)


@given(HEADS)
def test_peak_activation_of_a_head_equals_a_liveness_count(spec: HeadSpec) -> None:
    assert spec.peak_activation_elements() == peak(spec)


def test_peak_activation_of_a_hand_worked_block() -> None:
    # 8 channels at 4×4 stay alive for the shortcut while 16 wide ones are read and written: 128 + 256 + 256.
    spec = ir(in_channels=8, in_size=4, out_channels=8, mid_channels=16, kernel=3, stride=1, se_channels=0)
    assert spec.peak_activation_elements() == 640


def test_a_stem_keeps_input_and_output() -> None:
    spec = StemSpec(in_channels=3, in_size=5, out_channels=8, kernel=3, stride=2, activation="relu")
    assert spec.out_size == 3
    assert spec.peak_activation_elements() == 3 * 25 + 8 * 9
