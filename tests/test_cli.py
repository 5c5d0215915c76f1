"""The command line without a run: help, plans, devices, tables, and mistakes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal, get_origin

import pytest
import typer
import yaml
from killing import python_path
from small_run import SMALL_CONFIG, SMALL_SPACE, edgenas
from typer.testing import CliRunner

from edgenas.cli.commands import app
from edgenas.cli.commands_page import commands_page, leaves
from edgenas.cli.options import Panel
from edgenas.latency.device import device_names, load_device
from edgenas.latency.table import find_table, table_names

REPOSITORY = Path(__file__).parent.parent
COMMANDS = ["demo", "run", "profile", "train", "search", "verify", "export", "report", "status", "inspect"]
COMMANDS += ["gate", "compare", "import ofa", "import ofa-accuracy", "evaluate", "finetune"]
COMMANDS += ["study ranking", "study baselines", "study strategies"]
COMMANDS += ["space from", "spaces"]
COMMANDS += ["devices list", "devices show", "devices probe", "data check"]
COMMANDS += [f"tables {name}" for name in ("list", "show", "check", "diff", "merge", "import")]
GROUPS = ("data", "devices", "import", "space", "study", "tables")


def documented_commands() -> list[str]:
    """Return every `edgenas …` line of a code block in the project's Markdown pages."""
    commands = []
    for page in sorted(REPOSITORY.glob("*.md")) + sorted(REPOSITORY.glob("*/*.md")):
        # Blocks of every language, in order: the end of one must not be taken for the beginning of the next.
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
        for block in (text for language, text in blocks if language in ("", "sh")):
            commands += re.findall(r"^(?:\$ )?(?:.*/)?edgenas ([a-z][^\n&|#]*)", block, re.MULTILINE)
    return sorted(set(commands))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    shown = CliRunner().invoke(app, [*command.split(), "--help"])
    assert shown.exit_code == 0
    assert "--json" in shown.output


@pytest.mark.parametrize("command", documented_commands())
def test_documented_commands_exist(command: str) -> None:
    words = shlex.split(command)
    name = " ".join(words[:2]) if words[0] in GROUPS else words[0]
    assert name in COMMANDS
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*name.split(), "--help"]).output
    for option in (word.split("=")[0] for word in words if word.startswith("--")):
        assert option in shown


def test_the_readme_documents_every_command() -> None:
    documented = "\n".join(documented_commands())
    assert [name for name in COMMANDS if name not in documented] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_quiet_and_speak_json(command: str) -> None:
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*command.split(), "--help"])
    assert {"--json", "--quiet"} <= set(re.findall(r"--\w+", shown.output))


def parameters() -> list[tuple[str, str, Any]]:
    """Return command, flag and parameter of every option of every command."""
    commands = leaves(typer.main.get_command(app), "edgenas")
    return [
        (path, flag, parameter)
        for path, command in commands
        for parameter in command.params
        for flag in parameter.opts
        if flag.startswith("--")
    ]


def test_a_flag_has_one_type_in_all_commands() -> None:
    types = defaultdict(set)
    for _, flag, parameter in parameters():
        annotation = parameter.type_descriptor.annotation
        types[flag].add(str if get_origin(annotation) is Literal else annotation)
    # `devices probe` describes one device, all other commands reach several.
    assert {flag for flag, kinds in types.items() if len(kinds) > 1} == {"--on"}


def test_every_flag_of_minutes_names_what_it_limits() -> None:
    assert {flag for _, flag, _ in parameters() if "minutes" in flag} == {
        # Of the whole run.
        "--minutes",
        "--train-minutes",
        "--device-minutes",
        "--baseline-minutes",
    }


def test_help_groups_commands_in_panels() -> None:
    shown = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["--help"]).output
    panels = re.findall(r"^╭─ (\w+) ─", shown, re.MULTILINE)
    assert panels == ["Options", *Panel]


def test_the_page_of_commands_is_what_help_says() -> None:
    page = (REPOSITORY / "examples" / "COMMANDS.md").read_text()
    assert page == commands_page(), "write it again: python -m edgenas.cli.commands_page > examples/COMMANDS.md"
    assert set(re.findall(r"^## edgenas (.+)$", page, re.MULTILINE)) == set(COMMANDS)


def begun_run(folder: Path) -> Path:
    """Return the folder of a run without any finished stage."""
    folder.mkdir()
    (folder / "config.yaml").write_text(SMALL_CONFIG.replace("tiny-16.yaml", "digits-24"))
    (folder / "space.yaml").write_text(SMALL_SPACE)
    return folder


