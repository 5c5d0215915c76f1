import os
import platform

import pytest
import yaml
from isas import ISAS, SATURATES, report_isa

from edgenas.errors import TableError
from edgenas.latency import device as device_module
from edgenas.latency.device import Device, DeviceRun, device_names, dump_device, load_device, probe


@pytest.mark.parametrize("name", device_names())
def test_every_shipped_device_loads_under_its_own_name(name: str) -> None:
    assert load_device(name).name == name


def test_some_device_is_shipped() -> None:
    assert device_names()


def test_a_device_survives_its_yaml(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(device_module, "usable_cores", lambda: 4)
    device = probe("bench-1", threads=2)
    path = tmp_path / "bench-1.yaml"
    path.write_text(dump_device(device), encoding="utf-8")
    assert load_device(path) == device


def test_a_device_of_int8_says_so_and_one_that_says_nothing_runs_fp32(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(dump_device(probe("mine", precision="int8")), encoding="utf-8")
    assert yaml.safe_load(path.read_text())["run"]["precision"] == "int8"
    assert load_device(path).run.precision == "int8"
    assert Device(name="d", cpu="c", os="o").run.precision == "fp32"


def test_a_browser_need_not_say_what_leaves_no_choice() -> None:
    for threads, spinning in ((1, False), (2, True)):
        run = DeviceRun.model_validate({"transport": "browser", "threads": threads})
        assert (run.provider, run.spinning, run.runtime) == ("wasm", spinning, "onnxruntime-web")
        assert run == DeviceRun(threads=threads).in_browser()
    assert DeviceRun().runtime == "onnxruntime"


def test_probe_reports_the_machine_but_not_its_host() -> None:
    device = probe()
    assert device.name == "here"
    assert device.run.threads == 1
    assert platform.machine() in device.os
    assert len(platform.node()) < 3 or platform.node() not in dump_device(device)


@pytest.mark.parametrize("isa", ISAS)
def test_int8_saturates_on_x86_without_vnni_and_nowhere_else(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    report_isa(monkeypatch, isa)
    device = probe()
    assert device.isa == tuple(ISAS[isa].split())
    assert device.int8_saturates is (isa in SATURATES)


@pytest.mark.parametrize(
    ("system", "saturates"),
    [
        ("Darwin 24.1.0, x86_64", True),
        ("Windows 11, AMD64", True),
        ("Darwin 24.1.0, arm64", False),
        ("Android, aarch64", False),
        ("unknown", False),
    ],
)
def test_without_flags_int8_counts_as_saturating_on_x86(system: str, saturates: bool) -> None:
    assert Device(name="d", cpu="c", os=system).int8_saturates is saturates


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(TableError, match=device_names()[0]):
        load_device("xeon-2c-am")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "upgrade edgenas"),
        ({"run": {"threads": 0}}, "run.threads"),
        ({"run": {"precision": "int4"}}, "run.precision: 'int4' is unknown; did you mean 'int8'"),
        ({"run": {"thread": 2}}, "did you mean 'run.threads'"),
        ({"run": {"provider": "wasm"}}, "provider wasm requires transport browser"),
        ({"run": {"transport": "browser", "provider": "cpu"}}, "provider wasm requires transport browser"),
        (
            {"run": {"transport": "browser", "threads": 2, "spinning": False}},
            "spinning: in a browser, expected true for several threads",
        ),
        ({"run": {"chromium": "/usr/bin/chromium"}}, "chromium and onnxruntime_web require transport browser"),
        ({"name": "../up"}, "name"),
        ({"cpu": None}, "cpu"),
    ],
)
def test_a_wrong_file_is_named_with_its_field(tmp_path, change, message: str) -> None:
    value = Device(name="d", cpu="c", os="o").model_dump(mode="json") | change
    path = tmp_path / "d.yaml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    with pytest.raises(TableError, match=message) as caught:
        load_device(path)
    assert str(path) in str(caught.value)
