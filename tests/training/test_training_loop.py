"""The training loop: convergence, logs, and bit-identical resuming."""

import csv
import random
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch
from forked import Forked
from halves import CONFIG, EVERY_STEP, STEPS, Killed, kill_at, main, problem, quiet, supernet, train, warnings
from killing import kill_when
from spaces import SMALL, random_archs

from edgenas.config.train_config import AugmentConfig
from edgenas.errors import EdgenasError
from edgenas.files import read_json, read_jsonl, write_json
from edgenas.training import checkpoint
from edgenas.training import training_log as log
from edgenas.training import training_loop as loop
from edgenas.training.data.preprocess import Preprocess
from edgenas.training.losses import distillation_loss, hard_loss
from edgenas.training.optimizer import make_optimizer
from edgenas.training.recipe import StepPlan
from edgenas.training.trainer import validate
from edgenas.training.training_step import accumulate_gradients


def test_the_loss_falls_and_the_subnets_learn(tmp_path: Path) -> None:
    net, dataset = supernet(), problem()
    # No flips are needed here, but they must not hurt a task of top and bottom.
    config = CONFIG.model_copy(update={"epochs": 8.0})
    result = loop.train(net, dataset, config, seed=5, folder=tmp_path, progress=quiet)
    losses = [row["loss"] for row in read_jsonl(tmp_path / "training.jsonl") if row["kind"] == "step"]
    assert len(losses) == 8 * STEPS
    assert sum(losses[-6:]) < 0.2 * sum(losses[:6])
    assert min(validate(net, dataset).values()) >= 0.9
    assert result.params == sum(parameter.numel() for parameter in net.parameters())
    assert result.images_per_second == pytest.approx(8 * STEPS * 8 / result.train_seconds)


def test_progress_and_log_report_every_step(tmp_path: Path) -> None:
    reports = []
    train(tmp_path, progress=lambda *report: reports.append(report))
    assert [(label.partition(":")[0], *state) for label, *state in reports] == [
        ("training", step, STEPS) for step in range(1, STEPS + 1)
    ]
    assert all(re.search(r": [\d,]+ images/s", label) for label, *_ in reports)
    assert re.search(r", smallest [\d.]+%, middle [\d.]+%, largest [\d.]+%$", reports[-1][0])
    rows = read_jsonl(tmp_path / "training.jsonl")
    assert [row["step"] for row in rows if row["kind"] == "step"] == list(range(STEPS))
    scores = [row["top1"] for row in rows if row["kind"] == "validation"]
    assert len(scores) >= CONFIG.validations
    assert all(set(score) == {"smallest", "middle", "largest"} and 0 <= min(score.values()) <= 1 for score in scores)


def test_the_table_has_the_rows_of_the_log(tmp_path: Path) -> None:
    train(tmp_path)
    rows = read_jsonl(tmp_path / "training.jsonl")
    steps = {row["step"]: row for row in rows if row["kind"] == "step"}
    scores = {row["step"]: row["top1"] for row in rows if row["kind"] == "validation"}
    with open(tmp_path / log.TABLE_NAME, newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [int(row["step"]) for row in table] == sorted(steps)
    for row in table:
        step = int(row["step"])
        assert float(row["loss"]) == steps[step]["loss"]
        assert row["top1_middle"] == (str(scores[step]["middle"]) if step in scores else "")


def test_the_expected_duration_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loop, "ESTIMATE_AFTER_SECONDS", 0.0)
    train(tmp_path)
    (note,) = [record.getMessage() for record in caplog.records if "takes about" in record.getMessage()]
    assert re.fullmatch(r"note: training takes about \d+ seconds in all, \d+ seconds from now on", note)


@pytest.mark.parametrize(("seconds", "text"), [(61, "61 seconds"), (119, "2 minutes"), (6000, "1.7 hours")])
def test_durations_have_a_suitable_unit(seconds: float, text: str) -> None:
    assert loop._duration_text(seconds) == text


def test_equal_seeds_give_equal_weights(tmp_path: Path) -> None:
    one, other = train(tmp_path / "a"), train(tmp_path / "b")
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_resumed_training_repeats_the_draws_of_strong_augmentation(tmp_path: Path) -> None:
    config = EVERY_STEP.model_copy(update={"recipe": "uniform", "augment": AugmentConfig(level="strong")})
    straight = train(tmp_path / "straight", config)
    with pytest.raises(Killed):
        train(tmp_path / "cut", config, kill_at(3))
    torch.testing.assert_close(train(tmp_path / "cut", config), straight, rtol=0, atol=0)


@pytest.mark.parametrize("killed", [1, 4])
def test_resumed_training_equals_undisturbed_training_bit_for_bit(tmp_path: Path, killed: int) -> None:
    straight = train(tmp_path / "straight")
    with pytest.raises(Killed):
        train(tmp_path / "cut", EVERY_STEP, kill_at(killed))
    steps: list[int] = []
    resumed = train(tmp_path / "cut", progress=lambda _, done, total: steps.append(done))
    assert steps == list(range(killed + 1, STEPS + 1))
    torch.testing.assert_close(resumed, straight, rtol=0, atol=0)


def test_a_kill_between_checkpoints_repeats_the_steps_since(tmp_path: Path) -> None:
    straight = train(tmp_path / "straight")
    with pytest.raises(Killed):
        train(tmp_path / "cut", progress=kill_at(3))
    torch.testing.assert_close(train(tmp_path / "cut"), straight, rtol=0, atol=0)


