"""SSH: a real server on loopback, its connections cut in mid-run; and far ends that lie."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from loopback_ssh import LoopbackSsh, loopback_ssh, needs_sshd
from onnx import TensorProto, helper

from edgenas.errors import ConfigError, MeasurementError
from edgenas.files import read_jsonl
from edgenas.latency.device import Device, probe
from edgenas.profiling import ssh_connection as connection
from edgenas.profiling.measurement import PROCESSES
from edgenas.profiling.session import measure_networks
from edgenas.profiling.ssh_connection import SshPlace, parse_place
from edgenas.profiling.transport import Job
from edgenas.profiling.transports.ssh import SshTransport, probe_at


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackSsh]:
    (tmp_path / "ssh").mkdir()
    monkeypatch.setattr(connection, "FIRST_PAUSE_SECONDS", 0.05)
    with loopback_ssh(tmp_path / "ssh", monkeypatch) as running:
        yield running


def make_model(path: Path, nodes: int = 1) -> Path:
    names = [f"t{number}" for number in range(nodes + 1)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in (names[0], names[-1])]
    relus = [helper.make_node("Relu", [a], [b]) for a, b in itertools.pairwise(names)]
    graph = helper.make_graph(relus, "tiny", [values[0]], [values[1]])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def models(folder: Path) -> tuple[Path, ...]:
    return tuple(make_model(folder / f"{number}.onnx", number) for number in (1, 2, 3))


@needs_sshd
def test_a_machine_elsewhere_says_what_it_is(server) -> None:
    here, there = probe(), probe_at(parse_place(server.place()))
    assert (there.cpu, there.cores, there.isa, there.memory_bytes) == (
        here.cpu,
        here.cores,
        here.isa,
        here.memory_bytes,
    )
    assert there.device("pi4", "ssh", 2).os == here.os
    assert server.left_behind() == []


@needs_sshd
@pytest.mark.slow
def test_when_the_connection_is_cut_nothing_is_lost_and_nothing_left(server, tmp_path, caplog) -> None:
    networks = {path.stem: path for path in models(tmp_path)}
    out, cuts = tmp_path / "rows.jsonl", []

    def cutting() -> None:
        # Each time that rows of another process of the timer have come.
        for rows in (0, 3, 9):
            while len(read_jsonl(out)) < rows or not list(server.temporary.glob("edgenas-*/pid")):
                time.sleep(0.02)
            # A connection may end by itself between the look and the cut.
            while not (cut := server.cut()):
                time.sleep(0.02)
            cuts.append(cut)

    cutter = threading.Thread(target=cutting, daemon=True)
    cutter.start()
    found = measure_networks(
        networks, probe(), rounds=4 * PROCESSES, seed=0, out=out, transport=SshTransport(parse_place(server.place()))
    )
    cutter.join(timeout=60)
    assert list(found) == ["1", "2", "3"]
    assert len(cuts) == 3
    assert all(cuts)
    lines = read_jsonl(out)
    assert sorted((line["name"][3], line["process"]) for line in lines) == [
        (name, process) for name in networks for process in range(PROCESSES)
    ]
    assert "was lost" in caplog.text
    assert server.left_behind() == []


@needs_sshd
@pytest.mark.slow
def test_a_model_that_the_machine_cannot_run_is_named_and_the_others_come(server, tmp_path) -> None:
    broken = make_model(tmp_path / "broken.onnx")
    model = onnx.load(broken)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, broken)
    jobs = [Job((broken, *models(tmp_path)), 2, seed) for seed in (0, 1)]
    steps = []
    timed = list(SshTransport(parse_place(server.place())).time(jobs, probe(), lambda *step: steps.append(step)))
    assert [(one.job, one.model) for one in timed if "error" in one.row] == [(0, 0)]
    assert {(one.job, one.model) for one in timed if "error" not in one.row} == {
        (j, m) for j in (0, 1) for m in (1, 2, 3)
    }
    assert steps[-1][0] == steps[-1][1]
    assert server.left_behind() == []


@needs_sshd
def test_another_machine_than_the_device_is_refused(server, tmp_path) -> None:
    other = probe().model_copy(update={"name": "pi4", "cpu": "Cortex-A72"})
    with pytest.raises(ConfigError, match="device pi4 has cpu Cortex-A72, but the machine that answered has"):
        next(SshTransport(parse_place(server.place())).time([Job(models(tmp_path), 1, 0)], other))
    assert server.left_behind() == []


@needs_sshd
def test_packages_missing_on_the_host_are_named_with_the_install_command(server, tmp_path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError(\"No module named 'onnxruntime'\")")
    bare = tmp_path / "bare-python"
    bare.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(MeasurementError, match=r"No module named 'onnxruntime'(?s:.*)-m pip install numpy onnxruntime"):
        probe_at(parse_place(server.place(str(bare))))
    with pytest.raises(MeasurementError, match=r"has no /no/python: install Python 3\.9"):
        probe_at(parse_place(server.place("/no/python")))
    assert server.left_behind() == []


@needs_sshd
def test_an_unknown_host_key_and_an_unknown_user_key_are_reported(server) -> None:
    place = parse_place(server.place())
    (server.folder / "authorized").write_bytes((server.folder / "stranger.pub").read_bytes())
    with pytest.raises(MeasurementError, match=r"Permission denied(?s:.*)without asking"):
        probe_at(place)
    (server.folder / "known").write_text("")
    with pytest.raises(MeasurementError, match="Host key verification failed"):
        probe_at(place)


@needs_sshd
@pytest.mark.slow
def test_ctrl_c_ends_the_timer_there_and_clears_up(server, tmp_path) -> None:
    (model,) = models(tmp_path)[:1]
    code = (
        "import sys; from pathlib import Path; from edgenas.latency.device import probe; "
        "from edgenas.profiling.ssh_connection import parse_place; from edgenas.profiling.transport import Job; "
        "from edgenas.profiling.transports.ssh import SshTransport; "
        f"list(SshTransport(parse_place(sys.argv[1])).time([Job((Path({str(model)!r}),), 10**6, 0)], probe(), print))"
    )
    command = [sys.executable, "-u", "-c", code, server.place()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline()
        (folder,) = server.temporary.glob("edgenas-*")
        timer = int((folder / "pid").read_text())
        parent.send_signal(signal.SIGINT)
    assert parent.returncode == -signal.SIGINT
    assert server.left_behind() == []
    with pytest.raises(ProcessLookupError):
        os.killpg(timer, 0)


class LyingSsh:
    """An `ssh` on the path that answers what a hostile machine might."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.script = folder / "bin" / "ssh"
        self.script.parent.mkdir()
        monkeypatch.setenv("PATH", f"{self.script.parent}{os.pathsep}{os.environ['PATH']}")

    def answer(self, **answers: str) -> None:
        """Lines of an answer by verb; `TOKEN` is replaced."""
        code = (
            f"#!{sys.executable}\nimport re, sys\nanswers = {answers!r}\n"
            "verb, token = re.search(r'(open|send|time|close) ([0-9a-f]{32})', sys.argv[-1]).groups()\n"
            "sys.stdin.buffer.read()\n"
            "print(answers.get(verb, 'TOKEN done').replace('TOKEN', token), flush=True)\n"
        )
        self.script.write_text(code)
        self.script.chmod(0o755)


