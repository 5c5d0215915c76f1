"""`--train-minutes` and `train.init`, from the command line on."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
from small_run import SMALL_CONFIG, SMALL_SPACE, SmallRun, edgenas
from typer.testing import CliRunner

from edgenas.cli.commands import app
from edgenas.config.reading import load_config
from edgenas.errors import RunFolderError
from edgenas.files import read_json
from edgenas.stages.start import start_run
from edgenas.stages.whole_run import run_stages
from edgenas.training.checkpoint import digest


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "other-16.yaml").write_text(SMALL_SPACE.replace("tiny-16", "other-16"))
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def quiet(label: str, done: int, total: int) -> None:
    pass


def test_a_run_is_trained_by_the_clock_from_another_runs_weights(small_run: SmallRun, cwd: Path) -> None:
    arguments = ["--set", f"train.init={small_run.folder}", "--set", "train.learning_rate=1e-9", "--run", "second"]
    done = edgenas("train", "small.yaml", "--train-minutes", "0.001", *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    schedule = read_json(cwd / "second" / "supernet" / "fixed_settings.json")
    assert schedule["minutes"] == 0.001
    assert schedule["init_sha256"] == digest(small_run.folder / "supernet")
    old, new = (
        safetensors.torch.load_file(folder / "supernet" / "checkpoint.safetensors")
        for folder in (small_run.folder, cwd / "second")
    )
    name = "net.blocks.head.classifier.weight"
    assert abs(old[name] - new[name]).max() < 1e-6
    later = edgenas("train", "second", "--train-minutes", "7", cwd=cwd)
    assert later.returncode == 0, later.stderr
    assert f"started with {schedule['steps']} steps (--train-minutes 0.001) and keeps them" in later.stderr


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "many"])
@pytest.mark.parametrize("command", [["train", "x.yaml"], ["run", "x.yaml"], ["demo"]])
def test_minutes_are_a_number_above_zero(command: list[str], minutes: str) -> None:
    shown = CliRunner().invoke(app, [*command, "--train-minutes", minutes])
    assert shown.exit_code == 2
    assert "--train-minutes" in shown.output


def test_a_plan_by_the_clock_says_so(cwd: Path) -> None:
    shown = CliRunner().invoke(app, ["run", "small.yaml", "--plan", "--train-minutes", "90", "--json"])
    assert shown.exit_code == 0, shown.output
    assert '"what": "as many steps as 90 minutes hold"' in shown.output
    assert '"seconds": 5400.0' in shown.output


def test_an_init_of_another_space_is_refused_before_anything_is_written(small_run: SmallRun, cwd: Path) -> None:
    config = load_config(Path("small.yaml"), [f"train.init={small_run.folder}", "space=other-16.yaml"])
    with pytest.raises(
        RunFolderError, match=r"train\.init: expected a supernet of space other-16@\w+, got tiny-16@\w+"
    ):
        start_run(config, Path("run"))
    assert not Path("run").exists()


def test_more_classes_get_a_new_classifier_and_train(small_run: SmallRun, cwd: Path) -> None:
    """As digits cannot change, the checkpoint claims to be of another set."""
    tensors = safetensors.torch.load_file(small_run.folder / "supernet" / "checkpoint.safetensors")
    with safetensors.safe_open(small_run.folder / "supernet" / "checkpoint.safetensors", framework="pt") as file:
        header = file.metadata()["edgenas"].replace('"digits"', '"letters"')
    five = {name: tensor[:5] if ".classifier." in name else tensor for name, tensor in tensors.items()}
    Path("letters.safetensors").write_bytes(safetensors.torch.save(five, {"edgenas": header}))
    config = load_config(Path("small.yaml"), ["train.init=letters.safetensors", "train.epochs=0.1"])
    run = start_run(config, Path("run"))
    run_stages(run, quiet, ["train"])
    trained = safetensors.torch.load_file(run.folder / "supernet" / "checkpoint.safetensors")
    assert trained["net.blocks.head.classifier.weight"].shape[0] == 10
