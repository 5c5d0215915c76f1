import copy
import json
from dataclasses import asdict

import numpy as np
import onnx
import onnx.reference
import pytest
import torch
from spaces import EVERY_SPACE

from edgenas.deploy.int8.quantiser_recipe import QuantiserRecipe
from edgenas.deploy.int8.quantize import quantise
from edgenas.deploy.onnx import parity as parity_module
from edgenas.deploy.onnx.divergence import block_divergences, first_diverging_block, largest_increase
from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.deploy.onnx.parity import check_int8_parity, check_parity, least_agreement
from edgenas.deploy.onnx.scoring import onnx_logits, onnx_top1
from edgenas.errors import DataError, ParityError, UncalibratedError, UserError
from edgenas.space.loading import load_space
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.preprocess import Preprocess
from edgenas.training.materialise import materialise

SPACE = load_space("digits-24")


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (100, 1, 20, 24), dtype=np.uint8))


@pytest.fixture(scope="module")
def subnet(images):
    torch.manual_seed(0)
    arch = SPACE.sample(np.random.default_rng(1))
    net = SuperNet(SPACE.with_classes(10)).extract(arch).train()
    torch.nn.init.normal_(net.blocks["head"].classifier.weight, std=0.2)
    torch.nn.init.normal_(net.blocks["head"].classifier.bias, std=0.1)
    for _ in range(4):
        net(Preprocess(arch.resolution)(images))
    net.calibration_images = len(images)
    return net.eval()


@pytest.fixture(scope="module")
def preprocess(subnet):
    return Preprocess(subnet.resolution)


@pytest.fixture(scope="module")
def exported(subnet, tmp_path_factory):
    return export_onnx(subnet, tmp_path_factory.mktemp("export") / "model.onnx")


@pytest.fixture(scope="module")
def int8(exported, images, preprocess, tmp_path_factory):
    out = tmp_path_factory.mktemp("int8") / "model.onnx"
    return quantise(exported, out, preprocess(images).numpy(), QuantiserRecipe(), images=64)


@pytest.fixture(scope="module")
def expected(subnet, images, preprocess):
    with torch.no_grad():
        return subnet(preprocess(images))


def altered(exported, path, change, name="head/classifier.bias"):
    """The exported file with one of its weights changed."""
    model = onnx.load(exported)
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(tensor)), tensor.name))
    onnx.save(model, path)
    return path


def middle_weight(exported, block):
    """Name of the last convolution's weight in a block."""
    nodes = [node for node in onnx.load(exported).graph.node if node.name.startswith(f"{block}/Conv")]
    return nodes[-1].input[1]


# ---------------------------------------------------------------- fp32


def test_the_exported_file_passes_and_states_its_differences(subnet, exported, images, preprocess):
    parity = check_parity(subnet, exported, images, preprocess)
    assert parity.images == 100
    assert 0 <= parity.mean_abs_difference <= parity.max_abs_difference <= 1e-3
    assert parity.top1_agreement == 1.0
    assert 0 <= parity.optimisation_difference <= 1e-3
    assert json.loads(json.dumps(asdict(parity))) == asdict(parity)
    assert list(asdict(parity))[:4] == ["images", "max_abs_difference", "mean_abs_difference", "top1_agreement"]


@pytest.mark.slow
@pytest.mark.parametrize("preset", EVERY_SPACE)
def test_random_subnets_of_every_preset_pass(preset, tmp_path):
    torch.manual_seed(0)
    space, rng = EVERY_SPACE[preset], np.random.default_rng(0)
    net = SuperNet(space.with_classes(10))
    for arch in (space.sample(rng) for _ in range(3)):
        size = (8, 3, arch.resolution, arch.resolution)
        images = torch.from_numpy(rng.integers(0, 256, size, dtype=np.uint8))
        subnet = materialise(net, arch, images)
        torch.nn.init.normal_(subnet.blocks["head"].classifier.weight)
        path = export_onnx(subnet, tmp_path / "model.onnx")
        parity = check_parity(subnet, path, images, Preprocess(arch.resolution))
        assert 0 < parity.max_abs_difference <= 1e-3


def test_a_shifted_logit_fails_the_tolerance_and_passes_a_wider_one(subnet, exported, images, preprocess, tmp_path):
    def lifted(bias):
        return bias + np.float32(0.01)

    path = altered(exported, tmp_path / "lifted.onnx", lifted)
    with pytest.raises(ParityError, match=r"is 0\.01 .*first block to diverge is head "):
        check_parity(subnet, path, images, preprocess)
    parity = check_parity(subnet, path, images, preprocess, tolerance=0.02)
    assert parity.max_abs_difference == pytest.approx(0.01, rel=0.1)


