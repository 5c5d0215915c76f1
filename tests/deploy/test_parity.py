import copy
import json

import numpy as np
import onnx
import pytest
import torch

from edgenas.deploy.onnx_export import export_onnx
from edgenas.deploy.parity import check_parity, onnx_top1
from edgenas.errors import DataError, ParityError, UncalibratedError
from edgenas.space.load import load_space
from edgenas.supernet.supernet import SuperNet
from edgenas.training.preprocess import Preprocess


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (100, 1, 20, 24), dtype=np.uint8))


@pytest.fixture(scope="module")
def subnet(pictures):
    torch.manual_seed(0)
    space = load_space("digits-24")
    arch = space.sample(np.random.default_rng(1))
    net = SuperNet(space, 10).extract(arch).train()
    torch.nn.init.normal_(net.blocks["head"].classifier.bias, std=0.1)
    for _ in range(4):
        net(Preprocess(arch.resolution)(pictures))
    net.calibration_images = len(pictures)
    return net.eval()


@pytest.fixture(scope="module")
def exported(subnet, tmp_path_factory):
    return export_onnx(subnet, tmp_path_factory.mktemp("export") / "model.onnx")


def torch_logits(subnet, pictures):
    with torch.no_grad():
        return subnet(Preprocess(subnet.resolution)(pictures))


def altered(exported, path, change):
    """The exported file with one weight tensor of the classifier changed."""
    model = onnx.load(exported)
    tensor = next(t for t in model.graph.initializer if t.name == "head/classifier.bias")
    tensor.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(tensor)), tensor.name))
    onnx.save(model, path)
    return path


def test_the_exported_file_passes_and_states_its_differences(subnet, exported, pictures):
    parity = check_parity(subnet, exported, pictures, Preprocess(subnet.resolution))
    assert parity.images == 100
    assert 0 <= parity.mean_abs_difference <= parity.max_abs_difference <= 1e-3
    assert parity.top1_agreement == 1.0
    assert json.loads(json.dumps(parity.to_json())) == parity.to_json()


def test_a_shifted_logit_fails_the_tolerance_and_passes_a_wider_one(subnet, exported, pictures, tmp_path):
    def lifted(bias):
        return bias + np.float32(0.01)

    path = altered(exported, tmp_path / "lifted.onnx", lifted)
    preprocess = Preprocess(subnet.resolution)
    with pytest.raises(ParityError, match=r"is 0\.01"):
        check_parity(subnet, path, pictures, preprocess)
    parity = check_parity(subnet, path, pictures, preprocess, tolerance=0.02)
    assert parity.max_abs_difference == pytest.approx(0.01, rel=0.1)


def test_other_classes_fail_whatever_the_tolerance(subnet, exported, pictures, tmp_path):
    def favour_one(bias):
        winners = torch_logits(subnet, pictures).argmax(1)
        loser = int(torch.bincount(winners, minlength=10).argmin())
        return bias + 1e3 * np.eye(10, dtype=np.float32)[loser]

    path = altered(exported, tmp_path / "favours.onnx", favour_one)
    with pytest.raises(ParityError, match="top-1 agreement"):
        check_parity(subnet, path, pictures, Preprocess(subnet.resolution), tolerance=1e6)


def test_not_a_number_fails(subnet, exported, pictures, tmp_path):
    path = altered(exported, tmp_path / "nan.onnx", lambda bias: bias * np.float32("nan"))
    with pytest.raises(ParityError, match="nan"):
        check_parity(subnet, path, pictures, Preprocess(subnet.resolution), tolerance=1e6)


def test_parity_needs_pictures_and_a_calibrated_subnet(subnet, exported, pictures):
    with pytest.raises(DataError, match="at least one"):
        check_parity(subnet, exported, pictures[:0], Preprocess(subnet.resolution))
    fresh = copy.deepcopy(subnet)
    fresh.calibration_images = 0
    with pytest.raises(UncalibratedError):
        check_parity(fresh, exported, pictures, Preprocess(subnet.resolution))


def test_onnx_top1_is_the_share_of_right_labels(subnet, exported, pictures):
    labels = torch_logits(subnet, pictures).argmax(1)
    labels[:25] = (labels[:25] + 1) % 10
    assert onnx_top1(exported, pictures, labels, Preprocess(subnet.resolution)) == 0.75
