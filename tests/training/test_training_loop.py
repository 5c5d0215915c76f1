from pathlib import Path

import pytest
import safetensors.torch
import torch
from spaces import SMALL, random_archs
from torch import Tensor

from edgenas.config import AugmentConfig, TrainConfig
from edgenas.errors import DataError, EdgenasError, RunFolderError
from edgenas.files import read_jsonl
from edgenas.supernet.supernet import SuperNet
from edgenas.training import checkpoint, loop
from edgenas.training.data import Dataset, Split
from edgenas.training.losses import distillation_loss, hard_loss
from edgenas.training.preprocess import Preprocess

CONFIG = TrainConfig(epochs=1, batch_size=8, learning_rate=3e-3, augment=AugmentConfig(shift=0.1, flip=True))
STEPS = 6


class Killed(Exception):
    pass


def quiet(label: str, done: int, total: int) -> None:
    pass


def problem(train: int = 8 * STEPS) -> Dataset:
    """Two classes told apart by which half of the picture is bright."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        labels = torch.arange(count) % 2
        pictures = torch.randint(0, 100, (count, 1, 12, 12), generator=generator)
        pictures[labels == 1, :, 6:] += 120
        pictures[labels == 0, :, :6] += 120
        return Split(pictures.to(torch.uint8), labels)

    return Dataset("halves", ("top", "bottom"), split(train), split(20), split(20))


def supernet() -> SuperNet:
    torch.manual_seed(1)
    return SuperNet(SMALL, num_classes=2)


def train(folder: Path, config: TrainConfig = CONFIG, progress: loop.Progress = quiet) -> dict[str, Tensor]:
    net = supernet()
    loop.train(net, problem(), config, seed=5, folder=folder, progress=progress)
    return net.state_dict()


def kill_at(step: int) -> loop.Progress:
    def progress(label: str, done: int, total: int) -> None:
        if done == step:
            raise Killed

    return progress


def test_the_loss_falls_and_the_subnets_learn(tmp_path: Path) -> None:
    net, dataset = supernet(), problem()
    # No flips are needed here, but they must not hurt a task of top and bottom.
    config = CONFIG.model_copy(update={"epochs": 8.0})
    result = loop.train(net, dataset, config, seed=5, folder=tmp_path, progress=quiet)
    losses = [row["loss"] for row in read_jsonl(tmp_path / "training.jsonl") if row["kind"] == "step"]
    assert len(losses) == 8 * STEPS
    assert sum(losses[-6:]) < 0.2 * sum(losses[:6])
    assert min(loop.validate(net, dataset).values()) >= 0.9
    assert result.params == sum(parameter.numel() for parameter in net.parameters())
    assert result.images_per_second == pytest.approx(8 * STEPS * 8 / result.train_seconds)


def test_progress_and_log_tell_every_step(tmp_path: Path) -> None:
    told = []
    train(tmp_path, progress=lambda *state: told.append(state))
    assert told == [("training", step, STEPS) for step in range(1, STEPS + 1)]
    rows = read_jsonl(tmp_path / "training.jsonl")
    assert [row["step"] for row in rows if row["kind"] == "step"] == list(range(STEPS))
    scores = [row["top1"] for row in rows if row["kind"] == "validation"]
    assert len(scores) >= loop.VALIDATIONS
    assert all(set(score) == {"smallest", "largest"} and 0 <= min(score.values()) <= 1 for score in scores)


def test_equal_seeds_give_equal_weights(tmp_path: Path) -> None:
    one, other = train(tmp_path / "a"), train(tmp_path / "b")
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("killed", [1, 4])
def test_resumed_training_equals_undisturbed_training_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: int
) -> None:
    straight = train(tmp_path / "straight")
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    with pytest.raises(Killed):
        train(tmp_path / "cut", progress=kill_at(killed))
    steps: list[int] = []
    resumed = train(tmp_path / "cut", progress=lambda _, done, total: steps.append(done))
    assert steps == list(range(killed + 1, STEPS + 1))
    torch.testing.assert_close(resumed, straight, rtol=0, atol=0)


def test_a_kill_between_checkpoints_repeats_the_steps_since(tmp_path: Path) -> None:
    straight = train(tmp_path / "straight")
    with pytest.raises(Killed):
        train(tmp_path / "cut", progress=kill_at(3))
    torch.testing.assert_close(train(tmp_path / "cut"), straight, rtol=0, atol=0)


def test_finished_training_is_not_done_again(tmp_path: Path) -> None:
    finished = train(tmp_path)
    told: list[int] = []
    again = train(tmp_path, progress=lambda _, done, total: told.append(done))
    assert not told
    torch.testing.assert_close(again, finished, rtol=0, atol=0)


def test_a_loss_that_is_not_finite_stops_training_and_names_the_step(tmp_path: Path) -> None:
    with pytest.raises(EdgenasError, match=r"the loss is (nan|inf) at step [1-5]: lower train.learning_rate"):
        train(tmp_path, CONFIG.model_copy(update={"learning_rate": 1e30}))


def test_no_checkpoint_holds_weights_that_are_not_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Rows are logged less often than checkpoints may be due.
    monkeypatch.setattr(loop, "LOG_ROWS", 1)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    with pytest.raises(EdgenasError, match="the loss is"):
        train(tmp_path, CONFIG.model_copy(update={"learning_rate": 1e30}))
    saved = safetensors.torch.load_file(tmp_path / checkpoint.FILE_NAME)
    assert all(tensor.isfinite().all() for tensor in saved.values())


def test_gradients_of_a_step_are_the_sum_over_its_archs() -> None:
    generator = torch.Generator().manual_seed(2)
    pictures = torch.randint(0, 256, (6, 1, 20, 20), dtype=torch.uint8, generator=generator)
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    archs = [SMALL.largest, SMALL.smallest, *random_archs(SMALL, 1)]
    net, reference = supernet().train(), supernet().train()
    loss = loop.sandwich_backward(net, pictures, labels, archs, label_smoothing=0.1)
    logits = [reference(Preprocess(arch.resolution)(pictures), arch) for arch in archs]
    expected = hard_loss(logits[0], labels, 0.1)
    (expected + sum(distillation_loss(student, logits[0].detach()) for student in logits[1:])).backward()
    torch.testing.assert_close(loss, expected.detach())
    for (name, found), wanted in zip(net.named_parameters(), reference.parameters(), strict=True):
        assert (found.grad is None) == (wanted.grad is None)
        if found.grad is not None:
            torch.testing.assert_close(found.grad, wanted.grad, msg=name)


def test_weight_decay_acts_on_matrices_alone() -> None:
    net = supernet()
    optimizer = loop.make_optimizer(net, CONFIG)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert set(decay) == {id(parameter) for parameter in net.parameters()}
    for name, parameter in net.named_parameters():
        vector = ".norm." in name or name.endswith("bias")
        assert decay[id(parameter)] == (0.0 if vector else CONFIG.weight_decay), name


@pytest.mark.parametrize(("epochs", "images", "steps"), [(1, 48, 6), (2.5, 50, 15), (0.01, 48, 1)])
def test_steps_are_whole_batches_of_so_many_epochs(epochs: float, images: int, steps: int) -> None:
    assert loop.count_steps(CONFIG.model_copy(update={"epochs": epochs}), images) == steps


def test_a_batch_larger_than_the_split_is_refused() -> None:
    with pytest.raises(DataError, match="batch_size is 8, but there are only 7"):
        loop.count_steps(CONFIG, 7)


def test_the_compute_device_is_cuda_only_where_torch_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert loop.compute_device("auto") == loop.compute_device("cpu") == torch.device("cpu")
    with pytest.raises(EdgenasError, match="no CUDA device"):
        loop.compute_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert loop.compute_device("auto") == loop.compute_device("cuda") == torch.device("cuda")
    assert loop.compute_device("cpu") == torch.device("cpu")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with the checkpoint of a finished training."""
    train(tmp_path)
    return tmp_path


