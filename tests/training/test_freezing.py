"""Frozen stages: they keep their weights while a whole network is fine-tuned, and only then."""

from __future__ import annotations

import torch
from small_run import SMALL_SPACE

from edgenas.config.sections import TrainConfig
from edgenas.plain_yaml import parse_yaml
from edgenas.space.loading import parse_space
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.split import Split
from edgenas.training.finetuning import finetune
from edgenas.training.freezing import freeze
from edgenas.training.materialise import materialise
from edgenas.training.trainer import Trainer

CLASSES = 4
FROZEN = ("stem", "stage0")


def supernet() -> SuperNet:
    space = parse_space(parse_yaml(SMALL_SPACE), "small")
    torch.manual_seed(0)
    return SuperNet(space.with_classes(CLASSES))


def images(count: int = 16) -> Split:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=generator)
    return Split(pixels, torch.arange(count) % CLASSES)


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Return the stages of which a weight changed; statistics of batch norm are no weights."""
    weights = [name for name in before if "running_" not in name and "num_batches" not in name]
    return {name.split(".")[1].split("_")[0] for name in weights if not torch.equal(before[name], after[name])}


def config(**settings: object) -> TrainConfig:
    return TrainConfig.model_validate({"epochs": 1, "batch_size": 8, "subnets_per_step": 2, **settings})


def test_a_supernet_freezes_while_its_largest_network_is_tuned_and_not_after() -> None:
    net = supernet()
    trainer = Trainer(net, config(recipe="from-pretrained", frozen_stages=1), 0, steps=10)
    start = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    for step in range(4):
        trainer.step(step, images(8))
    assert changed(start, net.state_dict()) == {"stage1", "head"}
    for step in range(4, 10):
        trainer.step(step, images(8))
    assert changed(start, net.state_dict()) == {*FROZEN, "stage1", "head"}


def test_fine_tuning_keeps_frozen_stages_and_returns_a_network_that_can_be_trained() -> None:
    net = supernet()
    subnet = materialise(net, net.space.largest, images().tensor())
    for stages, expected in ((1, {"stage1", "head"}), (0, {*FROZEN, "stage1", "head"})):
        tuned, _ = finetune(
            subnet,
            images(),
            config(frozen_stages=stages),
            epochs=2,
            learning_rate_share=1.0,
            calibration=images().tensor(),
            seed=0,
            progress=lambda done, total: None,
        )
        assert changed(subnet.state_dict(), tuned.state_dict()) == expected
        assert all(parameter.requires_grad for parameter in tuned.parameters())


def test_nothing_is_frozen_by_default_not_even_the_stem() -> None:
    net = supernet()
    freeze(net, 1)
    assert not any(parameter.requires_grad for parameter in net.blocks["stem"].parameters())
    freeze(net, 0)
    assert all(parameter.requires_grad for parameter in net.parameters())