def test_a_training_killed_at_a_random_step_ends_with_the_undisturbed_bytes(tmp_path: Path) -> None:
    """The process is killed at a step without a checkpoint."""
    epochs = 4
    kill = random.Random(7).randrange(STEPS, epochs * STEPS)
    first, second, errors = (tmp_path / name for name in ("first", "second", "errors"))

    def started(steps: Path, *slow_from: int) -> Forked:
        return Forked(main, tmp_path / "cut", epochs, *slow_from, cwd=tmp_path, stdout=steps, stderr=errors)

    assert kill_when(started(first, kill), lambda: last_step(first) >= kill)
    assert started(second).wait() == 0, errors.read_text()
    assert 1 < int(second.read_text().split()[0]) <= last_step(first) + 2
    train(tmp_path / "straight", CONFIG.model_copy(update={"epochs": epochs}))
    cut, straight = (
        safetensors.torch.load_file(tmp_path / name / checkpoint.FILE_NAME) for name in ("cut", "straight")
    )
    assert cut.keys() == straight.keys()
    assert [name for name in cut if cut[name].numpy().tobytes() != straight[name].numpy().tobytes()] == []
    rows = read_jsonl(tmp_path / "cut" / "training.jsonl")
    assert [row["bit_identical"] for row in rows if row["kind"] == "resume"] == [True]


def last_step(steps: Path) -> int:
    """Return the last step whose line is whole."""
    lines = steps.read_text().split("\n")[:-1] if steps.exists() else []
    return int(lines[-1]) if lines else 0


def interrupted(folder: Path) -> None:
    """Train in `folder` until a kill after three steps, each with a checkpoint."""
    with pytest.raises(Killed):
        train(folder, EVERY_STEP, kill_at(3))


def test_under_other_circumstances_a_resumed_training_warns_that_its_bits_may_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    interrupted(tmp_path)
    settings = read_json(tmp_path / "fixed_settings.json")
    assert settings["circumstances"]["torch"] == torch.__version__
    settings["circumstances"] |= {"torch": "1.0", "threads": 99}
    write_json(tmp_path / "fixed_settings.json", settings)
    train(tmp_path)
    (note,) = warnings(caplog)
    assert "resumes at step 3, but not bit-identical" in note
    assert f"torch was 1.0, is {torch.__version__}, threads was 99" in note
    assert [row["bit_identical"] for row in read_jsonl(tmp_path / "training.jsonl") if row["kind"] == "resume"] == [
        False
    ]


def test_under_equal_circumstances_there_is_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    interrupted(tmp_path)
    train(tmp_path)
    assert warnings(caplog) == []


def test_circumstances_before_the_first_checkpoint_do_not_matter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Killed):
        train(tmp_path, progress=kill_at(1))
    settings = read_json(tmp_path / "fixed_settings.json")
    write_json(tmp_path / "fixed_settings.json", settings | {"circumstances": {"torch": "1.0"}})
    interrupted(tmp_path)
    train(tmp_path)
    assert warnings(caplog) == []


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    finished = train(tmp_path)
    steps: list[int] = []
    again = train(tmp_path, progress=lambda _, done, total: steps.append(done))
    assert not steps
    torch.testing.assert_close(again, finished, rtol=0, atol=0)


def test_a_loss_that_is_not_finite_stops_training_and_names_the_step(tmp_path: Path) -> None:
    with pytest.raises(EdgenasError, match=r"the loss of r\S+ is (nan|inf) at step [1-5]: lower train.learning_rate"):
        train(tmp_path, CONFIG.model_copy(update={"learning_rate": 1e30}))


def test_no_checkpoint_holds_weights_that_are_not_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Log rows are rarer than checkpoints.
    monkeypatch.setattr(log, "LOG_ROWS", 1)
    with pytest.raises(EdgenasError, match="the loss of"):
        train(tmp_path, EVERY_STEP.model_copy(update={"learning_rate": 1e30}))
    saved = safetensors.torch.load_file(tmp_path / checkpoint.FILE_NAME)
    assert all(tensor.isfinite().all() for tensor in saved.values())


def test_gradients_of_a_step_are_the_sum_over_its_archs() -> None:
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (6, 1, 20, 20), dtype=torch.uint8, generator=generator)
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    archs = [SMALL.largest, SMALL.smallest, *random_archs(SMALL, 1)]
    net, reference = supernet().train(), supernet().train()
    loss = accumulate_gradients(net, images, labels, StepPlan(tuple(archs)), label_smoothing=0.1)[0]
    logits = [reference(Preprocess(arch.resolution)(images), arch) for arch in archs]
    expected = hard_loss(logits[0], labels, 0.1)
    (expected + sum(distillation_loss(student, logits[0].detach()) for student in logits[1:])).backward()
    torch.testing.assert_close(loss, expected.detach())
    for (name, actual), parameter in zip(net.named_parameters(), reference.parameters(), strict=True):
        assert (actual.grad is None) == (parameter.grad is None)
        if actual.grad is not None:
            torch.testing.assert_close(actual.grad, parameter.grad, msg=name)


def test_weight_decay_acts_on_matrices_only() -> None:
    net = supernet()
    optimizer = make_optimizer(net, CONFIG)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert set(decay) == {id(parameter) for parameter in net.parameters()}
    for name, parameter in net.named_parameters():
        vector = ".norm." in name or name.endswith("bias")
        assert decay[id(parameter)] == (0.0 if vector else CONFIG.weight_decay), name
