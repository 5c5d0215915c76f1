"""Class names in any script, and with markup, in every part of a run's report."""

from __future__ import annotations

import html
import json
from pathlib import Path

import matplotlib
import pytest
from finished_run import write_run
from matplotlib.figure import Figure

from edgenas.deploy.inspection.block_totals import BlockTotals
from edgenas.files import write_json
from edgenas.markup import markdown, visible
from edgenas.report import lettering as letters_module
from edgenas.report.html import render_html
from edgenas.report.lettering import Lettering, lettered, lettering_of, png
from edgenas.report.load import load_run
from edgenas.report.report_sections import report_of
from edgenas.report.study_charts import draw_blocks
from edgenas.report.writing import write_report

NAMES = ["猫", "狗", "<unknown>", "*other*", "a|b", "[bold]x", "`c`", "new\nline", "\u202eevil", "x" * 60 + "1"]
NO_FONT_HAS = "\U00013000"
"""A hieroglyph, which the fonts of this test lack."""


def named_run(folder: Path) -> Path:
    """A finished run whose classes have awkward names, with everything that looks back on it."""
    write_run(folder)
    data = json.loads((folder / "data.json").read_text())
    write_json(folder / "data.json", data | {"classes": NAMES})
    summary = json.loads((folder / "summary.json").read_text())
    chosen = summary["chosen"]["arch"]
    pairs = [(90 - n if n < 9 else 60, n) for n in range(10)]
    classes = [
        {"name": name, "images": 100, "chosen": own, "largest": 90, "only_chosen": 1, "only_largest": 91 - own}
        for name, (own, _) in zip(NAMES, pairs, strict=True)
    ]
    front = [{"arch": chosen, "val_top1": 0.95, "test_top1": 0.94}]
    hindsight = {"front": front, "chosen": chosen, "largest": "r32_w16-k3e1", "classes": classes}
    hindsight["within_budgets"] = False
    write_json(folder / "export" / "hindsight.json", hindsight)
    rates = {"validation_top1": 0.9, "test_top1": 0.9, "test_images": 360}
    rates |= {"test_top1_by_class": [0.9] * 10, "test_images_by_class": [36] * 10}
    manifest = {"classes": NAMES, "accuracy": rates, "versions": {}, "costs": {"macs": 1, "weight_bytes": 1}}
    summary["chosen"]["bundle"] = "export/bundle"
    write_json(folder / "summary.json", summary)
    write_json(folder / "export" / "bundle" / "manifest.json", manifest | {"seed": 0, "space": "a", "created": "b"})
    return folder


def test_reports_show_every_name_as_it_is(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    folder = named_run(tmp_path / "run")
    path = write_report(folder)
    text, page = (each.read_text(encoding="utf-8") for each in (path, path.with_suffix(".html")))
    for name in NAMES:
        assert f"| {markdown(name)} | 36 |" in text
        assert f"| {markdown(name)} | 100 |" in text
        assert f"<td>{html.escape(visible(name))}</td>" in page
    assert "\u202e" not in text + page
    assert not recwarn.list
    assert not caplog.records


def test_plots_have_a_row_for_each_class(tmp_path: Path) -> None:
    folder = named_run(tmp_path / "run")
    page = render_html(report_of(load_run(folder)))
    figures = json.loads(page.split('id="figures">')[1].split("</script>")[0].replace("\\u003c", "<"))
    axes = [f["layout"]["yaxis"] for f in figures.values() if len(f["layout"]["yaxis"].get("categoryarray", ())) == 10]
    assert len(axes) == 2
    for axis in axes:
        assert axis["type"] == "category"
        assert len(set(axis["categoryarray"])) == 10


def drawn(names: list[str]) -> tuple[bytes, Lettering]:
    letters = lettering_of({"class": names})
    with lettered(letters, {}):
        figure = Figure()
        axes = figure.subplots()
        axes.set_yticks(range(len(names)), [letters_module.label(name) for name in names])
        figure.suptitle(f"worst is {names[0]}")
        return png(figure, letters), letters


def test_names_that_no_font_has_are_numbered_without_a_warning(
    recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters_module, "_installed", tuple)
    names = ["cat", NO_FONT_HAS, "$x_1$"]
    image, letters = drawn(names)
    assert letters.numbers == {NO_FONT_HAS: "class 2"}
    assert letters.shown(f"worst is {NO_FONT_HAS}, then cat") == "worst is class 2, then cat"
    # What else no font has, in a sentence say, becomes a mark that stands for it.
    assert letters.shown("\U00013001") == "\N{REPLACEMENT CHARACTER}"
    assert not recwarn.list
    # The image is that of names which were spelt so, and shows dollars, not formulas.
    numbered, other = drawn(["cat", "class 2", "$x_1$"])[0], drawn(["cat", "class 2", "x1"])[0]
    assert image == numbered
    assert image != other


def test_a_font_that_has_the_letters_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    has = {"DejaVu Sans": frozenset("é"), "Few": frozenset("猫"), "Many": frozenset("猫狗")}
    monkeypatch.setattr(letters_module, "_letters", lambda family: has[family])
    monkeypatch.setattr(letters_module, "_installed", lambda: tuple(has))
    letters = letters_module.lettering_of({"class": ["猫", "狗", "é", "鳥"]})
    assert list(letters.fonts) == ["DejaVu Sans", "Many"]
    assert letters.numbers == {"鳥": "class 4"}


def test_the_legend_of_numbers_stands_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters_module, "_installed", tuple)
    text = write_report(named_run(tmp_path / "run")).read_text(encoding="utf-8")
    assert letters_module.ADVICE in text
    assert "| class 1 | 猫 |" in text
    assert "| class 2 | 狗 |" in text
    assert "| class 3 |" not in text


def test_right_to_left_needs_a_matplotlib_that_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = dict.fromkeys(((3, 10), (3, 11)))
    for version in shown:
        monkeypatch.setattr(matplotlib, "__version_info__", (*version, 0))
        shown[version] = letters_module.lettering_of({"class": ["שלום"]}).numbers
    assert shown == {(3, 10): {"שלום": "class 1"}, (3, 11): {}}


def test_an_image_written_by_itself_logs_the_legend_of_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(letters_module, "_installed", tuple)
    blocks = [BlockTotals(name, operators=1, time_us=5.0, macs=0, bytes_moved=8) for name in ("stem", NO_FONT_HAS)]
    image = draw_blocks("m", 10.0, blocks, ["memory", "memory"])
    image.write(tmp_path / "blocks.png")
    assert (tmp_path / "blocks.png").read_bytes().startswith(b"\x89PNG")
    (record,) = caplog.records
    assert record.getMessage() == f"note: {letters_module.ADVICE}: block 2 is {NO_FONT_HAS}"
