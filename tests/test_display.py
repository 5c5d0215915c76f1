import io
import re

import pytest
from rich.console import Console

from edgenas.cli.summary_display import print_int8
from edgenas.display import ProgressDisplay, fold, print_folded, print_table
from edgenas.markup import visible
from edgenas.quantities import milliseconds
from edgenas.records.export import ShippedInt8


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


def test_time_left_counts_from_the_steps_of_an_earlier_process(capfd: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 20.0, 40.0])
    with ProgressDisplay(clock=lambda: next(clock)) as progress:
        for step in (900, 910, 920):
            progress("training", step, 1000)
    lines = capfd.readouterr().err.splitlines()
    assert lines == [
        "training: 900/1000, 0 s",
        "training: 910/1000, 20 s, about 180 s left",
        "training: 920/1000, 40 s, about 160 s left",
    ]


def test_details_follow_steps_and_time(capfd: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay() as progress:
        for step, details in ((1, "9 images/s"), (2, "8 images/s, largest 71.0%")):
            progress(f"training: {details}", step, 2)
    assert capfd.readouterr().err.splitlines() == [
        "training: 1/2, 0 s; 9 images/s",
        "training: 2/2, 0 s; 8 images/s, largest 71.0%",
    ]


def test_on_a_terminal_bars_leave_room_for_details() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, height=20)
    with ProgressDisplay(console=console) as progress:
        progress("training: 812 images/s, smallest 61.0%, middle 66.1%", 1, 20)
    assert "812 images/s, smallest 61.0%, middle 66.1%" in screen.getvalue()
    assert "1/20" in screen.getvalue()


def test_every_label_is_shown_and_none_when_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    for quiet, expected in ((False, ["a: 1/3", "b: 1/3"]), (True, [])):
        with ProgressDisplay(quiet=quiet) as progress:
            progress("a", 1, 3)
            progress("b", 1, 3)
        assert [line.split(",")[0] for line in capfd.readouterr().err.splitlines()] == expected


def test_a_label_that_starts_again_has_its_own_time(capfd: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 12.0, 80.0, 85.0])
    with ProgressDisplay(clock=lambda: next(clock)) as progress:
        for step in (1, 63, 1, 63):
            progress("exporting", step, 63)
    assert capfd.readouterr().err.splitlines() == [
        "exporting: 1/63, 0 s",
        "exporting: 63/63, 12 s",
        "exporting: 1/63, 0 s",
        "exporting: 63/63, 5 s",
    ]


def test_a_label_that_starts_again_has_a_new_bar() -> None:
    with ProgressDisplay(console=Console(force_terminal=True, file=io.StringIO())) as progress:
        for step in (1, 63, 1):
            progress("exporting", step, 63)
        (task,) = progress.bars.tasks
        assert (task.completed, task.total, task.finished) == (1, 63, False)
        progress("exporting", 63, 63)
        assert task.finished


def test_piped_tables_keep_every_row_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    arch = "r224_" + "_".join(["w160-k7e6-k7e6"] * 8)
    print_table(["arch", "ms"], [[arch, "0.400"], ["[x]", "12.000"]], right=["ms"])
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["arch", "ms"]
    assert first.split() == [arch, "0.400"]
    # What looks like markup is text.
    assert second.split() == ["[x]", "12.000"]
    assert len(first.rstrip()) == len(second.rstrip())


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\nb", "\u202eevil", "[bold]x[/bold]"])
def test_names_steer_no_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["class", "images"], [[name, "3"]])
    print_folded(name.replace("\n", ""))
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 3
    assert out.replace("\n", "").isprintable()
    assert out.splitlines()[1].split() == [visible(name), "3"]


def test_times_stand_in_milliseconds() -> None:
    assert milliseconds(412.4) == "0.412"
    assert milliseconds(12_345.6) == "12.35"


def test_a_table_too_wide_for_a_terminal_lists_archs_below(capsys: pytest.CaptureFixture[str]) -> None:
    archs = ["  r224_" + "_".join(["w160-k7e6-k7e6"] * 8), "* r8_w8-k3e1"]
    columns = ["arch", "val top-1", "predicted ms [interval]", "measured ms", "within budget"]
    rows = [[arch, "97.49%", "0.019 [0.018, 0.020]", "0.019", "yes"] for arch in archs]
    print_table(columns, rows, right=columns[1:4], console=Console(force_terminal=True, width=80))
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["1", "97.49%", "0.019", "[0.018,", "0.020]", "0.019", "yes"]
    assert lines[2].startswith("2*")
    below = lines[lines.index("arch") + 1 :]
    assert "".join(line.strip() for line in below) == f"1  {archs[0].strip()}2*  r8_w8-k3e1"


def test_a_table_that_fits_a_terminal_stays_whole(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(force_terminal=True, width=80)
    print_table(["a", "b", "c", "d"], [["r8_w8-k3e1", "1", "2", "3"]], console=console)
    assert "r8_w8-k3e1" in capsys.readouterr().out.splitlines()[1]


@pytest.mark.parametrize("text", ["r224_" + "_".join(["w160-k7e6-k7e6"] * 8), "word " * 50, "x" * 300, "", "a b"])
def test_folded_lines_fit_and_lose_nothing(text: str) -> None:
    for width, indent in ((80, 0), (40, 4)):
        lines = fold(text, width, indent)
        assert max(map(len, lines)) <= width
        assert "".join("".join(lines).split()) == "".join(text.split())


def test_the_path_of_a_printed_file_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    file, scores = "export/bundle/model_int8.onnx", {"val_top1": 0.9, "test_top1": 0.9}
    int8 = ShippedInt8(
        onnx=file,
        **scores,
        **{f"fp32_{name}": top1 for name, top1 in scores.items()},
        max_drop=0.01,
        quantiser_recipe="minmax",
        recipes_tried={},
        size_bytes=1,
        fp32_size_bytes=4,
        latency={},
        fine_tuning=None,
        notes=("slower",),
    )
    print_int8(int8, "run", file)
    assert "model_int8" not in capsys.readouterr().out
    print_int8(int8, "run", "export/bundle/model.onnx")
    assert "run/export/bundle/model_int8.onnx, 90.00%" in capsys.readouterr().out
