"""Checkpoints: loading gives what was saved, and files that are no checkpoints are refused unread."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from halves import CLASSES, CONFIG, EVERY_STEP, STEPS, Killed, kill_at, supernet, train
from spaces import SMALL

from edgenas.errors import RunFolderError
from edgenas.files import read_json
from edgenas.space.space import SearchSpace
from edgenas.supernet.pixels import IMAGENET, Pixels
from edgenas.supernet.supernet import SuperNet
from edgenas.training import checkpoint
from edgenas.training.checkpoint import FILE_NAME, Header
from edgenas.training.initial_weights import CLASSIFIER, check_init, load_init, normalisation_note
from edgenas.training.optimizer import make_optimizer

SCHEMA = '"schema_version": 1'


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder `supernet` of a run, with the checkpoint of a finished training."""
    folder = tmp_path_factory.mktemp("run") / "supernet"
    train(folder)
    return folder


@pytest.fixture
def saved(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run" / "supernet")


def resume(folder: Path, net: SuperNet) -> Header | None:
    return checkpoint.resume(folder, net, make_optimizer(net, CONFIG))


def test_a_checkpoint_restores_weights_steps_and_seconds(saved: Path) -> None:
    net, other = supernet(), supernet()
    header = resume(saved, net)
    checkpoint.load(saved, other)
    assert header == Header(STEPS, pytest.approx(header.seconds), SMALL.structure_id, "halves", CLASSES, Pixels())
    assert header.seconds > 0
    torch.testing.assert_close(net.state_dict(), other.state_dict(), rtol=0, atol=0)
    assert not torch.equal(net.blocks["stem"].conv.conv.weight, supernet().blocks["stem"].conv.conv.weight)


def test_the_header_names_space_and_classes(saved: Path) -> None:
    with safetensors.safe_open(saved / FILE_NAME, framework="pt") as file:
        header = json.loads(file.metadata()["edgenas"])
    assert (header["space"], header["num_classes"], header["classes"]) == (SMALL.structure_id, 2, list(CLASSES))


def test_without_a_checkpoint_training_starts_and_loading_fails(tmp_path: Path) -> None:
    assert resume(tmp_path, supernet()) is None
    with pytest.raises(RunFolderError, match="edgenas train"):
        checkpoint.load(tmp_path, supernet())


def test_a_checkpoint_of_another_network_is_refused(saved: Path) -> None:
    for use in (resume, checkpoint.load):
        with pytest.raises(RunFolderError, match="holds another network"):
            use(saved, supernet(num_classes=3))


def with_header(header: str) -> bytes:
    return safetensors.torch.save({"net.x": torch.zeros(1)}, {"edgenas": header})


def pickled(tmp_path: Path, *, zipped: bool) -> bytes:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    return (tmp_path / "x.pth").read_bytes()


FOREIGN = {
    "text": b"not a checkpoint",
    "empty": b"",
    "no header of ours": safetensors.torch.save({"weight": torch.zeros(1)}),
    "header that is no JSON": with_header("{"),
    "header that is a list": with_header("[]"),
    "header without its keys": with_header("{}"),
    "no number of steps": with_header(f'{{{SCHEMA}, "step": "many", "seconds": 1}}'),
    "negative steps": with_header(f'{{{SCHEMA}, "step": -1, "seconds": 1}}'),
    "endless seconds": with_header(f'{{{SCHEMA}, "step": 1, "seconds": Infinity}}'),
    "classes that are none": with_header(f'{{{SCHEMA}, "step": 1, "seconds": 1, "classes": 3}}'),
}


@pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN)
def test_foreign_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(data)
    for use in (resume, checkpoint.load):
        with pytest.raises(RunFolderError, match="is no checkpoint of edgenas"):
            use(tmp_path, supernet())
    with pytest.raises(RunFolderError, match=r"is no checkpoint of edgenas.*expected a run folder"):
        check_init(tmp_path / FILE_NAME, SMALL)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('the pickle was run')",))


@pytest.mark.parametrize("kind", ["zip", "legacy", "plain"])
def test_pickles_are_refused_and_never_run(tmp_path: Path, kind: str) -> None:
    data = pickle.dumps(Bomb()) if kind == "plain" else pickled(tmp_path, zipped=kind == "zip")
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    with pytest.raises(RunFolderError, match="looks like a pickle"):
        load_init(path, supernet(), "halves", CLASSES)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.999])
def test_truncated_checkpoints_are_refused(saved: Path, share: float) -> None:
    path = saved / FILE_NAME
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(RunFolderError, match="delete it to train from scratch"):
        resume(saved, supernet())
    with pytest.raises(RunFolderError, match="is no checkpoint of edgenas"):
        check_init(saved.parent, SMALL)


def test_a_checkpoint_of_a_newer_edgenas_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(with_header('{"schema_version": 99, "step": 1, "seconds": 1.0}'))
    with pytest.raises(RunFolderError, match="upgrade"):
        resume(tmp_path, supernet())
    with pytest.raises(RunFolderError, match="upgrade"):
        check_init(tmp_path / FILE_NAME, SMALL)


def changed(saved: Path, name: str, tensor: torch.Tensor) -> None:
    tensors = safetensors.torch.load_file(saved / FILE_NAME)
    with safetensors.safe_open(saved / FILE_NAME, framework="pt") as file:
        metadata = file.metadata()
    (saved / FILE_NAME).write_bytes(safetensors.torch.save(tensors | {name: tensor}, metadata))


@pytest.mark.parametrize("name", ["optimizer.0.exp_avg", "optimizer.999.exp_avg", "optimizer.x.y", "optimizer.1"])
def test_another_optimisers_state_is_refused(saved: Path, name: str) -> None:
    changed(saved, name, torch.zeros(7, 7))
    with pytest.raises(RunFolderError, match="another optimiser's state"):
        resume(saved, supernet())