def test_help_and_status_load_no_slow_library(tmp_path: Path) -> None:
    code = f"""
import sys
from typer.testing import CliRunner
from edgenas.cli.commands import app
for words in (["--help"], ["status", {str(begun_run(tmp_path / "run"))!r}]):
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
print(*{{name.partition(".")[0] for name in sys.modules}})
"""
    environment = {**os.environ, "PYTHONPATH": python_path()}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"edgenas", "typer"} <= (loaded := set(done.stdout.split()))
    assert not loaded & {"torch", "pymoo", "onnxruntime", "sklearn", "pandas", "onnx", "scipy", "matplotlib"}


def test_help_has_no_colour_and_fits_where_there_is_no_terminal(tmp_path: Path) -> None:
    done = edgenas("export", "--help", cwd=tmp_path, environment={"COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell: str, tmp_path: Path) -> None:
    shown = {"bash": ("complete_bash", {"COMP_WORDS": "edgenas exp", "COMP_CWORD": "1"})}
    shown["zsh"] = ("complete_zsh", {"_TYPER_COMPLETE_ARGS": "edgenas exp"})
    shown["fish"] = (
        "complete_fish",
        {"_TYPER_COMPLETE_ARGS": "edgenas exp", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    )
    how, words = shown[shell]
    runner = CliRunner(env={"_EDGENAS_COMPLETE": how, **words})
    assert "export" in runner.invoke(app, [], prog_name="edgenas").output


def test_plan_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG)
    before = sorted(tmp_path.rglob("*"))
    done = edgenas("run", "small.yaml", "--plan", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert [stage["stage"] for stage in plan["stages"]] == ["profile", "train", "search", "verify", "export", "report"]
    assert all(stage["seconds"] > 0 and not stage["done"] for stage in plan["stages"])
    assert sorted(tmp_path.rglob("*")) == before


def test_probe_writes_a_device_that_loads(tmp_path: Path) -> None:
    target = tmp_path / "my-machine.yaml"
    shown = CliRunner().invoke(app, ["devices", "probe", str(target), "--threads", "2"])
    assert shown.exit_code == 0
    assert load_device(target).run.threads == 2
    assert load_device(target).name == "my-machine"
    before = target.read_text()
    CliRunner().invoke(app, ["devices", "probe", str(target)])
    assert target.read_text() == before


@pytest.mark.parametrize("name", device_names())
def test_shipped_devices_are_shown(name: str) -> None:
    shown = CliRunner().invoke(app, ["devices", "show", name])
    assert yaml.safe_load(shown.output)["name"] == name


@pytest.mark.parametrize("name", table_names())
def test_shipped_tables_are_shown(name: str) -> None:
    shown = CliRunner().invoke(app, ["tables", "show", name, "--json"])
    assert len(json.loads(shown.output)["rows"]) == len(find_table(name).rows)


def test_lists_name_what_ships() -> None:
    listed = json.loads(CliRunner().invoke(app, ["devices", "list", "--json"]).output)
    assert [device["name"] for device in listed["devices"]] == device_names()
    assert json.loads(CliRunner().invoke(app, ["tables", "list", "--json"]).output)["tables"] == table_names()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "missing.yaml"], "missing.yaml does not exist"),
        (["run", "config.yaml", "--set", "search.evaluation=3"], "did you mean 'search.evaluations'"),
        (["run", "config.yaml", "--set", "space=mobile-33"], "did you mean 'mobile-32'"),
        (["run", "config.yaml", "--set", "data.name=mnist"], "did you mean 'fashion-mnist'? valid: "),
        (["run", "config.yaml", "--budget", "8"], "expected a number with a unit"),
        (["run", "config.yaml", "--set", "devices=[nowhere]"], "nowhere"),
        (["run", "config.yaml", "--budget", "pi9=8ms"], "pi9"),
        (["status", "."], "no run folder"),
        (["search", "begun"], "has not been done"),
        (["run", "config.yaml", "--plan", "--set", "devices=[nowhere]"], "nowhere"),
        (["run", "config.yaml", "--set", "devices=[other.yaml]"], "device other has cpu Abacus"),
        (["run", "config.yaml", "--set", "name=.."], "name"),
        (["run", "config.yaml", "--pack", "kit.zip"], "--pack is for devices out of reach"),
        (["run", "config.yaml", "--unpack", "results.zip"], "--unpack is for devices out of reach"),
        (["run", "config.yaml", "--set", "schema_version=99"], "schema_version"),
        (["devices", "probe", "my device.yaml"], "my device"),
        (["devices", "show", "nowhere"], "nowhere"),
        (["tables", "show", "nowhere"], "nowhere"),
        (["fly"], "No such command"),
        (["run"], "Missing argument"),
    ],
)
def test_mistakes_get_one_message_and_exit_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    config = SMALL_CONFIG.replace("tiny-16.yaml", "digits-24")
    (tmp_path / "config.yaml").write_text(config)
    begun_run(tmp_path / "begun")
    (tmp_path / "other.yaml").write_text("{schema_version: 1, name: other, cpu: Abacus, os: Linux}")
    done = edgenas(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
