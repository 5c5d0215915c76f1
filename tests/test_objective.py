import pytest

from edgenas.errors import ConfigError
from edgenas.objective import parse_objective, resolve_objectives

DEVICES = ["here", "pi4"]


@pytest.mark.parametrize("text", ["error", "latency", "latency@pi4", "p95@here", "macs", "peak_activation_bytes"])
def test_an_objective_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_objective(text)) == text


def test_what_is_scored_stands_first_and_times_are_of_each_device() -> None:
    texts = ["latency", "weight_bytes", "p95@pi4", "worst_class_error", "error"]
    objectives = resolve_objectives(map(parse_objective, texts), DEVICES)
    keys = [objective.key for objective in objectives]
    assert keys == [
        *("worst_class_error", "error"),
        *("latency_us@here", "latency_us@pi4", "weight_bytes", "p95_us@pi4"),
    ]
    assert [objective.scored for objective in objectives] == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["eror"], "unknown quantity 'eror'; did you mean 'error'"),
        (["error", "macs@pi4"], "only latency, p95 can name a device"),
        (["error", "latency@"], "only latency, p95 can name a device"),
        (["error", "latency@pi5"], "this run has no device 'pi5'; did you mean 'pi4'"),
        (["error", "latency", "latency@pi4"], "each objective once, got latency@pi4 more than once"),
        (["latency", "macs"], "expected error or worst_class_error or balanced_error among them, got latency, macs"),
    ],
)
def test_objectives_that_make_no_sense_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_objectives(map(parse_objective, texts), DEVICES)
