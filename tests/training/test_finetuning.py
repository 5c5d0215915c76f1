"""Fine-tuning of one subnet, with inherited or random weights, a teacher, or other classes."""

import copy

import pytest
import torch
from little_subnet import CALIBRATION_IMAGES, CONFIG, digits
from spaces import SMALL
from torch import nn

from edgenas.errors import DataError, EdgenasError, UncalibratedError
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.dataset import Dataset
from edgenas.training.finetuning import finetune, with_classes
from edgenas.training.materialise import materialise, predict, recalibrate, top1


def quiet(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digits()


@pytest.fixture
def subnet(dataset: Dataset) -> Subnet:
    torch.manual_seed(0)
    return materialise(SuperNet(SMALL.with_classes(10)), SMALL.smallest, dataset.train.images[:CALIBRATION_IMAGES])


def tuned(
    subnet: Subnet,
    dataset: Dataset,
    epochs: float = 3.0,
    teacher: Subnet | None = None,
    fresh: bool = False,
    **update: object,
) -> Subnet:
    result, _ = finetune(
        subnet,
        dataset.train,
        CONFIG.model_copy(update=update),
        epochs=epochs,
        learning_rate_share=1.0,
        calibration=dataset.train.images[:CALIBRATION_IMAGES],
        seed=3,
        progress=quiet,
        teacher=teacher,
        fresh=fresh,
    )
    return result


def test_a_fine_tuned_subnet_is_calibrated_and_better(subnet: Subnet, dataset: Dataset) -> None:
    before = copy.deepcopy(subnet.state_dict())
    result = tuned(subnet, dataset)
    assert (result.arch, result.specs, result.calibration_images) == (subnet.arch, subnet.specs, CALIBRATION_IMAGES)
    assert not result.training
    assert top1(result, dataset.validation) > top1(subnet, dataset.validation) + 0.3
    torch.testing.assert_close(subnet.state_dict(), before, rtol=0, atol=0)


def test_fresh_weights_do_not_depend_on_inherited_ones(subnet: Subnet, dataset: Dataset) -> None:
    result = tuned(subnet, dataset, fresh=True)
    assert (result.arch, result.specs, result.calibration_images) == (subnet.arch, subnet.specs, CALIBRATION_IMAGES)
    for weight in subnet.parameters():
        weight.data.fill_(float("nan"))
    again = tuned(subnet, dataset, fresh=True)
    torch.testing.assert_close(again.state_dict(), result.state_dict(), rtol=0, atol=0)
    assert top1(result, dataset.validation) > 0.5


def test_fresh_weights_have_no_layer_decay(subnet: Subnet, dataset: Dataset) -> None:
    result, inherited = (tuned(subnet, dataset, 0.1, fresh=fresh, layer_decay=0.5) for fresh in (True, False))
    expected = tuned(subnet, dataset, 0.1, fresh=True)
    torch.testing.assert_close(result.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert not torch.equal(next(inherited.parameters()), next(tuned(subnet, dataset, 0.1).parameters()))


def test_statistics_are_recalibrated_with_the_final_weights(subnet: Subnet, dataset: Dataset) -> None:
    result = tuned(subnet, dataset, epochs=0.5)
    norms = [module for module in result.modules() if isinstance(module, nn.BatchNorm2d)]
    variances = [norm.running_var.clone() for norm in norms]
    for norm in norms:
        norm.running_var.fill_(7)
    recalibrate(result, dataset.train.images[:CALIBRATION_IMAGES])
    for norm, variance in zip(norms, variances, strict=True):
        torch.testing.assert_close(norm.running_var, variance)


def test_outputs_move_towards_the_teachers(subnet: Subnet, dataset: Dataset) -> None:
    # A teacher that always predicts class 3.
    teacher = copy.deepcopy(subnet)
    with torch.no_grad():
        teacher.blocks["head"].classifier.weight.zero_()
        teacher.blocks["head"].classifier.bias.copy_(20 * torch.eye(10)[3])
    images = dataset.validation.head(64)
    supervised, distilled = tuned(subnet, dataset), tuned(subnet, dataset, teacher=teacher)
    share = [float(predict(net, images.tensor()).softmax(1)[:, 3].mean()) for net in (supervised, distilled)]
    assert share[1] > share[0] + 0.15


def test_other_classes_get_a_new_head_and_keep_the_rest(subnet: Subnet, dataset: Dataset) -> None:
    twin = with_classes(subnet, 4)
    assert twin.specs[-1].out_channels == 4
    assert twin.specs[:-1] == subnet.specs[:-1]
    for name, tensor in twin.state_dict().items():
        assert tensor.shape[0] == 4 if ".classifier." in name else torch.equal(tensor, subnet.state_dict()[name]), name
    with pytest.raises(DataError, match="other classes works without a teacher"):
        tuned(twin, dataset, teacher=subnet)


def test_an_uncalibrated_subnet_is_refused(dataset: Dataset) -> None:
    with pytest.raises(UncalibratedError, match="fine-tuning: expected a calibrated subnet"):
        tuned(SuperNet(SMALL.with_classes(10)).extract(SMALL.smallest), dataset)


def test_a_loss_that_is_not_finite_is_reported(subnet: Subnet, dataset: Dataset) -> None:
    with pytest.raises(EdgenasError, match=r"the loss of r16_\S+ is (nan|inf) at step \d+"):
        tuned(subnet, dataset, learning_rate=1e30)