@pytest.fixture
def liar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LyingSsh:
    (tmp_path / "liar").mkdir()
    return LyingSsh(tmp_path / "liar", monkeypatch)


PROBED = {"cpu": "c", "cores": 2, "machine": "m", "system": "s", "memory_bytes": 5, "runtime_version": "1.20.0"}
DEVICE = Device(name="pi4", cpu="c", cores=2, os="s, m", memory_bytes=5)
HONEST = f"Welcome!\nTOKEN here\nTOKEN probe {json.dumps(PROBED)}\nTOKEN done"


def ask_liar(tmp_path: Path) -> list:
    return list(SshTransport(SshPlace("liar")).time([Job(models(tmp_path), 1, 0)], DEVICE))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("TOKEN probe []\nTOKEN done", "gave no JSON object"),
        ("TOKEN probe {}\nTOKEN done", "cpu is missing"),
        (f"TOKEN probe {json.dumps(PROBED | {'cores': 10**9})}\nTOKEN done", "cores"),
        (f"TOKEN probe {json.dumps(PROBED | {'runtime_version': '../x'})}\nTOKEN done", "runtime_version"),
        ('TOKEN refused "line 1\\u001b[2J\\nline 2"', "line 1 .*\nline 2"),
        ("0123 probe {}\nno token", "the far end failed|cannot be reached|gave no JSON"),
    ],
)
def test_the_description_of_a_machine_is_checked(liar, tmp_path, answer, message) -> None:
    liar.answer(open=answer)
    with pytest.raises(MeasurementError, match=message) as caught:
        ask_liar(tmp_path)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("TOKEN exit 0\nTOKEN done", "gave no row for"),
        ("TOKEN log no disk\x1b[2J\nTOKEN exit 7\nTOKEN done", r"(?s)exit code 7:\nno disk \[2J"),
        ("TOKEN exit 1\nTOKEN done", "exit code 1"),
        ("TOKEN exit lost\nTOKEN done", "what watched bench.py at ssh://liar died"),
        ("TOKEN row {}\nTOKEN exit 0\nTOKEN done", "names no model"),
        ('TOKEN row {"benchmark_info": {"model": ["x"]}}\nTOKEN exit 0\nTOKEN done', "names no model"),
        ("\n".join(["TOKEN row 1"] * 7), "more than 6 rows"),
        ("TOKEN row " + "x" * 2**23, "without an end"),
    ],
)
def test_rows_that_no_timer_gives_are_refused(liar, tmp_path, answer, message) -> None:
    liar.answer(open=HONEST, time=answer)
    with pytest.raises(MeasurementError, match=message) as caught:
        ask_liar(tmp_path)
    assert "\x1b" not in str(caught.value)


def test_without_a_client_its_package_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MeasurementError, match="openssh-client"):
        probe_at(SshPlace("pi4"))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("ssh://pi4", SshPlace("pi4")),
        ("ssh://pi@pi4.local:2222", SshPlace("pi4.local", "pi", 2222)),
        ("ssh://[fe80::1]:22", SshPlace("fe80::1", None, 22)),
        ("ssh://pi@pi4?python=/opt/venv/bin/python", SshPlace("pi4", "pi", None, "/opt/venv/bin/python")),
    ],
)
def test_places_are_read(text: str, place: SshPlace) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    "text",
    [
        *("pi4", "ssh://", "ssh://-oProxyCommand=x", "ssh://-l@pi4", "ssh://pi4:0", "ssh://pi4:99999", "http://pi4"),
        *("ssh://pi4/etc", "ssh://pi4;reboot", "ssh://pi4?python=-c", "ssh://pi4?python=a b", "ssh://pi4?python=$(x)"),
        *("ssh://pi4?what=1", "ssh://pi4\n", "ssh://pi4?python="),
    ],
)
def test_invalid_places_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected ssh://\[user@\]host"):
        parse_place(text)


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="passwords are not supported") as caught:
        parse_place("ssh://pi:hunter2@pi4")
    assert "hunter2" not in str(caught.value)
