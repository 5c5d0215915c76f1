"""Options that would do nothing are refused: nothing that the user asks for is passed over in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgenas.cli.commands import app
from edgenas.errors import UserError

NO_TRAINING = """
name: no-training
space: ofa-mbv3-w1.2
accuracy: {predictor: accuracy.safetensors}
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["profile", "digits-24", "--classes", "10", "--budget", "8ms"], "--budget goes with a config"),
        (["export", "run", "--web-runtime", "dist"], "--web-runtime needs the page of --web"),
        (["export", "run", "--web-runtime", "dist", "--zip"], "--web-runtime needs the page of --web"),
        (["tables", "check", "samsung-note10/unknown", "--classes", "10"], "networks of --space: add --space"),
        (["gate", "bundle", "--on", "ssh://pi4"], "no budget is of time: add one"),
        (["gate", "bundle", "--budget", "macs=10M", "--pack", "kit.zip"], "no budget is of time: add one"),
        (["run", "config.yaml", "--train-minutes", "5"], "trains no supernet: leave it out"),
        (["run", "config.yaml", "--train-minutes", "5", "--plan"], "trains no supernet: leave it out"),
        (["train", "config.yaml", "--train-minutes", "5"], "trains no supernet: leave it out"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text(NO_TRAINING)
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, arguments)
    assert isinstance(shown.exception, UserError)
    assert message in str(shown.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        # A report measures nothing.
        (["report", "run", "--pack", "kit.zip"], "--pack"),
        (["report", "run", "--unpack", "results.zip"], "--unpack"),
        (["report", "run", "--on", "pi4=ssh://pi4"], "--on"),
    ],
)
def test_an_option_or_value_without_a_meaning_is_none(arguments: list[str], option: str) -> None:
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 2
    assert option in shown.output
