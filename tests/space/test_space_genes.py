import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spaces import EVERY_SPACE, SMALL, genes_of, random_archs, spaces, spaces_and_archs, spaces_and_genes

from edgenas.errors import SpaceError
from edgenas.space.arch import Arch, StageGenes
from edgenas.space.blocks.stage import Stage
from edgenas.space.loading import load_space
from edgenas.space.ofa_settings import arch_from_ofa
from edgenas.space.space import SearchSpace


def all_gene_rows(space: SearchSpace) -> np.ndarray:
    return np.array(list(itertools.product(*(range(n) for n in space.n_choices))))


@settings(max_examples=15)
@given(spaces(depths=(1, 2)))
def test_size_is_the_number_of_distinct_archs_found_by_enumeration(space: SearchSpace) -> None:
    archs = space.decode(all_gene_rows(space))
    assert space.size == len(set(archs))
    assert space.size == len({arch.id for arch in archs})


@given(spaces_and_genes())
def test_encoding_and_decoding_round_trip(drawn: tuple[SearchSpace, np.ndarray]) -> None:
    space, genes = drawn
    archs = space.decode(genes)
    assert np.array_equal(space.encode(archs), space.canonical(genes))
    assert space.decode(space.encode(archs)) == archs


@pytest.mark.parametrize("name", EVERY_SPACE)
def test_presets_round_trip(name: str) -> None:
    space = EVERY_SPACE[name]
    archs = [*random_archs(space, 20), space.smallest, space.largest]
    assert space.decode(space.encode(archs)) == archs
    assert [space.parse(arch.id) for arch in archs] == archs


@given(spaces_and_genes(rows=8))
def test_canonical_is_idempotent_and_changes_no_network(drawn: tuple[SearchSpace, np.ndarray]) -> None:
    space, genes = drawn
    canonical = space.canonical(genes)
    assert np.array_equal(space.canonical(canonical), canonical)
    assert space.decode(canonical) == space.decode(genes)


@given(st.data())
def test_twins_that_differ_in_inactive_genes_alone_become_one(data: st.DataObject) -> None:
    space = data.draw(spaces())
    one, other = data.draw(genes_of(space, 2))
    names = list(space.choices)
    twin = one.copy()
    arch = space.decode([one])[0]
    for column, name in enumerate(names):
        stage, _, place = name.partition(".")
        if place.startswith("block"):
            depth = len(arch.stages[int(stage.removeprefix("stage"))].blocks)
            inactive = int(place.split(".")[0].removeprefix("block")) >= depth
            twin[column] = other[column] if inactive else one[column]
    assert np.array_equal(*space.canonical([one, twin]))


def test_canonical_leaves_the_callers_matrix_alone() -> None:
    space = SMALL
    genes = space.n_choices[None] - 1
    genes[0, list(space.choices).index("stage1.depth")] = 0
    before = genes.copy()
    space.canonical(genes)
    assert np.array_equal(genes, before)


