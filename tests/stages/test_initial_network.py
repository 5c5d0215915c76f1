"""The pretrained network that a run starts from: by name, around it or in a space of the user's, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from source_networks import source_network
from torch import nn

from edgenas.config.reading import parse_config
from edgenas.config.run_config import RunConfig
from edgenas.config.train_config import TrainConfig
from edgenas.errors import ConfigError, RunFolderError, SpaceError, WeightsError
from edgenas.records.weights import WeightsFacts
from edgenas.runs.run import Run, open_run
from edgenas.space.loading import load_space
from edgenas.space.space import SearchSpace
from edgenas.stages.plan import plan_run
from edgenas.stages.planning.stage_plans import StagePlan
from edgenas.stages.start import start_run
from edgenas.stages.weights import initial_network
from edgenas.stages.weights.initial_network import resolve_init, suited_resolutions
from edgenas.supernet.pixels import IMAGENET
from edgenas.supernet.pretrained import sources
from edgenas.supernet.pretrained.sources import PretrainedNetwork
from edgenas.supernet.supernet import SuperNet
from edgenas.training.initial_weights import check_init, load_network

NAME = "efficientnet-lite0"
FACTS = WeightsFacts(
    name=NAME,
    origin="a package 1.0",
    licence="Apache-2.0",
    sha256="0" * 64,
    hash_from="package",
    resolution=224,
    num_classes=1000,
    published_top1_percent=75.1,
)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return source_network("tf_efficientnet_lite0")


@pytest.fixture
def network(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> PretrainedNetwork:
    """The only installed network, with made-up weights."""
    pretrained = PretrainedNetwork(module, FACTS)

    def load(name: str, progress: object = None) -> PretrainedNetwork:
        if name != NAME:
            raise WeightsError(f"weights {name} are unknown")
        return pretrained

    for place in (initial_network, sources):
        monkeypatch.setattr(place, "load_pretrained", load)
        monkeypatch.setattr(place, "installed_networks", lambda: [NAME])
    return pretrained


def config(space: Any = "auto", init: str | None = NAME, data: dict[str, Any] | None = None, **more: Any) -> RunConfig:
    train = {"epochs": 1, "recipe": "all-sizes"} | ({} if init is None else {"init": init})
    value = {"name": "a", "space": space, "data": {"name": "digits"} | (data or {}), "train": train}
    return parse_config(value | more, "a config")


def unchanged(space: SearchSpace) -> SearchSpace:
    return space


@given(side=st.integers(8, 4000), own=st.sampled_from([224, 240, 260]))
def test_resolutions_hardly_enlarge_images_and_are_within_the_networks_reach(side: int, own: int) -> None:
    resolutions = suited_resolutions(side, own)
    assert len(resolutions) >= 2
    assert resolutions == sorted(set(resolutions))
    assert resolutions[0] >= 32
    assert resolutions[-1] <= max(64, min(side + 31, own))


def test_an_automatic_space_is_that_around_the_network(network: PretrainedNetwork) -> None:
    space, record = resolve_init(config(), unchanged)
    assert space.resolution == (32, 48, 64)
    assert record is not None
    assert (record.asked, record.network, record.note) == (NAME, FACTS, None)
    assert (record.mean, record.std, record.crop) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 0.875)
    # Its largest architecture is the network, or the weights would be refused.
    assert SuperNet.from_network(space, network.module).space.num_classes == 1000


def test_an_automatic_space_is_narrowed_and_its_resolutions_are_chosen(network: PretrainedNetwork) -> None:
    space, _ = resolve_init(
        config({"preset": "auto", "resolution": [40, 72], "stages": {"1": {"depth": [2]}}}), unchanged
    )
    assert space.resolution == (40, 72)
    assert space.stages[1].depth == (2,)
    assert space.stages[2].depth == (1, 2)


def test_an_automatic_space_starts_from_an_automatic_network(network: PretrainedNetwork) -> None:
    chosen = config(init=None)
    assert chosen.training.init == "auto"
    _, record = resolve_init(chosen, unchanged)
    assert record is not None
    assert (record.asked, record.network) == ("auto", FACTS)


@pytest.mark.parametrize(("space", "preset"), [("auto", "digits-24"), ("mobile-32", "mobile-32")])
def test_without_an_installed_network_weights_are_random_and_the_note_says_so(
    space: str, preset: str, network: PretrainedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initial_network, "installed_networks", list)
    chosen, record = resolve_init(config(space, "auto"), unchanged)
    assert chosen.name == preset
    assert record is not None
    assert record.network is None
    assert record.note == (
        f"training started from random weights in the space {preset}, because no pretrained network is installed "
        "(pip install 'edgenas[pretrained]')"
    )


def test_the_automatic_space_of_a_supernet_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    preset = load_space("ofa-mbv3-w1.0")
    supernet = SuperNet(preset.with_classes(10), kernel_transforms=True, pixels=IMAGENET)
    network = PretrainedNetwork(supernet, FACTS.model_copy(update={"name": "ofa:w1.0"}))
    monkeypatch.setattr(initial_network, "load_pretrained", lambda name, progress: network)
    train = {"init": "ofa:w1.0", "epochs": 1, "kernel_transforms": True}
    space, record = resolve_init(config({"preset": "auto", "resolution": [128, 160]}, train=train), unchanged)
    assert (space.stages, space.resolution) == (preset.stages, (128, 160))
    assert record is not None
    assert record.mean == IMAGENET.mean
    with pytest.raises(SpaceError, match=r"has kernel transforms: set train\.kernel_transforms to true"):
        resolve_init(config(train=train | {"kernel_transforms": False}), unchanged)


def test_an_automatic_network_must_fit_the_space_of_the_config(network: PretrainedNetwork) -> None:
    space, record = resolve_init(config("digits-24", "auto"), unchanged)
    assert space.name == "digits-24"
    assert record is not None
    assert record.network is None
    assert f"none of {NAME} fits the config" in str(record.note)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"space": {"preset": "auto", "expand": [3]}}, SpaceError, "3"),
        (
            {"space": {"preset": "auto", "stages": {"1": {"depth": [1]}}}},
            SpaceError,
            "leave each gene its largest choice",
        ),
        ({"space": {"preset": "auto", "resolution": [16, 64]}}, SpaceError, "resolution 16 is below 32, the stride of"),
        ({"data": {"mean": [0.4, 0.5, 0.5]}}, ConfigError, r"data\.mean: expected"),
    ],
)
def test_a_wrong_setting_does_not_begin_an_automatic_run_from_random_weights(
    change: dict[str, Any], error: type[Exception], words: str, network: PretrainedNetwork
) -> None:
    with pytest.raises(error, match=words):
        resolve_init(config(init=None, **change), unchanged)


def test_a_damaged_network_does_not_begin_an_automatic_run_from_random_weights(
    network: PretrainedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initial_network, "installed_networks", lambda: ["a damaged one", NAME])
    with pytest.raises(WeightsError, match="a damaged one"):
        resolve_init(config(init=None), unchanged)


def test_a_device_without_an_operator_of_the_network_begins_from_random_weights(network: PretrainedNetwork) -> None:
    def unsupported(space: SearchSpace) -> SearchSpace:
        if space.name != "digits-24":
            raise SpaceError("nothing is left of stage 1")
        return space

    space, record = resolve_init(config(init=None), unsupported)
    assert space.name == "digits-24"
    assert record is not None
    assert record.network is None


def test_genes_of_a_missing_network_are_refused_with_the_reason(
    network: PretrainedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initial_network, "installed_networks", list)
    words = (
        r"no pretrained network is installed \(pip install .*The preset digits-24 is taken instead.*stages has no .9"
    )
    with pytest.raises(SpaceError, match=words):
        resolve_init(config({"preset": "auto", "stages": {"9": {"kernel": [3]}}}, init=None), unchanged)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"space": "digits-24"}, SpaceError, "digits-24 does not fit the network: its largest architecture has stem"),
        (
            {"space": {"preset": "auto", "stages": {"1": {"depth": [1]}}}},
            SpaceError,
            "leave each gene its largest choice",
        ),
        ({"space": {"preset": "auto", "resolution": [16, 64]}}, SpaceError, "resolution 16 is below 32, the stride of"),
        ({"space": {"preset": "auto", "resolution": ["big"]}}, SpaceError, "resolutions: expected whole numbers"),
        ({"space": {"preset": "auto", "wideness": [1]}}, SpaceError, "unknown key 'wideness'"),
        ({"data": {"mean": [0.4, 0.5, 0.5]}}, ConfigError, r"data\.mean: expected \[0\.5, 0\.5, 0\.5\], with which"),
        ({"data": {"std": [0.2, 0.2, 0.2]}}, ConfigError, r"data\.std: expected"),
        ({"init": "timm:no_network"}, WeightsError, "timm:no_network"),
    ],
)
def test_what_does_not_fit_a_named_network_is_refused(
    change: dict[str, Any], error: type[Exception], words: str, network: PretrainedNetwork
) -> None:
    with pytest.raises(error, match=words):
        resolve_init(config(**change), unchanged)


def test_another_crop_is_no_other_normalisation(network: PretrainedNetwork, tmp_path: Path) -> None:
    run = start_run(config(data={"crop": 1.0, "limit": 200}), tmp_path / "run")
    assert run.images.dataset.pixels.crop == 1.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": {"init": NAME, "epochs": 0}}, "a number above 0: efficientnet-lite0 has another classifier"),
        ({"train": {"init": "auto", "epochs": 0}}, "a number above 0: auto has another classifier"),
        ({"train": {"init": NAME, "epochs": 1, "zero_last_norm": True}}, "zero_last_norm is for random weights"),
        ({"train": {"init": "runs/other", "epochs": 1}}, "space: auto is the space around a pretrained network"),
        ({"train": {"init": "efficentnet-lite0", "epochs": 1}}, "did you mean 'efficientnet-lite0'"),
        ({"train": {"init": "efficientnet-lite9", "epochs": 1}}, "did you mean 'efficientnet-lite"),
        ({"train": None, "data": None, "num_classes": 3}, "space: auto is the space around a pretrained network"),
        ({"train": {"init": "", "epochs": 1}}, r"train\.init: expected a text of at least 1"),
    ],
)
def test_a_config_that_contradicts_its_network_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config(**change)


@pytest.mark.parametrize(
    "names", [[f"n{number:08}" for number in range(1000)], [f"{i:03}" for i in range(1000)], ["a"]]
)
def test_the_largest_subnet_computes_the_network_and_imagenets_classes_keep_their_classifier(
    names: list[str], network: PretrainedNetwork
) -> None:
    space, _ = resolve_init(config(), unchanged)
    net = SuperNet(space.with_classes(len(names)))
    fresh = net.state_dict()["blocks.head.classifier.weight"].clone()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    load_network(network.module, net, tuple(names), images)
    kept = torch.equal(net.state_dict()["blocks.head.classifier.weight"], fresh)
    assert kept == (not names[0].startswith("n"))
    module = network.module
    # Logits of the largest subnet are its classifier on the features of the network.
    classifier = net.extract(net.space.largest).blocks["head"].classifier
    with torch.no_grad():
        expected = classifier(module.forward_head(module.forward_features(images), pre_logits=True))  # type: ignore[operator]
        actual = net.eval().extract(net.space.largest)(images)
    assert (actual - expected).abs().max() < 1e-4 * expected.abs().max()


def test_a_run_keeps_the_choice_that_it_was_begun_with(
    network: PretrainedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = config(init="auto", data={"limit": 200})
    run = start_run(chosen, tmp_path / "run")
    assert run.images.dataset.pixels.crop == 0.875
    # Another network may be preferred by now.
    monkeypatch.setattr(initial_network, "installed_networks", list)
    again = start_run(chosen, tmp_path / "run")
    assert again.init == run.init
    assert again.space == run.space
    assert again.pretrained is network
    changed = PretrainedNetwork(network.module, FACTS.model_copy(update={"sha256": "1" * 64}))
    monkeypatch.setattr(sources, "load_pretrained", lambda name: changed)
    with pytest.raises(RunFolderError, match="the weights of efficientnet-lite0 changed since this run began"):
        _ = open_run(run.folder).pretrained


@pytest.mark.parametrize("name", ["efficientnet-lite0-run", "runs/efficientnet-lite0", "efficientnet-lite"])
def test_a_run_folder_may_be_named_like_a_network(name: str) -> None:
    train = TrainConfig(init=name, epochs=1)
    assert (train.init_path, train.recipe) == (Path(name), "all-sizes")


def test_a_name_that_is_written_wrong_is_suggested_right() -> None:
    with pytest.raises(RunFolderError, match=r"Lite-1 does not exist: .* did you mean 'efficientnet-lite1'\? valid: "):
        check_init(Path("EfficientNet-Lite-1"), load_space("digits-24"))


@pytest.mark.parametrize(
    ("teacher", "pretrained_recipe", "recipe"),
    [("none", "from-pretrained", "within-budgets"), ("largest", "teacher-first", "all-sizes")],
)
def test_random_weights_are_not_trained_by_the_recipe_for_pretrained_ones(
    teacher: str,
    pretrained_recipe: str,
    recipe: str,
    network: PretrainedNetwork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(initial_network, "installed_networks", list)
    train = {"epochs": 1, "init": "auto", "label_smoothing": 0.1}
    more = {"train": train, "finetune": {"teacher": teacher}, "budgets": ["1s"]}
    chosen = config("digits-24", data={"limit": 200}, **more)
    assert chosen.training.recipe == pretrained_recipe
    run = start_run(chosen, tmp_path / "run")
    # Of the defaults for pretrained weights none is left; what the config states stays.
    training = TrainConfig(recipe=recipe, init="auto", epochs=1, label_smoothing=0.1)
    assert run.config.training == training
    assert (run.config.tuned_candidates, run.config.halves) == (1, False)
    assert open_run(run.folder).config == run.config
    # The same config resumes the run, although a network may be installed by now.
    monkeypatch.setattr(initial_network, "installed_networks", lambda: [NAME])
    assert start_run(chosen, tmp_path / "run").config == run.config


def test_a_plan_states_the_weights_and_judges_the_steps_of_random_ones(
    network: PretrainedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = {"epochs": 0.01, "init": "auto"}

    def planned(space: str) -> dict[str, StagePlan]:
        return {stage.stage: stage for stage in plan_run(config(space, train=train), tmp_path / "run")}

    auto = planned("auto")
    assert auto["train"].what.startswith("from efficientnet-lite0: ")
    assert auto["train"].warning is None
    # The shelf is that one network, at two resolutions.
    assert auto["finetune"].what == "fine-tune up to 4 candidates and 2 of the shelf by successive halving"
    monkeypatch.setattr(initial_network, "installed_networks", list)
    stages = planned("digits-24")
    assert "the chosen subnet" in stages["finetune"].what
    random = stages["train"]
    assert random.what.startswith("from random weights: ")
    assert "would stay near their random start" in str(random.warning)


def test_nothing_is_written_where_a_named_network_cannot_be_had(network: PretrainedNetwork, tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        start_run(config(init="timm:no_network"), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_runs_from_other_weights_have_no_record_of_a_network(tmp_path: Path) -> None:
    run: Run = start_run(config("digits-24", None, {"limit": 200}), tmp_path / "run")
    assert run.init is None
    assert run.pretrained is None
    assert not (run.folder / "init.json").exists()
