"""`edgenas spaces`, and `edgenas space from`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import edgenas
from edgenas.cli.commands import app
from edgenas.errors import SpaceError, UserError
from edgenas.space.cost import cost
from edgenas.space.loading import load_space, preset_names


def invoke(*words: object) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(word) for word in words])


def test_a_networks_space_is_written_and_loads(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    options = ["--kernels", "3", "--expand-ratios", "3,4.5", "--depths", "1,2", "--resolutions", "160,96"]
    shown = invoke("space", "from", "mobilenet_v3_small", "--out", path, *options, "--widths", "", "--json")
    assert shown.exit_code == 0, shown.output
    bounds = {"kernels": [3], "expand_ratios": [3, 4.5], "depths": [1, 2], "widths": (), "resolutions": [96, 160]}
    space = load_space(path)
    assert space == edgenas.space_from("mobilenet_v3_small", **bounds)
    found = json.loads(shown.output)
    assert (found["file"], found["name"], found["architectures"]) == (str(path), "mobilenet_v3_small", space.size)
    ends = [cost(space.with_classes(10).unroll(arch)).macs for arch in (space.smallest, space.largest)]
    assert [found["smallest_macs"], found["largest_macs"]] == ends


def test_a_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("mine")
    # The network's name is not looked up.
    shown = invoke("space", "from", "unknown", "--out", path)
    assert isinstance(shown.exception, UserError)
    assert "exists: choose another --out" in str(shown.exception)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resnet18"], "is a torchvision.models.resnet.ResNet"),
        (["mobilenet_v2", "--kernels", "2"], "expected odd kernel sizes"),
        (["mobilenet_v2", "--widths", "0"], "widths: expected shares above 0 and up to 1, got 0"),
        (["mobilenet_v2", "--depths", "0"], "depths: expected whole numbers from 1 to 50, got 0"),
        (["mobilenet_v2", "--resolutions", "8"], "resolution 8 is too small"),
    ],
)
def test_what_makes_no_space_writes_no_file(words: list[str], message: str, tmp_path: Path) -> None:
    shown = invoke("space", "from", *words, "--out", tmp_path / "space.yaml")
    assert isinstance(shown.exception, SpaceError)
    assert message in str(shown.exception)
    assert not list(tmp_path.iterdir())


def test_options_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    shown = invoke("space", "from", "mobilenet_v2", "--out", tmp_path / "space.yaml", "--kernels", "3,x")
    assert shown.exit_code == 2
    assert "expected numbers with commas between them, got '3,x'" in shown.output


def test_the_spaces_that_ship_are_listed() -> None:
    found = json.loads(invoke("spaces", "--json").output)["spaces"]
    assert [row["name"] for row in found] == preset_names()
    for row in found:
        space = load_space(row["name"])
        ends = [cost(space.with_classes(10).unroll(arch)) for arch in (space.smallest, space.largest)]
        assert [row["smallest_macs"], row["largest_macs"]] == [end.macs for end in ends]
        assert [row["smallest_params"], row["largest_params"]] == [end.params for end in ends]
        assert (row["resolutions"], row["architectures"]) == (list(space.resolution), space.size)


def test_piped_lists_of_spaces_are_plain_with_a_line_for_each_fact() -> None:
    lines = invoke("spaces").output.splitlines()
    table, purposes = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert table[0].split() == ["space", "pixels", "networks", "MACs", "parameters"]
    assert [line.split()[0] for line in table[1:]] == preset_names()
    assert max(map(len, table)) <= 80
    assert purposes == [f"{name}: {load_space(name).description}" for name in preset_names()]
    assert all(load_space(name).description for name in preset_names())