def test_other_classes_fail_whatever_the_tolerance(subnet, exported, images, preprocess, expected, tmp_path):
    def favour_one(bias):
        loser = int(torch.bincount(expected.argmax(1), minlength=10).argmin())
        return bias + 1e3 * np.eye(10, dtype=np.float32)[loser]

    path = altered(exported, tmp_path / "favours.onnx", favour_one)
    with pytest.raises(ParityError, match="top-1 agreement"):
        check_parity(subnet, path, images, preprocess, tolerance=1e6)


@pytest.mark.parametrize(("images", "differing"), [(1, 0), (2, 1), (100, 1), (256, 1), (1000, 5)])
def test_one_near_tie_does_not_fail_few_images(images, differing):
    agreed = [(images - n) / images >= least_agreement(images) for n in (differing, differing + 1)]
    assert agreed == [True, False]


def test_not_a_number_fails(subnet, exported, images, preprocess, tmp_path):
    path = altered(exported, tmp_path / "nan.onnx", lambda bias: bias * np.float32("nan"))
    with pytest.raises(ParityError, match="nan"):
        check_parity(subnet, path, images, preprocess, tolerance=1e6)


def test_a_runtime_whose_optimisations_change_logits_fails(subnet, exported, images, preprocess, monkeypatch):
    def drifting(*args, optimised=True):
        return onnx_logits(*args, optimised=optimised) + (0 if optimised else 0.002)

    monkeypatch.setattr(parity_module, "onnx_logits", drifting)
    with pytest.raises(ParityError, match=r"optimisations change a logit by 0\.002 .*no single block diverges"):
        check_parity(subnet, exported, images, preprocess)
    assert check_parity(subnet, exported, images, preprocess, tolerance=0.01).max_abs_difference <= 1e-3


def test_parity_needs_images_and_a_calibrated_subnet(subnet, exported, images, preprocess):
    with pytest.raises(DataError, match="at least one"):
        check_parity(subnet, exported, images[:0], preprocess)
    fresh = copy.deepcopy(subnet)
    fresh.calibration_images = 0
    with pytest.raises(UncalibratedError):
        check_parity(fresh, exported, images, preprocess)
    with pytest.raises(UncalibratedError):
        check_int8_parity(fresh, exported, images, torch.zeros(100), preprocess, fp32_top1=1.0)


def test_a_file_of_another_arch_is_refused(subnet, exported, images, preprocess):
    other = copy.deepcopy(subnet)
    other.arch = SPACE.largest
    with pytest.raises(ParityError, match=f"is arch {subnet.arch.id}, the scored network is {SPACE.largest.id}"):
        check_parity(other, exported, images, preprocess)


@pytest.mark.parametrize("level", [True, False], ids=["optimised", "plain"])
def test_logits_are_those_of_torch_in_order_by_any_number_of_threads(exported, images, preprocess, expected, level):
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            got = onnx_logits(exported, images, preprocess, optimised=level)
            torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    finally:
        torch.set_num_threads(before)


def test_onnx_top1_is_the_share_of_right_labels(exported, images, preprocess, expected):
    labels = expected.argmax(1)
    labels[:25] = (labels[:25] + 1) % 10
    assert onnx_top1(exported, images, labels, preprocess) == 0.75


# ---------------------------------------------------------------- files that cannot be compared


def test_an_operator_or_opset_that_the_runtime_lacks_is_named(subnet, exported, images, preprocess, tmp_path):
    model = onnx.load(exported)
    model.graph.node[1].op_type = "HarderSwish"
    onnx.save(model, tmp_path / "operator.onnx")
    with pytest.raises(UserError, match=r"ONNX Runtime \d.* cannot run it \(it needs ai.onnx opset 18\).*HarderSwish"):
        check_parity(subnet, tmp_path / "operator.onnx", images, preprocess)
    model = onnx.load(exported)
    model.opset_import[0].version = 999
    onnx.save(model, tmp_path / "opset.onnx")
    with pytest.raises(UserError, match=r"it needs ai.onnx opset 999\)"):
        onnx_top1(tmp_path / "opset.onnx", images, torch.zeros(100), preprocess)


def test_a_file_that_breaks_the_rules_of_onnx_is_refused(subnet, exported, images, preprocess, tmp_path):
    model = onnx.load(exported)
    # The runtime reads that, and other runtimes do not.
    model.graph.name = ""
    onnx.save(model, tmp_path / "nameless.onnx")
    with pytest.raises(ParityError, match="breaks ONNX's rules"):
        check_parity(subnet, tmp_path / "nameless.onnx", images, preprocess)


