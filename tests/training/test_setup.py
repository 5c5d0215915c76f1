"""The start of a training: number of steps, fixed settings, and compute device."""

from pathlib import Path

import pytest
import torch
from halves import CONFIG, STEPS, Killed, kill_at, problem, quiet, supernet, train, warnings

from edgenas.errors import DataError, EdgenasError, RunFolderError
from edgenas.files import read_json, read_jsonl, write_json
from edgenas.records.train import FixedSettings
from edgenas.training import setup
from edgenas.training.fixed_settings import FILE_NAME, warn_if_minutes_differ
from edgenas.training.trainer import Trainer

SETTINGS = FixedSettings(steps=9, minutes=2.0, init_sha256=None, circumstances={})


class Clock:
    """A clock that advances by a tenth of a second at every reading."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 0.1
        return self.now

    monotonic = perf_counter


def test_minutes_become_the_steps_that_fit_beside_timing_and_validations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "time", Clock())
    # Every step takes 0.1 s: seven of them are done to time them, five validations will follow, each of 0.1 s too.
    trainer = Trainer(supernet(), CONFIG, 5, 0)
    steps = [setup.steps_within(minutes, trainer, problem(), quiet, timed_steps=4) for minutes in (2.0, 3.0)]
    assert steps == [pytest.approx(1200 - 7 - 5, abs=4), pytest.approx(1800 - 7 - 5, abs=4)]


def test_timing_does_not_change_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed, measured = setup.steps_within, []

    def five(*arguments: object) -> int:
        measured.append(timed(*arguments))
        return 5

    monkeypatch.setattr(setup, "steps_within", five)
    by_the_clock = train(tmp_path / "clock", minutes=1 / 60)
    by_epochs = train(tmp_path / "epochs", CONFIG.model_copy(update={"epochs": 5 / STEPS}))
    assert measured
    torch.testing.assert_close(by_the_clock, by_epochs, rtol=0, atol=0)


def test_too_few_minutes_give_one_step(tmp_path: Path) -> None:
    train(tmp_path, minutes=1e-6)
    assert read_json(tmp_path / "fixed_settings.json")["steps"] == 1


@pytest.mark.parametrize("later", [None, 2.0, 5.0])
def test_the_number_of_steps_is_fixed_by_the_first_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: float | None
) -> None:
    monkeypatch.setattr(setup, "steps_within", lambda *arguments: 9)
    with pytest.raises(Killed):
        train(tmp_path, progress=kill_at(2), minutes=2.0)
    monkeypatch.setattr(setup, "steps_within", lambda *arguments: 4)
    train(tmp_path, minutes=later)
    settings = read_json(tmp_path / "fixed_settings.json")
    assert (settings["steps"], settings["minutes"]) == (9, 2.0)
    assert [row["step"] for row in read_jsonl(tmp_path / "training.jsonl") if row["kind"] == "step"][-1] == 8


@pytest.mark.parametrize(("minutes", "warned"), [(None, False), (2.0, False), (5.0, True)])
def test_minutes_without_effect_are_warned_of(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    minutes: float | None,
    warned: bool,
) -> None:
    SETTINGS.write(tmp_path / FILE_NAME)
    warn_if_minutes_differ(tmp_path, minutes)
    expected = "9 steps (--train-minutes 2) and keeps them: for --train-minutes 5"
    assert [expected in note for note in warnings(caplog)] == [True] * warned


def test_broken_settings_are_named(tmp_path: Path) -> None:
    SETTINGS.write(tmp_path / FILE_NAME)
    write_json(tmp_path / "fixed_settings.json", read_json(tmp_path / "fixed_settings.json") | {"steps": -1})
    with pytest.raises(RunFolderError, match=r"fixed_settings\.json: steps: expected a number of at least 0, got -1"):
        train(tmp_path)


@pytest.mark.parametrize(("epochs", "images", "steps"), [(1, 48, 6), (2.5, 50, 15), (0.01, 48, 1)])
def test_steps_are_whole_batches_of_so_many_epochs(epochs: float, images: int, steps: int) -> None:
    assert setup.count_steps(CONFIG.model_copy(update={"epochs": epochs}), images) == steps


def test_a_batch_larger_than_the_split_is_refused() -> None:
    with pytest.raises(DataError, match="batch_size is 8, but there are only 7"):
        setup.count_steps(CONFIG, 7)


def test_the_compute_device_is_cuda_only_where_torch_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert setup.compute_device("auto") == setup.compute_device("cpu") == torch.device("cpu")
    with pytest.raises(EdgenasError, match="no CUDA device"):
        setup.compute_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert setup.compute_device("auto") == setup.compute_device("cuda") == torch.device("cuda")
    assert setup.compute_device("cpu") == torch.device("cpu")
