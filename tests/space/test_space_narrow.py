"""What a device lacks is taken out of a space, and out of the networks that are exported from it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from spaces import CELLS, CHOICES, MOBILENET_V4, SMALL, TENSORFLOW, random_archs, spaces

from edgenas.deploy.onnx.exporter import export_for_timing
from edgenas.errors import SpaceError, TableError
from edgenas.latency.device import Device, dump_device, load_device
from edgenas.space.graph_variant import VARIANT_OPERATORS
from edgenas.space.loading import load_space
from edgenas.space.narrow import ABSENT, NEEDED, SQUEEZE_EXCITE, narrow
from edgenas.space.space import SearchSpace

LACKING = ("HardSwish", "kernel 7", "squeeze-excite")


def test_nothing_unsupported_leaves_a_space_as_it_is() -> None:
    assert narrow(SMALL, ()) == (SMALL, [])


def test_removed_choices_are_noted_with_their_stages() -> None:
    space, notes = narrow(SMALL, LACKING)
    assert notes == [
        "HardSwish: hardswish replaced by relu in stem, stage2, stage3, head",
        "kernel 7: taken out of stage2",
        "squeeze-excite: squeeze-excite taken out of stage2, stage3",
    ]
    assert {part.activation for part in (space.stem, space.head, *space.stages)} == {"relu"}
    assert [stage.kernel for stage in space.stages] == [(3,), (3, 5), (3, 5), (3, 5)]
    assert not any(stage.squeeze_excite for stage in space.stages)


def test_everything_else_stays() -> None:
    space, _ = narrow(SMALL, LACKING)
    kept = {"activation", "squeeze_excite", "kernel"}
    for before, after in zip(SMALL.stages, space.stages, strict=True):
        assert before.model_dump(exclude=kept) == after.model_dump(exclude=kept)
    assert (space.name, space.resolution, space.stem.width) == (SMALL.name, SMALL.resolution, SMALL.stem.width)


def test_networks_of_another_structure_have_another_structure_id() -> None:
    assert narrow(SMALL, ["kernel 7"])[0].structure_id == SMALL.structure_id
    assert len({narrow(SMALL, [entry])[0].structure_id for entry in ("kernel 7", "HardSwish", "squeeze-excite")}) == 3


def test_archs_of_a_space_without_a_kernel_are_the_same_networks_as_before() -> None:
    space, _ = narrow(SMALL, ["kernel 5", "kernel 7"])
    for arch in random_archs(space, 20):
        assert {block.kernel for stage in arch.stages for block in stage.blocks} == {3}
        assert space.with_classes(10).unroll(arch) == SMALL.with_classes(10).unroll(SMALL.parse(arch.id))


@given(spaces(), st.lists(st.sampled_from([*LACKING, "HardSigmoid", "Mul", "kernel 9", "Sigmoid"])))
def test_narrowing_again_takes_nothing_away(space: SearchSpace, unsupported: list[str]) -> None:
    if "kernel 7" in unsupported and any((7,) in stage.choice_lists("kernel") for stage in space.stages):
        with pytest.raises(SpaceError, match="kernel 7: stage"):
            narrow(space, unsupported)
        return
    narrowed, notes = narrow(space, unsupported)
    assert narrow(narrowed, unsupported) == (narrowed, [])
    assert bool(notes) == (narrowed != space)
    assert narrowed.size <= space.size


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("HardSwich", "'HardSwich' is unknown; did you mean 'HardSwish'"),
        ("kernel", "'kernel' is unknown; did you mean 'kernel 7'"),
        ("kernel seven", "valid: .*kernel 7"),
        ("hardswish", "squeeze-excite"),
        ("Conv", "no network of space small does without Conv"),
        ("kernel 1", "no network of space small does without kernel 1"),
        ("kernel 3", "kernel 3: the stem of space small has no other size"),
    ],
)
def test_what_cannot_be_taken_away_is_refused(entry: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        narrow(SMALL, [entry])


def test_a_stage_that_would_be_left_without_kernels_is_named() -> None:
    value = SMALL.model_dump()
    value["stages"][2]["kernel"] = [7]
    with pytest.raises(SpaceError, match="kernel 7: stage2 of space small has no other size"):
        narrow(SearchSpace.model_validate(value), ["kernel 7"])


def test_exported_networks_hold_the_known_operators_and_none_of_what_a_device_lacks(tmp_path: Path) -> None:
    """The lists here speak of what the exporter writes."""
    nets = {}
    for whole in (SMALL, load_space("mobile-96")):
        for space in (whole, narrow(whole, LACKING)[0]):
            nets[space.structure_id] = space.with_classes(10).unroll(space.smallest)
    operators = [{node.op_type for node in onnx.load(p).graph.node} for p in export_for_timing(nets, tmp_path).values()]
    removable = {"HardSwish", *SQUEEZE_EXCITE[1:]}
    pooling = set(VARIANT_OPERATORS["direct"])
    assert operators[0] == operators[2] == {*NEEDED, *removable, *pooling}
    assert operators[1] == operators[3] == {*NEEDED, *pooling}
    assert not set(ABSENT) & {*NEEDED, *removable}


@pytest.mark.parametrize("space", [TENSORFLOW, CHOICES, MOBILENET_V4], ids=lambda space: space.name)
def test_networks_without_what_a_device_lacks_are_of_relu_and_convolutions(space: SearchSpace, tmp_path: Path) -> None:
    narrowed, notes = narrow(space, ["HardSwish", "Clip", "Sigmoid", "HardSigmoid", "Mul"])
    assert bool(notes) == (narrowed != space)
    networks = {arch.id: narrowed.with_classes(10).unroll(arch) for arch in (narrowed.smallest, narrowed.largest)}
    for path in export_for_timing(networks, tmp_path).values():
        assert {node.op_type for node in onnx.load(path).graph.node} <= {*NEEDED, *VARIANT_OPERATORS["direct"]}


def device(path: Path, unsupported: object) -> Path:
    value = Device(name="d", cpu="c", os="o").model_dump(mode="json") | {"unsupported": unsupported}
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    return path


def test_a_device_file_says_what_the_device_lacks(tmp_path: Path) -> None:
    path = device(tmp_path / "d.yaml", list(LACKING))
    loaded = load_device(path)
    assert loaded.unsupported == LACKING
    path.write_text(dump_device(loaded))
    assert load_device(path) == loaded


def test_a_device_lacks_nothing_unless_its_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text("{schema_version: 1, name: d, cpu: c, os: o}")
    assert load_device(path).unsupported == ()


@pytest.mark.parametrize("unsupported", ["HardSwish", ["HardSwich"], [7], None])
def test_a_device_file_that_lists_what_is_unknown_is_refused(unsupported: object, tmp_path: Path) -> None:
    path = device(tmp_path / "d.yaml", unsupported)
    with pytest.raises(TableError, match="unsupported") as raised:
        load_device(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("entry", ["Resize", "ReduceMean", "GlobalAveragePool"])
def test_operators_of_one_form_leave_the_space_as_it_is(entry: str) -> None:
    assert narrow(SMALL, [entry]) == (SMALL, [])


def test_no_network_does_without_every_way_to_pool() -> None:
    with pytest.raises(SpaceError, match="does without both ReduceMean and GlobalAveragePool"):
        narrow(SMALL, ["ReduceMean", "GlobalAveragePool"])


def test_cells_lose_average_pooling_where_their_reductions_do_without() -> None:
    value = CELLS.model_dump()
    value["stages"] = [value["stages"][0]]
    narrowed, changes = narrow(SearchSpace.model_validate(value), ["AveragePool", "kernel 5"])
    assert changes == ["AveragePool: average pooling taken out of stage0"]
    assert narrowed.stages[0].choice_lists("edge13") == ((0,),)
    with pytest.raises(SpaceError, match="AveragePool: stage1 of space cells does not do without it"):
        narrow(CELLS, ["AveragePool"])
    with pytest.raises(SpaceError, match="kernel 3: stage0 of space cells has no other size"):
        narrow(CELLS.model_copy(update={"stem": CELLS.stem.model_copy(update={"kernel": 1})}), ["kernel 3"])