def resume(folder: Path, net: SuperNet) -> tuple[int, float]:
    return checkpoint.resume(folder, net, loop.make_optimizer(net, CONFIG))


def test_a_checkpoint_gives_back_weights_steps_and_seconds(saved: Path) -> None:
    net, other = supernet(), supernet()
    steps, seconds = resume(saved, net)
    checkpoint.load(saved, other)
    assert steps == STEPS
    assert seconds > 0
    torch.testing.assert_close(net.state_dict(), other.state_dict(), rtol=0, atol=0)
    assert not torch.equal(net.blocks["stem"].conv.conv.weight, supernet().blocks["stem"].conv.conv.weight)


def test_without_a_checkpoint_training_starts_and_loading_fails(tmp_path: Path) -> None:
    assert resume(tmp_path, supernet()) == (0, 0.0)
    with pytest.raises(RunFolderError, match="edgenas train"):
        checkpoint.load(tmp_path, supernet())


def test_a_checkpoint_of_another_network_is_refused(saved: Path) -> None:
    for use in (resume, checkpoint.load):
        with pytest.raises(RunFolderError, match="holds another network"):
            use(saved, SuperNet(SMALL, num_classes=3))


def with_header(header: str) -> bytes:
    return safetensors.torch.save({"net.x": torch.zeros(1)}, {"edgenas": header})


FOREIGN = {
    "text": b"not a checkpoint",
    "empty": b"",
    "no header of ours": safetensors.torch.save({"weight": torch.zeros(1)}),
    "header that is no JSON": with_header("{"),
    "header without its keys": with_header("{}"),
}


@pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN)
def test_foreign_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / checkpoint.FILE_NAME).write_bytes(data)
    for use in (resume, checkpoint.load):
        with pytest.raises(RunFolderError, match="is no checkpoint of edgenas"):
            use(tmp_path, supernet())


@pytest.mark.parametrize("share", [0.001, 0.3, 0.999])
def test_truncated_checkpoints_are_refused(saved: Path, share: float) -> None:
    path = saved / checkpoint.FILE_NAME
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(RunFolderError, match="delete it to train anew"):
        resume(saved, supernet())


def test_a_checkpoint_of_a_newer_edgenas_is_refused(tmp_path: Path) -> None:
    header = '{"schema_version": 99, "step": 1, "seconds": 1.0}'
    (tmp_path / checkpoint.FILE_NAME).write_bytes(with_header(header))
    with pytest.raises(RunFolderError, match="upgrade"):
        resume(tmp_path, supernet())
