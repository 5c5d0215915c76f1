"""Once-for-all's checkpoints, against the `ofa` package itself."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from ofa_networks import activate, at_resolutions, ofa_network, older, settle
from spaces import random_archs

from edgenas.errors import SpaceError, WeightsError
from edgenas.space.loading import load_space
from edgenas.supernet.ofa import import_ofa_checkpoint
from edgenas.supernet.pixels import IMAGENET
from edgenas.training.materialise import materialise

CLASSES = 12
W10, W12 = load_space("ofa-mbv3-w1.0"), load_space("ofa-mbv3-w1.2")
RESOLUTIONS = (128, 144, 176)


@pytest.fixture(scope="module")
def theirs() -> Any:
    return ofa_network(1.0, CLASSES)


@pytest.fixture
def saved(theirs: Any, tmp_path: Path) -> Path:
    torch.save(theirs.state_dict(), tmp_path / "ofa.pth")
    return tmp_path / "ofa.pth"


def changed(theirs: Any, path: Path, **tensors: Any) -> Path:
    """A checkpoint in which some tensors are others, or, if None, are left out."""
    state = {**theirs.state_dict(), **{name.replace("__", "."): tensor for name, tensor in tensors.items()}}
    torch.save({name: tensor for name, tensor in state.items() if tensor is not None}, path)
    return path


@pytest.mark.parametrize(("width", "space", "count"), [(1.0, W10, 50), (1.2, W12, 12)])
def test_every_subnet_computes_what_theirs_does(width: float, space: Any, count: int, tmp_path: Path) -> None:
    theirs = ofa_network(width, CLASSES)
    torch.save(theirs.state_dict(), tmp_path / "ofa.pth")
    ours = import_ofa_checkpoint(tmp_path / "ofa.pth", space)
    archs = [space.largest, space.smallest, *random_archs(space, count - 2)]
    for arch in at_resolutions(space, archs, RESOLUTIONS):
        activate(theirs, arch)
        x = torch.randn(2, 3, arch.resolution, arch.resolution, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            found, expected = ours.extract(arch)(x), theirs(x)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
        # In random networks much of a logit is its bias, which agrees easily: so must what two images differ in.
        difference = expected[0] - expected[1]
        assert ((found[0] - found[1]) - difference).norm() < 0.01 * difference.norm()


def test_in_double_precision_they_agree_to_the_last_digits(theirs: Any, saved: Path) -> None:
    ours, twin = import_ofa_checkpoint(saved, W10).double(), copy.deepcopy(theirs).double()
    for arch in at_resolutions(W10, random_archs(W10, 4, seed=9), (128,)):
        activate(twin, arch)
        x = torch.randn(2, 3, 128, 128, dtype=torch.float64)
        with torch.no_grad():
            torch.testing.assert_close(ours(x, arch), twin(x), rtol=0, atol=1e-11)


def test_forward_of_the_supernet_agrees_in_training_mode(theirs: Any, saved: Path) -> None:
    ours = import_ofa_checkpoint(saved, W10).train()
    arch = random_archs(W10, 1, seed=3)[0]
    x = torch.randn(4, 3, arch.resolution, arch.resolution)
    twin = ofa_network(1.0, CLASSES).train()
    activate(twin, arch)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, arch), twin(x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("spelling", ["today", "older"])
@pytest.mark.parametrize("wrapping", ["bare", "state_dict", "parallel"])
def test_every_spelling_gives_the_same_weights(theirs: Any, saved: Path, spelling: str, wrapping: str) -> None:
    state = theirs.state_dict()
    if spelling == "older":
        state = older(state)
        twin = copy.deepcopy(theirs)
        for tensor in twin.state_dict().values():
            tensor.zero_()
        twin.load_state_dict(state)
        torch.testing.assert_close(twin.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    if wrapping == "parallel":
        state = {f"module.{name}": tensor for name, tensor in state.items()}
    expected = import_ofa_checkpoint(saved, W10).state_dict()
    torch.save(state if wrapping == "bare" else {"epoch": 3, "state_dict": state}, saved)
    torch.testing.assert_close(import_ofa_checkpoint(saved, W10).state_dict(), expected, rtol=0, atol=0)


def test_recalibrated_subnets_agree(theirs: Any, saved: Path) -> None:
    ours = import_ofa_checkpoint(saved, W10)
    images = torch.randn(21, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    for arch in at_resolutions(W10, [W10.smallest, *random_archs(W10, 3)], (128,)):
        twin = ofa_network(1.0, CLASSES)
        activate(twin, arch)
        settle(twin, images.split(8))
        subnet = materialise(ours, arch, images, batch_size=8)
        with torch.no_grad():
            torch.testing.assert_close(subnet(images[:4]), twin(images[:4]), rtol=0, atol=1e-4)


def test_input_values_are_imagenets_in_every_subnet(saved: Path) -> None:
    ours = import_ofa_checkpoint(saved, W10)
    assert ours.pixels == ours.extract(W10.smallest).pixels == IMAGENET


def test_resolutions_may_be_fewer(theirs: Any, saved: Path) -> None:
    space = load_space({"preset": "ofa-mbv3-w1.0", "resolution": [160]})
    ours, x = import_ofa_checkpoint(saved, space), torch.randn(1, 3, 160, 160)
    activate(theirs, space.smallest)
    with torch.no_grad():
        torch.testing.assert_close(ours.extract(space.smallest)(x), theirs(x), rtol=0, atol=1e-4)


def test_another_width_is_refused_and_the_right_one_named(saved: Path) -> None:
    with pytest.raises(WeightsError, match=r"of another width than ofa-mbv3-w1\.2: its space is ofa-mbv3-w1\.0"):
        import_ofa_checkpoint(saved, W12)


def test_missing_and_extra_tensors_are_named(theirs: Any, tmp_path: Path) -> None:
    left_out = "blocks.3.conv.depth_conv.conv.7to5_matrix"
    path = changed(theirs, tmp_path / "x.pth", **{left_out: None, "blocks.99.bn.weight": torch.ones(3)})
    with pytest.raises(
        WeightsError,
        match=rf"x\.pth.*lacks {left_out} and has also blocks\.99\.bn\.weight; a checkpoint without kernel",
    ):
        import_ofa_checkpoint(path, W10)


def test_a_tensor_of_another_shape_is_named(theirs: Any, tmp_path: Path) -> None:
    path = changed(theirs, tmp_path / "x.pth", first_conv__conv__weight=torch.zeros(16, 1, 3, 3))
    with pytest.raises(
        WeightsError, match=r"first_conv\.conv\.weight has shape \(16, 1, 3, 3\), expected \(16, 3, 3, 3\)"
    ):
        import_ofa_checkpoint(path, W10)


def test_weights_that_are_no_numbers_are_named(theirs: Any, tmp_path: Path) -> None:
    path = changed(theirs, tmp_path / "x.pth", classifier__linear__bias=torch.full((CLASSES,), torch.nan))
    with pytest.raises(WeightsError, match=r"classifier\.linear\.bias has values that are not finite numbers"):
        import_ofa_checkpoint(path, W10)


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.999])
def test_a_truncated_file_is_refused(saved: Path, kept: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(WeightsError, match=r"ofa\.pth cannot be read as a PyTorch state dict .*(truncated|empty)"):
        import_ofa_checkpoint(saved, W10)


@pytest.mark.parametrize("kept", [57, 131, 353])
def test_a_truncated_file_of_the_older_format_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "ofa.pth"
    torch.save({"state_dict": {"a": torch.zeros(2)}}, path, _use_new_zipfile_serialization=False)
    assert path.stat().st_size > kept
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=r"ofa\.pth cannot be read as a PyTorch state dict"):
        import_ofa_checkpoint(path, W10)


@pytest.mark.parametrize("broken", [{0: torch.zeros(2)}, {"a": 1.0}, [torch.zeros(2)]])
def test_what_is_no_dict_of_named_tensors_is_refused(tmp_path: Path, broken: Any) -> None:
    torch.save(broken, tmp_path / "ofa.pth")
    with pytest.raises(WeightsError, match="expected a dict of tensors by name"):
        import_ofa_checkpoint(tmp_path / "ofa.pth", W10)


def test_a_tensor_without_a_dimension_is_named(theirs: Any, tmp_path: Path) -> None:
    path = changed(theirs, tmp_path / "x.pth", final_expand_layer__conv__weight=torch.tensor(0.0))
    with pytest.raises(WeightsError, match=r"final_expand_layer\.conv\.weight"):
        import_ofa_checkpoint(path, W10)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.pth does not exist"):
        import_ofa_checkpoint(tmp_path / "none.pth", W10)


@pytest.mark.parametrize("value", [[1, 2], {"state_dict": {"epoch": 3}}, {"weights": torch.ones(2)}])
def test_other_contents_are_refused(tmp_path: Path, value: Any) -> None:
    torch.save(value, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"expected a dict of tensors|is not a once-for-all"):
        import_ofa_checkpoint(tmp_path / "x.pth", W10)


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("evil", "w"))


def test_nothing_in_a_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": _Evil()}, "x.pth")
    with pytest.raises(WeightsError, match="could run code"):
        import_ofa_checkpoint(Path("x.pth"), W10)
    assert not Path("evil").exists()


def test_another_class_count_is_refused(saved: Path) -> None:
    with pytest.raises(WeightsError, match="has 12 classes, but the data has 10"):
        import_ofa_checkpoint(saved, W10.with_classes(10))


def test_other_spaces_are_refused(saved: Path) -> None:
    with pytest.raises(SpaceError, match=r"mobile-32 has no once-for-all checkpoints.*ofa-mbv3-w1\.0"):
        import_ofa_checkpoint(saved, load_space("mobile-32"))
    with pytest.raises(SpaceError, match="narrowed in other genes than its resolution"):
        import_ofa_checkpoint(saved, load_space({"preset": "ofa-mbv3-w1.0", "kernel": [3, 5]}))
