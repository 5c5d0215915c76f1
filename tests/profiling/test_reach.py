"""How devices are reached: what was said on the command line, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgenas.profiling.place import Place
from edgenas.profiling.reach import Reach, differences, parse_reach

from edgenas.errors import ConfigError
from edgenas.latency.device import Device, DeviceRun, dump_device, probe
from edgenas.profiling import reach as reaching
from edgenas.profiling.transports.browser import BrowserTransport
from edgenas.profiling.transports.local import LocalTransport
from edgenas.profiling.transports.offline import OfflineTransport
from edgenas.profiling.transports.ssh import SshTransport

HERE = probe()
PI4 = HERE.model_copy(update={"name": "pi4", "cpu": "Cortex-A72"})


def reached(device: Device, transport: str) -> Device:
    return device.model_copy(update={"run": DeviceRun(transport=transport)})


def test_this_machine_is_timed_here_whatever_else_is_reached() -> None:
    for reach in (Reach(), parse_reach(["pi4=ssh://pi4"]), parse_reach(kit=Path("kit.zip"))):
        assert reach.transport(HERE) == LocalTransport()
        assert reach.as_reached(HERE) == HERE


def test_a_device_with_a_place_is_timed_there() -> None:
    place = Place("host", "user", 22)
    assert parse_reach(["pi4=ssh://user@host:22"]).transport(PI4) == SshTransport(place)
    assert parse_reach(["ssh://user@host:22"]).transport(PI4) == SshTransport(place)
    assert parse_reach(["pi4=ssh://pi4?python=python3.11"]).transport(PI4) == SshTransport(
        Place("pi4", python="python3.11")
    )


def test_places_do_not_get_into_device_files() -> None:
    device = parse_reach(["pi4=ssh://somebody@somewhere"]).as_reached(PI4)
    assert device == reached(PI4, "ssh")
    assert "some" not in dump_device(device)


def test_a_kit_is_for_devices_that_are_another_machine() -> None:
    reach = parse_reach(kit=Path("kit.zip"), results=Path("results.zip"))
    assert reach.transport(PI4) == OfflineTransport(Path("kit.zip"), Path("results.zip"))
    assert reach.as_reached(PI4).run.transport == "offline"


@pytest.mark.parametrize("kit", [{"kit": Path("kit.zip")}, {"results": Path("results.zip")}])
def test_a_kit_that_nothing_would_go_into_is_refused(kit: dict[str, Path]) -> None:
    reach, placed = parse_reach(**kit), parse_reach(["pi4=ssh://pi4"], **kit)
    known = HERE.model_copy(update={"run": DeviceRun(transport="table")})
    for asked, devices in ((reach, [HERE]), (placed, [HERE, PI4]), (reach, [HERE, known])):
        with pytest.raises(ConfigError, match="is for devices out of reach, and of this run here"):
            asked.check_kits(devices)
    for devices in ([PI4], [HERE, PI4], [reached(HERE, "offline")]):
        reach.check_kits(devices)
    Reach().check_kits([HERE])


@pytest.mark.parametrize("transport", ["ssh", "offline"])
def test_a_run_goes_on_only_when_it_is_said_again_where_its_device_is(transport: str) -> None:
    # Even where this machine looks the same.
    device = reached(HERE.model_copy(update={"name": "twin"}), transport)
    with pytest.raises(ConfigError, match=r"kept in no file: say where it is with --on twin=ssh://.*--pack kit\.zip"):
        Reach().transport(device)
    assert isinstance(parse_reach(["twin=ssh://twin"]).transport(device), SshTransport)
    assert isinstance(parse_reach(kit=Path("kit.zip")).transport(device), OfflineTransport)


def test_another_machine_without_a_place_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"device pi4 has cpu Cortex-A72, but this machine has .* --on pi4=ssh://"):
        Reach().transport(PI4)


def test_all_that_differs_from_this_machine_is_named() -> None:
    assert differences(HERE) == ""
    other = HERE.model_copy(update={"cpu": "Cortex-A72", "cores": 4096, "isa": (*HERE.isa, "sme")})
    expected = f"has cpu Cortex-A72, cores 4096, isa with sme, but this machine has cpu {HERE.cpu}, cores {HERE.cores}"
    assert expected in differences(other)
    assert differences(other).endswith("isa without sme")


@pytest.mark.parametrize(
    ("on", "message"),
    [
        (["pi5=ssh://pi5"], "'pi5' is no device of this run; did you mean 'pi4'"),
        (["ssh://pi4"], "there are several devices: say which, here=ssh://"),
    ],
)
def test_places_of_other_devices_are_refused(on: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_reach(on).check(["here", "pi4"])


@pytest.mark.parametrize(
    ("on", "message"),
    [
        (["pi4"], "wanted ssh://"),
        (["pi4="], "wanted ssh://"),
        (["pi4=ssh://a", "pi4=ssh://b"], "pi4 is at two places"),
        (["ssh://a", "ssh://b"], "the device is at two places"),
    ],
)
def test_what_is_no_way_to_a_device_is_refused(on: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_reach(on)


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> BrowserTransport:
    found = BrowserTransport(Path("chromium"), Path("onnxruntime-web"))
    monkeypatch.setattr(reaching, "find_browser", lambda run: found)
    return found


@pytest.mark.parametrize("on", ["browser", "here=browser"])
def test_the_browser_on_this_machine_is_a_place_that_a_file_may_keep(browser: BrowserTransport, on: str) -> None:
    reach = parse_reach([on])
    assert reach.transport(HERE) == browser
    device = reach.as_reached(HERE)
    assert device.run == DeviceRun(transport="browser", provider="wasm")
    # So the run goes on without being told again.
    assert Reach().transport(device) == browser
    assert Reach().as_reached(device) == device
    assert parse_reach(kit=Path("kit.zip")).transport(device) == browser


def test_a_browser_beside_its_machine(browser: BrowserTransport) -> None:
    web = HERE.model_copy(update={"name": "web"})
    reach = parse_reach(["web=browser"])
    assert (reach.transport(HERE), reach.transport(web)) == (LocalTransport(), browser)


def test_browsers_of_other_machines_are_refused(browser: BrowserTransport) -> None:
    in_browser = PI4.model_copy(update={"run": PI4.run.in_browser()})
    for reach, device in ((Reach(), in_browser), (parse_reach(["browser"]), PI4)):
        with pytest.raises(ConfigError, match=r"pi4 has cpu Cortex-A72, but .* probe FILE --on browser"):
            reach.transport(device)
    for reach, device in (
        (parse_reach(["browser"]), reached(HERE, "ssh")),
        (parse_reach(["pi4=ssh://pi4"]), in_browser),
    ):
        with pytest.raises(ConfigError, match="only where edgenas runs: install it on that machine"):
            reach.transport(device)