def test_a_missing_file_is_a_user_error(subnet, images, preprocess, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        check_parity(subnet, tmp_path / "absent.onnx", images, preprocess)


# ---------------------------------------------------------------- where it departs


def test_the_block_whose_weight_was_tampered_with_diverges_first(subnet, exported, images, preprocess, tmp_path):
    inputs = preprocess(images[:4])
    assert first_diverging_block(subnet, exported, inputs) is None
    names = [spec.name for spec in subnet.specs]
    assert [departure.block for departure in block_divergences(subnet, exported, inputs)] == names
    block = names[len(names) // 2]
    path = altered(exported, tmp_path / "bent.onnx", lambda w: 20 * w, middle_weight(exported, block))
    found = first_diverging_block(subnet, path, inputs)
    assert found.block == block
    assert found.relative > 0.01
    assert found.max_abs_difference > 0
    with pytest.raises(ParityError, match=f"first block to diverge is {block} "):
        check_parity(subnet, path, images, preprocess)


def test_departures_are_the_differences_of_block_outputs(subnet, exported, images, preprocess, tmp_path):
    """A shift of one logit is all there is to see, and it is seen where it is."""
    path = altered(exported, tmp_path / "shifted.onnx", lambda bias: bias + 0.5 * np.eye(10, dtype=np.float32)[3])
    *before, last = block_divergences(subnet, path, preprocess(images[:4]))
    assert max(departure.max_abs_difference for departure in before) < 1e-3
    assert last.block == "head"
    assert last.max_abs_difference == pytest.approx(0.5, abs=1e-3)
    assert largest_increase([*before, last]) == last
    assert largest_increase([]) is None


# ---------------------------------------------------------------- against the reference implementation of ONNX


def test_the_reference_implementation_of_onnx_agrees(exported, int8, images, preprocess):
    inputs = preprocess(images[:3])
    for path, tolerance in ((exported, 1e-4), (int8, 0.05)):
        model = onnx.load(path)
        # It knows quantising since 19 only; nothing in these graphs means anything else there.
        model.opset_import[0].version = 19
        reference = onnx.reference.ReferenceEvaluator(model)
        got = np.concatenate([reference.run(None, {"pixels": value[None].numpy()})[0] for value in inputs])
        np.testing.assert_allclose(onnx_logits(path, images[:3], preprocess).numpy(), got, atol=tolerance)


# ---------------------------------------------------------------- int8


def test_an_int8_file_passes_within_the_allowed_drop_and_states_its_differences(
    subnet, int8, images, preprocess, expected
):
    labels = expected.argmax(1)
    top1 = onnx_top1(int8, images, labels, preprocess)
    parity = check_int8_parity(subnet, int8, images, labels, preprocess, fp32_top1=1.0, max_drop=0.5)
    assert (parity.val_images, parity.images) == (100, 100)
    assert parity.val_top1 == top1 == parity.top1_agreement
    assert parity.val_top1_drop == 1 - top1
    assert parity.max_abs_difference > 1e-3
    assert json.loads(json.dumps(asdict(parity))) == asdict(parity)
    assert asdict(parity)["quantiser_recipe"] == "qdq-u8s8-pc-minmax-v1"
    exact = check_int8_parity(subnet, int8, images, labels, preprocess, fp32_top1=top1 + 0.01)
    assert exact.val_top1_drop == pytest.approx(0.01)


def test_an_int8_file_below_the_allowed_accuracy_fails(subnet, int8, images, preprocess, expected, tmp_path):
    labels = expected.argmax(1)
    top1 = onnx_top1(int8, images, labels, preprocess)
    with pytest.raises(ParityError, match=r"points below fp32's .* \(allowed: 1.00\); most error is added at"):
        check_int8_parity(subnet, int8, images, labels, preprocess, fp32_top1=top1 + 0.02)
    names = [spec.name for spec in subnet.specs]
    block = names[len(names) // 2]
    path = altered(int8, tmp_path / "bent.onnx", lambda value: 3 * value, middle_weight_scale(int8, block))
    with pytest.raises(ParityError, match=f"most error is added at {block} "):
        check_int8_parity(subnet, path, images, labels, preprocess, fp32_top1=1.5)


def middle_weight_scale(int8, block):
    """Name of the scale that a block's last convolution reads its weight by."""
    graph = onnx.load(int8).graph
    weight = [node for node in graph.node if node.op_type == "Conv" and node.name.startswith(f"{block}/")][-1].input[1]
    return next(node for node in graph.node if weight in node.output).input[1]


def test_an_fp32_file_is_no_int8_file(subnet, exported, images, preprocess):
    with pytest.raises(ParityError, match="is not int8"):
        check_int8_parity(subnet, exported, images, torch.zeros(100), preprocess, fp32_top1=1.0)
