import pytest

from edgenas import display
from edgenas.display import ProgressDisplay, budget_text, milliseconds, print_table


def test_progress_without_a_terminal_is_plain_lines_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay() as progress:
        for step in range(1, 101):
            progress("training", step, 100)
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line.split(",")[0] for line in lines] == ["training: 1/100", "training: 100/100"]
    assert "left" not in err
    assert "\x1b" not in err


def test_time_left_counts_from_where_an_earlier_call_had_come(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 20.0, 40.0])
    monkeypatch.setattr(display.time, "monotonic", lambda: next(clock))
    with ProgressDisplay() as progress:
        for step in (900, 910, 920):
            progress("training", step, 1000)
    lines = capfd.readouterr().err.splitlines()
    assert lines == [
        "training: 900/1000, 0 s",
        "training: 910/1000, 20 s, about 180 s left",
        "training: 920/1000, 40 s, about 160 s left",
    ]


def test_every_label_is_told_and_quiet_tells_none(capfd: pytest.CaptureFixture[str]) -> None:
    for quiet, expected in ((False, ["a: 1/3", "b: 1/3"]), (True, [])):
        with ProgressDisplay(quiet=quiet) as progress:
            progress("a", 1, 3)
            progress("b", 1, 3)
        assert [line.split(",")[0] for line in capfd.readouterr().err.splitlines()] == expected


def test_piped_tables_keep_every_row_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    arch = "r224_" + "_".join(["w160-k7e6-k7e6"] * 8)
    print_table(["arch", "ms"], [[arch, "0.400"], ["[x]", "12.000"]], right=["ms"])
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["arch", "ms"]
    assert first.split() == [arch, "0.400"]
    # What looks like markup is text.
    assert second.split() == ["[x]", "12.000"]
    assert len(first.rstrip()) == len(second.rstrip())


def test_times_stand_in_milliseconds() -> None:
    assert milliseconds(412.4) == "0.412"
    assert milliseconds(12_345.6) == "12.346"


def test_budgets_read_like_sentences() -> None:
    assert budget_text({"quantity": "p95", "device": "pi4", "limit": 8000, "unit": "us"}) == "p95 on pi4 ≤ 8.000 ms"
    assert budget_text({"quantity": "macs", "device": None, "limit": 1e7, "unit": "macs"}) == "macs ≤ 10,000,000"