@pytest.mark.parametrize(
    ("genes", "message"),
    [
        (np.zeros(25, int), r"expected an integer matrix of shape \(n, 25\), got int64 of shape \(25,\)"),
        (np.zeros((1, 3), int), r"shape \(1, 3\)"),
        (np.zeros((1, 25)), "float64"),
    ],
)
def test_genes_of_wrong_shape_or_type_are_refused(genes: np.ndarray, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SMALL.canonical(genes)


@pytest.mark.parametrize("index", [-1, 2])
def test_a_gene_outside_its_choices_is_named(index: int) -> None:
    space = SMALL
    genes = np.zeros((2, len(space.choices)), int)
    genes[1, list(space.choices).index("stage1.block0.kernel")] = index
    with pytest.raises(SpaceError, match=rf"row 1 has {index} for stage1\.block0\.kernel, expected 0 to 1"):
        space.decode(genes)


def test_no_archs_encode_to_no_rows() -> None:
    space = SMALL
    assert space.encode([]).shape == (0, len(space.choices))
    assert space.decode(space.encode([])) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("r20_w16-k3e1_w24-k3e2_w40-k3e2_w64-k3e2", "resolution is 20, the space has 16, 24"),
        ("r16_w16-k3e1_w32-k3e2_w40-k3e2_w64-k3e2", "stage1.width is 32, the space has 16, 24"),
        ("r16_w16-k3e1_w24-k3e2_w40-k3e2-k3e2-k3e2_w64-k3e2", "stage2.depth is 3, the space has 1, 2"),
        ("r16_w16-k3e1_w24-k7e2_w40-k3e2_w64-k3e2", "stage1.block0.kernel is 7, the space has 3, 5"),
        ("r16_w16-k3e1_w24-k3e2_w40-k3e2-k3e2.5_w64-k3e2", "stage2.block1.expand is 2.5, the space has 2, 3, 4"),
        ("r16_w16-k3e1_w24-k3e2", "expected 4 stages, got 2"),
    ],
)
def test_an_arch_outside_the_space_is_refused_with_the_gene_and_its_legal_values(text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SMALL.parse(text)


@settings(max_examples=10)
@given(spaces())
def test_smallest_and_largest_hold_the_extremes_of_every_gene(space: SearchSpace) -> None:
    for arch, end in ((space.smallest, 0), (space.largest, -1)):
        assert arch.resolution == space.resolution[end]
        for stage, genes in zip(space.stages, arch.stages, strict=True):
            assert (genes.width, len(genes.blocks)) == (stage.width[end], stage.depth[end])
            ends = [stage.make_genes(choices[end] for choices in block.values()) for block in stage.gene_choices]
            assert list(genes.blocks) == ends[: len(genes.blocks)]


def test_samples_are_uniform_over_depths_and_repeat_by_seed() -> None:
    space = SMALL
    archs = random_archs(space, 3000, seed=3)
    assert archs == random_archs(space, 3000, seed=3)
    counts = np.bincount([len(arch.stages[1].blocks) for arch in archs])[1:]
    # Three depths at 1000 ± 26 (one standard deviation).
    assert np.abs(counts - 1000).max() < 130


def test_spaces_are_values() -> None:
    one, other = (SearchSpace.model_validate(SMALL.model_dump()) for _ in range(2))
    assert one.largest == other.largest
    assert one.size > 0
    assert (one, hash(one)) == (other, hash(other))
    assert one != one.model_copy(update={"resolution": (16,)})


@pytest.mark.parametrize("name", ["ofa-mbv3-w1.0", "ofa-mbv3-w1.2"])
def test_ofa_presets_are_the_public_spaces(name: str) -> None:
    space = load_space(name)
    assert len(space.resolution) == 25
    assert space.size == 25 * sum(9**depth for depth in (2, 3, 4)) ** 5


def ofa_settings(**changes: object) -> dict[str, object]:
    return {"ks": [3, 5, 7, 3] * 5, "e": [3, 4, 6, 6] * 5, "d": [2, 3, 4, 3, 2], "r": 192, **changes}


def test_from_ofa_takes_the_active_positions_of_every_stage() -> None:
    arch = arch_from_ofa(load_space("ofa-mbv3-w1.2"), ofa_settings(r=[192]))
    assert arch.id == (
        "r192_w24-k3e1_w32-k3e3-k5e4_w48-k3e3-k5e4-k7e6_w96-k3e3-k5e4-k7e6-k3e6_w136-k3e3-k5e4-k7e6_w192-k3e3-k5e4"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ks": [3] * 19}, "expected 20 values for ks in ofa-mbv3-w1.0, got 19"),
        ({"d": [2, 2]}, "expected 5 values for d"),
        ({"d": [5, 2, 2, 2, 2]}, "stage1.depth is 5, the space has 2, 3, 4"),
        ({"d": [2, 2, 2, 2, 5]}, "stage5.depth is 5, the space has 2, 3, 4"),
        ({"ks": [9] * 20}, "kernel is 9, the space has 3, 5, 7"),
        ({"r": 130}, "resolution is 130"),
    ],
)
def test_from_ofa_refuses_settings_that_are_not_in_the_space(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        arch_from_ofa(load_space("ofa-mbv3-w1.0"), ofa_settings(**changes))


def test_from_ofa_names_missing_settings() -> None:
    with pytest.raises(SpaceError, match="missing e, r"):
        arch_from_ofa(load_space("ofa-mbv3-w1.0"), {"ks": [], "d": []})


@given(spaces_and_archs(count=3))
def test_unrolled_shapes_chain(drawn: tuple[SearchSpace, list[Arch]]) -> None:
    space, archs = drawn
    for arch in archs:
        check_chain(space, arch)


@pytest.mark.parametrize("name", EVERY_SPACE)
def test_unrolled_shapes_of_presets_chain(name: str) -> None:
    space = EVERY_SPACE[name]
    for arch in random_archs(space, 5):
        check_chain(space, arch)


def check_chain(space: SearchSpace, arch: Arch) -> None:
    specs = space.with_classes(7).unroll(arch)
    assert (specs[0].in_channels, specs[0].in_size, specs[-1].out_channels) == (3, arch.resolution, 7)
    for before, after in itertools.pairwise(specs):
        assert (after.in_channels, after.in_size) == (before.out_channels, before.out_size)
    strides = [space.stem.stride, *(stage.stride for stage in space.stages)]
    size = arch.resolution
    for stride in strides:
        size = int(np.ceil(size / stride))
    assert specs[-1].in_size == size
    assert [spec.name for spec in specs[1:-1]] == [
        f"stage{s}.block{b}" for s, stage in enumerate(arch.stages) for b in range(len(stage.blocks))
    ]
    widths = [genes.width for genes in arch.stages for _ in genes.blocks]
    assert [spec.out_channels for spec in specs[1:-1]] == widths


@settings(max_examples=15)
@given(spaces())
def test_structure_id_stays_when_genes_narrow_and_changes_with_what_archs_leave_unsaid(space: SearchSpace) -> None:
    first = space.stages[0]
    others = [
        space.model_copy(update={"resolution": space.resolution[:1]}),
        *(with_stage(space, narrowed(first, gene, slice(-1, None))) for gene in first.gene_names),
        with_stage(space, narrowed(narrowed(first, "depth", slice(1)), "width", slice(-1, None))),
    ]
    assert {other.structure_id for other in others} == {space.structure_id}
    flipped = "hardswish" if first.activation == "relu" else "relu"
    different = [
        changed_stage(space, stride=3 - first.stride),
        changed_stage(space, activation=flipped),
        space.model_copy(update={"stem": space.stem.model_copy(update={"width": 24})}),
        space.model_copy(update={"head": space.head.model_copy(update={"width": 24})}),
        space.model_copy(update={"padding": "symmetric" if space.padding == "same" else "same"}),
        space.model_copy(update={"norm_epsilon": 0.002}),
    ]
    if "squeeze_excite" in type(first).model_fields:
        different.append(changed_stage(space, squeeze_excite=not first.squeeze_excite))
    assert len({other.structure_id for other in [*different, space]}) == len(different) + 1


def changed_stage(space: SearchSpace, **changes: object) -> SearchSpace:
    return with_stage(space, space.stages[0].model_copy(update=changes))


def narrowed(stage: Stage, name: str, part: slice) -> Stage:
    return stage.with_choices(name, [choices[part] for choices in stage.choice_lists(name)])


def with_stage(space: SearchSpace, first: Stage) -> SearchSpace:
    return SearchSpace.model_validate({**space.model_dump(), "stages": (first, *space.stages[1:])})


def test_encode_names_the_stage_count() -> None:
    space = SMALL
    arch = Arch(16, (StageGenes(16, space.smallest.stages[0].blocks),))
    with pytest.raises(SpaceError, match="expected 4 stages, got 1"):
        space.encode([arch])
