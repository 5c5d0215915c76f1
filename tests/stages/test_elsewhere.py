"""Whole runs on a device that is another machine: over a real SSH server, and by kits that are carried to it."""

from __future__ import annotations

import getpass
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from loopback_ssh import LoopbackSsh, loopback_ssh, needs_sshd
from small_run import SHORT, SMALL_CONFIG, SMALL_SPACE, edgenas

from edgenas.files import read_json, shipped


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackSsh]:
    (tmp_path / "ssh").mkdir()
    with loopback_ssh(tmp_path / "ssh", monkeypatch) as running:
        yield running


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "tiny-16.yaml").write_text(SMALL_SPACE)
    (folder / "small.yaml").write_text(SMALL_CONFIG)
    return folder


def succeed(*words: str, cwd: Path) -> str:
    done = edgenas(*words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_sshd
@pytest.mark.slow
def test_a_whole_run_over_ssh_and_no_file_names_the_place(server: LoopbackSsh, work: Path) -> None:
    place = server.place()
    succeed("devices", "probe", "pi4.yaml", "--on", place, cwd=work)
    assert yaml.safe_load((work / "pi4.yaml").read_text())["run"]["transport"] == "ssh"
    config = ["small.yaml", *SHORT, "--set", "devices=[here, pi4.yaml]"]
    refused = edgenas("profile", *config, cwd=work)
    assert refused.returncode == 2
    assert "give its place with --on pi4=ssh://[user@]host" in refused.stderr
    succeed("profile", *config, "--on", f"pi4={place}", cwd=work)
    # What needs no device needs no place.
    for stage in ("train", "search"):
        succeed(stage, "runs/small", cwd=work)
    succeed("run", *config, "--on", f"pi4={place}", cwd=work)
    summary = read_json(work / "runs" / "small" / "summary.json")
    assert list(summary["predictors"]) == ["here", "pi4"]
    assert server.left_behind() == []
    names = (f"{getpass.getuser()}@", str(server.port), "127.0.0.1")
    for path in (work / "runs").rglob("*"):
        if path.suffix in (".yaml", ".json", ".jsonl", ".csv", ".md"):
            assert not [name for name in names if f"{name}:" in path.read_text()]


@pytest.mark.slow
def test_a_whole_run_by_kits_that_are_carried_to_the_device(work: Path) -> None:
    probed = subprocess.run(
        [sys.executable, str(shipped("export") / "bench.py"), "--probe"], capture_output=True, check=True
    )
    (work / "probe.json").write_bytes(probed.stdout)
    succeed("devices", "probe", "pi4.yaml", "--probed", "probe.json", cwd=work)
    # A budget that all are within: whether the default one is missed, and another kit needed, is chance.
    config = ["small.yaml", "--set", "devices=[pi4.yaml]", "--budget", "pi4=100ms", *SHORT]
    results: list[str] = []
    # The file that ships is measured in a session of its own, so it takes a third kit.
    for stage, folder in (("profile", "latency"), ("verify", "verify"), ("export", "export")):
        output = succeed("run", *config, "--pack", "kit.zip", *results, cwd=work)
        assert "packed kit.zip" in output.replace(str(work) + "/", "")
        assert not (work / "runs" / "small" / folder / "result.json").exists()
        with zipfile.ZipFile(work / "kit.zip") as archive:
            archive.extractall(work / stage)
        done = subprocess.run(
            [sys.executable, "bench.py"], cwd=work / stage, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        results = ["--unpack", str(work / stage / "results.zip")]
    summary = json.loads(succeed("run", *config, *results, "--json", cwd=work))
    assert list(summary["predictors"]) == ["pi4"]
    assert summary["chosen"]["arch"]
