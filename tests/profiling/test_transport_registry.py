"""The transports of devices: those given on the command line, and those that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgenas.errors import ConfigError
from edgenas.latency.device import Device, DeviceRun, dump_device, probe
from edgenas.profiling.ssh_connection import SshPlace
from edgenas.profiling.this_machine import differences
from edgenas.profiling.transport import Access
from edgenas.profiling.transport_registry import TransportRegistry, mounted, mounted_transports, shipped_kinds
from edgenas.profiling.transports import browser as browsers
from edgenas.profiling.transports.browser import BrowserTransport
from edgenas.profiling.transports.local import LocalTransport
from edgenas.profiling.transports.offline import OfflineTransport
from edgenas.profiling.transports.ssh import SshTransport
from edgenas.testing import FakeTransport

HERE = probe()
PI4 = HERE.model_copy(update={"name": "pi4", "cpu": "Cortex-A72"})


def registry_of(*on: str, **kits: Path) -> TransportRegistry:
    return TransportRegistry().with_options(on, **kits)


def reached(device: Device, transport: str) -> Device:
    return device.model_copy(update={"run": DeviceRun(transport=transport)})


def test_this_machine_is_timed_here_whatever_else_is_reached() -> None:
    for registry in (TransportRegistry(), registry_of("pi4=ssh://pi4"), registry_of(kit=Path("kit.zip"))):
        assert registry.transport(HERE) == LocalTransport()
        assert registry.as_reached(HERE) == HERE


def test_a_device_with_a_place_is_timed_there() -> None:
    place = SshPlace("host", "user", 22)
    assert registry_of("pi4=ssh://user@host:22").transport(PI4) == SshTransport(place)
    assert registry_of("ssh://user@host:22").transport(PI4) == SshTransport(place)
    assert registry_of("pi4=ssh://pi4?python=python3.11").transport(PI4) == SshTransport(
        SshPlace("pi4", python="python3.11")
    )


def test_places_do_not_get_into_device_files() -> None:
    device = registry_of("pi4=ssh://somebody@somewhere").as_reached(PI4)
    assert device == reached(PI4, "ssh")
    assert "some" not in dump_device(device)


def test_a_kit_is_for_devices_that_are_another_machine() -> None:
    registry = registry_of(kit=Path("kit.zip"), results=Path("results.zip"))
    assert registry.transport(PI4) == OfflineTransport(Path("kit.zip"), Path("results.zip"))
    assert registry.as_reached(PI4).run.transport == "offline"


@pytest.mark.parametrize("kit", [{"kit": Path("kit.zip")}, {"results": Path("results.zip")}])
def test_a_kit_that_nothing_would_go_into_is_refused(kit: dict[str, Path]) -> None:
    registry, placed = registry_of(**kit), registry_of("pi4=ssh://pi4", **kit)
    known = HERE.model_copy(update={"run": DeviceRun(transport="table")})
    for asked, devices in ((registry, [HERE]), (placed, [HERE, PI4]), (registry, [HERE, known])):
        with pytest.raises(ConfigError, match="is for devices out of reach, and of this run here"):
            asked.check_kits(devices)
    for devices in ([PI4], [HERE, PI4], [reached(HERE, "offline")]):
        registry.check_kits(devices)
    TransportRegistry().check_kits([HERE])


@pytest.mark.parametrize("transport", ["ssh", "offline"])
def test_a_run_resumes_only_when_it_is_stated_again_where_its_device_is(transport: str) -> None:
    # Even where this machine looks the same.
    device = reached(HERE.model_copy(update={"name": "twin"}), transport)
    with pytest.raises(
        ConfigError, match=r"no file stores where it is: give its place with --on twin=ssh://.*--pack kit\.zip"
    ):
        TransportRegistry().transport(device)
    assert isinstance(registry_of("twin=ssh://twin").transport(device), SshTransport)
    assert isinstance(registry_of(kit=Path("kit.zip")).transport(device), OfflineTransport)


def test_another_machine_without_a_place_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"device pi4 has cpu Cortex-A72, but this machine has .* --on pi4=ssh://"):
        TransportRegistry().transport(PI4)


def test_all_that_differs_from_this_machine_is_named() -> None:
    assert differences(HERE) == ""
    other = HERE.model_copy(update={"cpu": "Cortex-A72", "cores": 4096, "isa": (*HERE.isa, "sme")})
    expected = f"has cpu Cortex-A72, cores 4096, isa with sme, but this machine has cpu {HERE.cpu}, cores {HERE.cores}"
    assert expected in differences(other)
    assert differences(other).endswith("isa without sme")


@pytest.mark.parametrize(
    ("on", "message"),
    [
        (["pi5=ssh://pi5"], "'pi5' is not a device of this run; did you mean 'pi4'"),
        (["ssh://pi4"], "there are several devices: state which, such as --on here=ssh://pi4"),
    ],
)
def test_places_of_other_devices_are_refused(on: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry_of(*on).check(["here", "pi4"])


@pytest.mark.parametrize(
    ("on", "message"),
    [
        (["pi4"], r"expected browser, or ssh://\[user@\]host"),
        (["pi4="], r"expected browser, or ssh://\[user@\]host"),
        (["pi4=ssh://a", "pi4=ssh://b"], "pi4 has two places"),
        (["ssh://a", "ssh://b"], "the device has two places"),
    ],
)
def test_invalid_transports_are_refused(on: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry_of(*on)


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> BrowserTransport:
    found = BrowserTransport(Path("chromium"), Path("onnxruntime-web"))
    monkeypatch.setattr(browsers, "find_browser", lambda run: found)
    return found


@pytest.mark.parametrize("on", ["browser", "here=browser"])
def test_the_browser_on_this_machine_is_a_place_that_a_file_may_keep(browser: BrowserTransport, on: str) -> None:
    registry = registry_of(on)
    assert registry.transport(HERE) == browser
    device = registry.as_reached(HERE)
    assert device.run == DeviceRun(transport="browser", provider="wasm")
    # So a resumed run needs no option.
    assert TransportRegistry().transport(device) == browser
    assert TransportRegistry().as_reached(device) == device
    assert registry_of(kit=Path("kit.zip")).transport(device) == browser


def test_a_browser_beside_its_machine(browser: BrowserTransport) -> None:
    web = HERE.model_copy(update={"name": "web"})
    registry = registry_of("web=browser")
    assert (registry.transport(HERE), registry.transport(web)) == (LocalTransport(), browser)


def test_browsers_of_other_machines_are_refused(browser: BrowserTransport) -> None:
    in_browser = PI4.model_copy(update={"run": PI4.run.in_browser()})
    for registry, device in ((TransportRegistry(), in_browser), (registry_of("browser"), PI4)):
        with pytest.raises(ConfigError, match=r"pi4 has cpu Cortex-A72, but .* probe FILE --on browser"):
            registry.transport(device)
    with pytest.raises(ConfigError, match="only on the machine that edgenas runs on: run this command on that machine"):
        registry_of("browser").transport(reached(HERE, "ssh"))
    with pytest.raises(ConfigError, match="provider wasm, and transport ssh offers cpu: run edgenas on that machine"):
        registry_of("pi4=ssh://pi4").transport(in_browser)


def test_an_unknown_transport_is_named() -> None:
    device = reached(HERE, "carrier-pigeon")
    for call in (TransportRegistry().transport, TransportRegistry().as_reached, TransportRegistry().stated_kind):
        with pytest.raises(ConfigError, match="transport 'carrier-pigeon' is not supported; valid: browser, local"):
            call(device)


def test_every_shipped_transport_is_a_module_of_its_name() -> None:
    names = [kind.name for kind in shipped_kinds()]
    assert names == sorted(path.stem for path in Path(browsers.__file__).parent.glob("[!_]*.py"))
    for kind in shipped_kinds():
        # A kind either has places, each of which it recognises, or refuses to describe a machine at one.
        if kind.place_form:
            assert kind.is_place(kind.place_form.partition("[")[0])
        else:
            with pytest.raises(ConfigError, match="has no places"):
                kind.probe("anywhere", "x", 1, "fp32")


def test_a_mounted_transport_serves_its_devices_and_none_else() -> None:
    fake = FakeTransport()
    registry = TransportRegistry(kinds=(fake, *shipped_kinds()))
    assert mounted_transports() is not registry
    with mounted(registry):
        assert mounted_transports() is registry
        assert mounted_transports().with_options(["ssh://pi4"]).kind(PI4).name == "ssh"
        assert registry.transport(fake.device()) is fake
        assert registry.transport(HERE) == LocalTransport()
    assert mounted_transports() is not registry
    with pytest.raises(ConfigError, match="transport 'fake' is not supported"):
        TransportRegistry().transport(fake.device())
    assert not fake.serves(HERE, Access())
