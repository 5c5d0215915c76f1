"""More threads than the cores a process may use wait for each other: refused, or flagged with the reason."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from damaging import call
from kit_scripts import load_script

from edgenas.deploy.inspection.inspect import inspect_model
from edgenas.errors import TableError
from edgenas.latency import device
from edgenas.latency.device import Device, DeviceRun, dump_device, load_device, probe, usable_cores
from edgenas.profiling.probe import read_probe
from edgenas.profiling.transports.local import LocalTransport


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return load_script("bench")


@pytest.fixture
def one_core() -> Iterator[None]:
    """As `taskset` leaves it; the test runs in this thread, whose affinity is put back."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(device, "usable_cores", lambda: 2)


@pytest.mark.usefixtures("one_core")
def test_cores_are_counted_by_affinity(bench: ModuleType) -> None:
    assert usable_cores() == 1
    assert bench.usable_cores() == min([1, *bench.cpu_quotas()])


@pytest.mark.parametrize(
    ("files", "own", "quotas"),
    [
        ({"cpu.max": "max 100000"}, "0::/\n", []),
        ({"cpu.max": "150000 100000"}, "0::/\n", [1.5]),
        ({"cpu.max": "400000 100000", "pod/cpu.max": "50000 100000"}, "1:name=x:/\n0::/pod/box\n", [4.0, 0.5]),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/\n", [2.0]),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/\n", []),
        ({"cpu.max": "nonsense"}, "", []),
        ({}, None, []),
    ],
)
def test_quotas_of_containers_are_read(
    files: dict[str, str], own: str | None, quotas: list[float], bench: ModuleType, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    if own is not None:
        (tmp_path / "own").write_text(own)
    assert bench.cpu_quotas(str(tmp_path), str(tmp_path / "own")) == quotas


@pytest.mark.parametrize(
    ("threads", "cores", "flagged"), [(1, 1.0, False), (2, 2.0, False), (2, 1.0, True), (2, 1.5, True)]
)
def test_threads_that_share_cores_are_flagged(threads: int, cores: float, flagged: bool, bench: ModuleType) -> None:
    stated = bench.thread_warnings(threads, cores)
    assert bool(stated) == flagged
    assert all(f"{threads} threads share the {cores:g} core(s) that this process may use" in text for text in stated)


@pytest.mark.usefixtures("one_core")
def test_the_timer_warns_that_threads_share_a_core(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "reserve_cores", lambda threads: {"affinity": [0], "nice": None})
    monkeypatch.setattr(bench, "load", lambda model, args: (lambda: None, 1))
    setting = {"provider": "cpu", "optimisation_level": "all", "spinning": False, "raw_samples": 0}
    for threads in (1, 2):
        args = argparse.Namespace(**setting, threads=threads, rounds=2, seed=0)
        (row,) = bench.benchmark([Path("m.onnx")], args)
        assert any("threads share" in warning for warning in row["warnings"]) == (threads == 2)


@pytest.mark.usefixtures("two_cores")
def test_this_machine_is_described_with_as_many_threads_as_it_lends_cores(tmp_path: Path) -> None:
    assert probe("mine", threads=2).run.threads == 2
    ended = call("devices", "probe", "d.yaml", "--threads", "3", cwd=tmp_path)
    assert (ended.code, ended.stdout) == (2, "")
    assert "limited by taskset, a container, or the machine itself) has 2 core(s) for 3 threads" in ended.stderr
    assert not (tmp_path / "d.yaml").exists()


@pytest.mark.usefixtures("two_cores")
def test_nothing_is_timed_with_threads_that_share_cores(tmp_path: Path) -> None:
    crowded = Device(name="d", cpu="c", cores=8, os="o", run=DeviceRun(threads=3))
    with pytest.raises(TableError, match=r"2 core\(s\) for 3 threads: choose at most 2"):
        list(LocalTransport().time([], crowded))
    with pytest.raises(TableError, match=r"2 core\(s\) for 3 threads"):
        inspect_model(tmp_path / "none.onnx", threads=3)


def test_a_device_file_has_a_core_for_each_thread(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(dump_device(Device(name="d", cpu="c", cores=4, os="o", run=DeviceRun(threads=4))))
    assert load_device(path).run.threads == 4
    path.write_text(path.read_text().replace("threads: 4", "threads: 5"))
    with pytest.raises(TableError, match=r"device d has 4 core\(s\) for 5 threads"):
        load_device(path)
    path.write_text(path.read_text().replace("cores: 4", "cores: null"))
    assert load_device(path).run.threads == 5


def test_a_machine_elsewhere_is_described_with_as_many_threads_as_it_has_cores() -> None:
    there = read_probe({"cpu": "c", "cores": 4, "machine": "m", "system": "s", "runtime_version": "1.30.0"})
    assert there.device("pi", "ssh", 4).run.threads == 4
    with pytest.raises(TableError, match=r"the machine \(c\) has 4 core\(s\) for 5 threads"):
        there.device("pi", "ssh", 5)
