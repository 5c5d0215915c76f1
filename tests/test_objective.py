import pytest

from edgenas.errors import ConfigError
from edgenas.objective import SCORED, TIMES, objectives_on, parse_objective

DEVICES = ["here", "pi4"]


@pytest.mark.parametrize("text", ["error", "latency", "latency@pi4", "p95@here", "macs", "peak_activation_bytes"])
def test_an_objective_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_objective(text)) == text


def test_what_is_scored_stands_first_and_times_are_of_each_device() -> None:
    names = objectives_on(["latency", "weight_bytes", "p95@pi4", "worst_class_error", "error"], DEVICES)
    keys = [name.key for name in names]
    assert keys == [
        *("worst_class_error", "error"),
        *("latency_us@here", "latency_us@pi4", "weight_bytes", "p95_us@pi4"),
    ]
    assert [name.unit for name in names] == ["fraction", "fraction", "us", "us", "bytes", "us"]
    assert [name.quantity in SCORED for name in names] == [name.scored for name in names]
    assert [name.quantile for name in names if name.quantity in TIMES] == ["p50", "p50", "p95"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["eror"], "unknown quantity 'eror'; did you mean 'error'"),
        (["error", "macs@pi4"], "only latency and p95 are of a device"),
        (["error", "latency@"], "only latency and p95 are of a device"),
        (["error", "latency@pi5"], "this run has no device 'pi5'; did you mean 'pi4'"),
        (["error", "latency", "latency@pi4"], "each objective once, got latency@pi4 more than once"),
        (["latency", "macs"], "wanted error or worst_class_error among them, got latency, macs"),
    ],
)
def test_objectives_that_make_no_sense_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        objectives_on(texts, DEVICES)
