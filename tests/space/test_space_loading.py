from pathlib import Path
from typing import Any

import pytest
import yaml
from spaces import CHOICES, EVERY_SPACE, SMALL, random_archs

from edgenas.errors import SpaceError, UserError
from edgenas.space.arch import parse_arch
from edgenas.space.loading import load_space, parse_space, preset_names
from edgenas.space.space import SearchSpace
from edgenas.space.space_yaml import dump_space


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_under_the_name_of_their_file(name: str) -> None:
    space = load_space(name)
    assert space.name == name
    assert space.description


def test_the_promised_presets_ship() -> None:
    promised = {"ofa-mbv3-w1.0", "ofa-mbv3-w1.2", "mobile-32", "mobile-96", "digits-24"}
    assert promised | {"mobile-224", "mobilenetv4-conv-224", "mobile-int8"} <= set(preset_names())


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A file that holds the space SMALL."""
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL.model_dump(mode="json")))
    return path


def test_a_file_holds_a_space_as_well_as_a_preset(small: Path) -> None:
    assert load_space(small) == load_space(str(small)) == load_space({"path": str(small)}) == SMALL


@pytest.mark.parametrize("name", EVERY_SPACE)
def test_a_written_space_reads_back(name: str, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(dump_space(EVERY_SPACE[name]))
    assert load_space(path) == EVERY_SPACE[name]
    assert path.read_text().count("\n  - {") == len(EVERY_SPACE[name].stages)


def test_unknown_presets_are_answered_with_the_closest_and_all_valid_names() -> None:
    with pytest.raises(SpaceError, match="did you mean 'mobile-32'") as raised:
        load_space("mobil-32")
    assert all(name in str(raised.value) for name in preset_names())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": []}, "resolution"),
        ({"resolution": [32, 28]}, "ascending"),
        ({"resolution": [28.5]}, "resolution"),
        ({"resolution": [1]}, "too small for a total stride"),
        ({"stages": []}, "stages"),
        ({"colour": "red"}, "colour"),
        ({"head": {"width": -1, "features": 0, "activation": "relu"}}, "head.width"),
        ({"stem": {"width": 16, "kernel": 3, "stride": 1, "activation": "gelu"}}, "stem.activation"),
    ],
)
def test_a_space_file_that_makes_no_sense_is_refused_with_the_place(
    small: Path, change: dict[str, Any], message: str
) -> None:
    small.write_text(yaml.safe_dump({**yaml.safe_load(small.read_text()), **change}))
    with pytest.raises(SpaceError, match=message) as raised:
        load_space(small)
    assert str(small) in str(raised.value)


@pytest.mark.parametrize(
    ("gene", "choices"),
    [("kernel", [4]), ("kernel", [3, 3]), ("depth", [0]), ("expand", [0.5]), ("width", ["16"]), ("stride", 0)],
)
def test_a_stage_that_cannot_be_built_is_refused(gene: str, choices: Any) -> None:
    value = SMALL.model_dump(mode="json")
    value["stages"][1][gene] = choices
    with pytest.raises(SpaceError, match=rf"here: stages\.1\.{gene}"):
        parse_space(value, "here")


def test_a_space_of_a_newer_schema_is_refused(small: Path) -> None:
    small.write_text(small.read_text().replace("schema_version: 1", "schema_version: 2"))
    with pytest.raises(UserError, match="upgrade"):
        load_space(small)


def test_narrowing_keeps_only_what_is_named(small: Path) -> None:
    narrow = load_space(
        {
            "path": str(small),
            "resolution": [24],
            "kernel": [7, 3],
            "depth": [2],
            "stages": {"1": {"width": [24]}, 2: {"expand": [4.0, 3], "kernel": [7]}},
        }
    )
    assert narrow.resolution == (24,)
    assert [stage.kernel for stage in narrow.stages] == [(3,), (3,), (7,), (3,)]
    assert [stage.depth for stage in narrow.stages] == [(1,), (2,), (2,), (2,)]
    assert [stage.width for stage in narrow.stages] == [(16,), (24,), (40,), (64,)]
    assert [stage.expand for stage in narrow.stages] == [(1,), (2, 4), (3, 4), (2, 4)]
    assert narrow.structure_id == SMALL.structure_id


@pytest.mark.parametrize("name", preset_names())
def test_archs_of_a_narrowed_preset_are_the_same_networks_in_the_preset(name: str) -> None:
    whole = load_space(name)
    gene, value = ("edge13", 4) if name == "cells-32" else ("kernel", 3)
    narrow = load_space({"preset": name, "resolution": list(whole.resolution[:1]), gene: [value]})
    assert 0 < narrow.size < whole.size
    chosen = [gene for gene in whole.choices if gene.endswith("kernel") and len(whole.choices[gene]) > 1]
    assert {narrow.choices[gene] for gene in chosen} <= {(3,)}
    for arch in random_archs(narrow, 20):
        assert whole.with_classes(10).unroll(whole.parse(arch.id)) == narrow.with_classes(10).unroll(arch)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"preset": "mobile-23"}, "did you mean 'mobile-32'"),
        ({"preset": "cells-32", "kernel": [3]}, "kernel: no stage has this gene; .*edge01"),
        ({"resolution": [28]}, "either preset: NAME or path: FILE"),
        ({"preset": "mobile-32", "path": "x.yaml"}, "either preset: NAME or path: FILE"),
        ({"preset": None}, "either preset: NAME or path: FILE"),
        ({"path": "nowhere.yaml"}, "'nowhere.yaml' is neither a preset nor a file"),
    ],
)
def test_a_mapping_names_one_space_to_narrow(mapping: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load_space(mapping)


@pytest.mark.parametrize(
    ("genes", "message"),
    [
        ({"resolutoin": [16]}, "unknown key 'resolutoin'; did you mean 'resolution'"),
        ({"resolution": [20]}, "resolution: 20 is none of 16, 24"),
        ({"resolution": 16}, "resolution: expected a list of some of 16, 24, got 16"),
        ({"resolution": []}, "resolution: expected a list of some of 16, 24"),
        ({"kernel": "357"}, "kernel: expected a list of some of 3, 5, 7, got '357'"),
        ({"kernel": [9]}, "kernel: 9 is none of 3, 5, 7"),
        ({"kernel": [7]}, r"kernel \[7\] leaves stage1 none of its choices \[3, 5\]"),
        ({"stages": {"9": {"kernel": [3]}}}, "stages has no '9'; valid: 0, 1, 2, 3"),
        ({"stages": {"1": [3]}}, "stages.1: expected a mapping"),
        ({"stages": [{"kernel": [3]}]}, "stages: expected a mapping"),
        ({"stages": {"1": {"stride": [1]}}}, r"stages\.1\.stride: .*valid: depth, expand, kernel, width"),
        ({"stages": {"1": {"kernle": [3]}}}, "did you mean 'kernel'"),
        ({"stages": {"1": {"width": [17]}}}, r"stages\.1\.width: 17 is none of 16, 24"),
    ],
)
def test_what_cannot_be_narrowed_is_refused_with_what_can(small: Path, genes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load_space({"path": str(small), **genes})


def test_choices_of_activation_and_squeeze_excite_read_back_and_narrow(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(CHOICES.model_dump(mode="json")))
    assert load_space(path) == CHOICES
    narrowed = load_space({"path": str(path), "activation": ["relu"], "squeeze_excite": [0]})
    assert {choices for stage in narrowed.stages for choices in stage.choice_lists("activation")} == {("relu",)}
    assert narrowed.stages[0].choice_lists("squeeze_excite") == ((0,),)
    assert narrowed.structure_id == CHOICES.structure_id
    with pytest.raises(SpaceError, match="activation: 'gelu' is none of hardswish, relu, silu"):
        load_space({"path": str(path), "activation": ["gelu"]})
    with pytest.raises(SpaceError, match=r"squeeze_excite: 1 is none of 0, 0\.25, 0\.5; the closest is 0\.5"):
        load_space({"path": str(path), "squeeze_excite": [1]})


@pytest.mark.parametrize(
    ("gene", "choices"),
    [("activation", []), ("activation", ["relu", "relu"]), ("activation", ["gelu"]), ("squeeze_excite", [0, 2])],
)
def test_choices_that_make_no_sense_are_refused(gene: str, choices: Any) -> None:
    value = CHOICES.model_dump(mode="json")
    value["stages"][0][gene] = choices
    with pytest.raises(SpaceError, match=rf"here: stages\.0\.{gene}"):
        parse_space(value, "here")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("expand", [], r"stages\.0\.expand: expected a list of at least 1, got \[\]"),
        ("activation", None, r"stages\.0\.activation: expected one of relu, relu6, hardswish, silu, got nothing"),
        ("squeeze_excite", "a", r"stages\.0\.squeeze_excite: expected true, false, a share .* shares .*, got 'a'"),
    ],
)
def test_a_wrong_value_gets_one_message_without_names_of_types(field: str, value: Any, message: str) -> None:
    space = CHOICES.model_dump(mode="json")
    space["stages"] = [{**space["stages"][0], field: value}]
    with pytest.raises(SpaceError, match=f"^here: {message}$"):
        parse_space(space, "here")


def by_position(**changes: Any) -> SearchSpace:
    """SMALL, of whose stage1 each block has choices of its own."""
    value = SMALL.model_dump(mode="json")
    value["stages"][1] |= {"depth": [2, 3], "expand": [[2, 6], [2, 2.5], [2.3]], **changes}
    return parse_space(value, "here")


def test_choices_of_each_position_read_back(tmp_path: Path) -> None:
    space = by_position(kernel=[[3, 5], [5], [3]])
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(space.model_dump(mode="json")))
    assert load_space(path) == space
    assert space.size == 2 * (2 * (4 * 2 + 4 * 2 * 1)) * (9 + 81) * (4 + 16)
    assert space.largest.stages[1].blocks == parse_arch("r24_w24-k5e6-k5e2.5-k3e2.3").stages[0].blocks
    with pytest.raises(SpaceError, match=r"stage1\.block1\.expand is 6, the space has 2, 2\.5"):
        space.parse(space.largest.id.replace("e2.5", "e6"))


def test_equal_choices_of_each_position_are_those_of_all() -> None:
    assert by_position(expand=[[2, 4]] * 3) == by_position(expand=[2, 4])


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([[3], [5]], r"stages\.1: .*kernel: expected one list for all blocks, or 3 lists, .* got 2"),
        ([[3], [5, 3], [3]], r"stages\.1\.kernel: expected distinct choices in ascending order, got \[5, 3\]"),
        ([[3], [4], [3]], r"stages\.1\.kernel: expected odd kernel sizes up to 31, got \[4\]"),
        ([33], r"stages\.1\.kernel: expected odd kernel sizes up to 31, got \[33\]"),
        ([[3, 5]], r"stages\.1: .*kernel: expected one list for all blocks, or 3 lists, .* got 1"),
        ([[3], [3]], r"stages\.1: .*kernel: expected one list for all blocks, or 3 lists, .* got 2"),
        ([[3], [], [3]], r"stages\.1\.kernel"),
        ([[3], 5, [3]], r"stages\.1\.kernel"),
        ([[3], ["5"], [3]], r"stages\.1\.kernel"),
    ],
)
def test_choices_of_each_position_that_make_no_sense_are_refused(choices: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        by_position(kernel=choices)


@pytest.mark.parametrize(
    ("genes", "kernel", "expand"),
    [
        ({"expand": [2, 3, 2.5]}, (3, 5), ((2,), (2, 2.5), (2.3,))),
        ({"depth": [2, 1]}, (3, 5), ((2, 6), (2, 2.5))),
        ({"stages": {"1": {"depth": [2], "expand": [[6], [2.5]]}}}, (3, 5), ((6,), (2.5,))),
        ({"stages": {"1": {"expand": [2, 2.3]}}}, (3, 5), ((2,), (2,), (2.3,))),
        ({"stages": {"1": {"kernel": [[3], [5], [3, 5]]}}}, ((3,), (5,), (3, 5)), ((2, 6), (2, 2.5), (2.3,))),
        ({"stages": {"1": {"kernel": [3]}}}, (3,), ((2, 6), (2, 2.5), (2.3,))),
    ],
)
def test_narrowing_reaches_the_choices_of_each_position(
    tmp_path: Path, genes: dict[str, Any], kernel: Any, expand: Any
) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(by_position().model_dump(mode="json")))
    space = load_space({"path": str(path), **genes})
    assert (space.stages[1].kernel, space.stages[1].expand) == (kernel, expand)
    assert by_position().parse(space.largest.id) == space.largest


@pytest.mark.parametrize(
    ("genes", "message"),
    [
        ({"expand": [3, 6]}, r"expand \[3, 6\] leaves stage1\.block1 none of its choices \[2, 2\.5\]"),
        ({"stages": {"1": {"expand": [6]}}}, r"stages\.1\.expand: \[6\] leaves it\.block1 none of its choices"),
        (
            {"stages": {"1": {"expand": [[6], [2]]}}},
            r"stages\.1\.expand: expected one list for all blocks, or 3 lists, .* got 2",
        ),
        ({"stages": {"1": {"expand": [[6], [3], [2.3]]}}}, r"stages\.1\.expand\.1: 3 is none of 2, 2\.5"),
        ({"stages": {"1": {"expand": [7]}}}, r"stages\.1\.expand: 7 is none of 2, 2\.3, 2\.5, 6; the closest is 6"),
    ],
)
def test_what_no_position_has_is_refused(tmp_path: Path, genes: dict[str, Any], message: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(by_position().model_dump(mode="json")))
    with pytest.raises(SpaceError, match=message):
        load_space({"path": str(path), **genes})