def seeded_and_loaded(net: SuperNet, source: Path) -> tuple[set[str], set[str]]:
    """Return the names of the weights of `net` that come from its seed, and of those that come from a checkpoint."""
    stored = safetensors.torch.load_file(source / FILE_NAME)
    fresh = supernet(net.space.num_classes).state_dict()
    state = net.state_dict()
    loaded = {name for name in state if torch.equal(state[name], stored[f"net.{name}"])}
    return {name for name in state if torch.equal(state[name], fresh[name]) and name not in loaded}, loaded


@pytest.mark.parametrize("as_folder", [True, False])
def test_for_the_same_classes_all_weights_are_loaded(saved: Path, as_folder: bool) -> None:
    net = supernet()
    load_init(saved.parent if as_folder else saved / FILE_NAME, net, "halves", CLASSES)
    seeded, loaded = seeded_and_loaded(net, saved)
    assert seeded == set()
    assert loaded == set(net.state_dict())


@pytest.mark.parametrize(
    ("dataset", "classes"),
    [("halves", ("left", "right")), ("others", CLASSES), ("halves", ("a", "b", "c"))],
    ids=["other classes", "another set", "more classes"],
)
def test_for_other_classes_all_but_the_classifier_is_loaded(
    saved: Path, dataset: str, classes: tuple[str, ...]
) -> None:
    net = supernet(len(classes))
    load_init(saved.parent, net, dataset, classes)
    seeded, loaded = seeded_and_loaded(net, saved)
    assert seeded == {f"{CLASSIFIER}weight", f"{CLASSIFIER}bias"}
    assert loaded == set(net.state_dict()) - seeded
    assert any("running_var" in name for name in loaded)


def narrowed(**changes: object) -> SearchSpace:
    return SearchSpace.model_validate(SMALL.model_dump() | changes)


def test_another_space_is_refused_and_both_are_named(saved: Path) -> None:
    other = narrowed(name="other")
    with pytest.raises(RunFolderError, match=f"(?s){other.structure_id}.*{SMALL.structure_id}"):
        check_init(saved.parent, other)


def test_the_same_space_narrowed_differently_is_refused(saved: Path) -> None:
    stages = SMALL.model_dump()["stages"]
    stages[1]["width"] = stages[1]["width"][:1]
    other = narrowed(stages=stages)
    assert other.structure_id == SMALL.structure_id
    with pytest.raises(RunFolderError, match="narrowed differently"):
        check_init(saved.parent, other)


def test_a_checkpoint_without_a_space_is_refused(saved: Path) -> None:
    optimizer = make_optimizer(net := supernet(), CONFIG)
    checkpoint.save(saved, net, optimizer, Header(STEPS, 1.0))
    with pytest.raises(RunFolderError, match=f"expected a supernet of space {SMALL.structure_id}, got no supernet in"):
        check_init(saved.parent, SMALL)


def test_weights_that_are_not_finite_are_refused(saved: Path) -> None:
    name = "net.blocks.stem.conv.conv.weight"
    changed(saved, name, torch.full_like(safetensors.torch.load_file(saved / FILE_NAME)[name], torch.nan))
    with pytest.raises(RunFolderError, match="weights that are not finite"):
        load_init(saved.parent, supernet(), "halves", CLASSES)


def test_another_normalisation_than_that_of_the_weights_is_noted(saved: Path) -> None:
    assert normalisation_note(saved.parent, SMALL, Pixels(crop=0.5)) is None
    note = normalisation_note(saved.parent, SMALL, IMAGENET)
    assert note is not None
    assert "was trained with data.mean [0.5, 0.5, 0.5]" in note
    assert "this run has [0.485, 0.456, 0.406]" in note


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_missing_init_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunFolderError, match=rf"{name}.* does not exist: expected a run folder"):
        check_init(tmp_path / name, SMALL)


def test_training_starts_from_the_init_and_records_its_digest(saved: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"init": str(saved.parent), "learning_rate": 1e-12, "epochs": 0.2})
    started = train(tmp_path / "new", config)
    stored = safetensors.torch.load_file(saved / FILE_NAME)
    name = "blocks.stem.conv.conv.weight"
    torch.testing.assert_close(started[name], stored[f"net.{name}"], rtol=0, atol=1e-6)
    assert read_json(tmp_path / "new" / "fixed_settings.json")["init_sha256"] == checkpoint.digest(saved)


@pytest.mark.parametrize("change", ["vanished", "changed"])
def test_with_a_checkpoint_the_init_is_no_longer_needed(saved: Path, tmp_path: Path, change: str) -> None:
    config = EVERY_STEP.model_copy(update={"init": str(saved.parent)})
    straight = train(tmp_path / "straight", config)
    with pytest.raises(Killed):
        train(tmp_path / "cut", config, kill_at(2))
    if change == "vanished":
        shutil.rmtree(saved)
    else:
        changed(saved, "net.blocks.stem.conv.conv.weight", torch.zeros(1))
    torch.testing.assert_close(train(tmp_path / "cut", config), straight, rtol=0, atol=0)


def test_before_the_first_checkpoint_another_init_is_refused(saved: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"init": str(saved.parent)})
    with pytest.raises(Killed):
        train(tmp_path / "cut", config, kill_at(2))
    optimizer = make_optimizer(net := supernet(), CONFIG)
    checkpoint.save(saved, net, optimizer, Header(1, 1.0, SMALL.structure_id, "halves", CLASSES))
    with pytest.raises(RunFolderError, match="changed since this training began"):
        train(tmp_path / "cut", config)
    shutil.rmtree(saved)
    with pytest.raises(RunFolderError, match="does not exist"):
        train(tmp_path / "cut", config)
