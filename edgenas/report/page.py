"""The page: report.html, one file that needs no network, from a run folder's saved files only."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from edgenas.deploy.bundle.shipped_wording import milliseconds
from edgenas.files import write_text
from edgenas.markup import html, html_sentence
from edgenas.report import judgement
from edgenas.report.figure import Figure
from edgenas.report.formats import count, ms, percent, size
from edgenas.report.load import load_run
from edgenas.report.page_html import sentences
from edgenas.report.page_sections import Section, sections
from edgenas.report.values import Chosen, Run

HERE = Path(__file__).parent


@dataclass
class _Drawn:
    """Figures of the page by the identifier of their place."""

    by_place: dict[str, Figure] = field(default_factory=dict)

    def place(self, section: str, figure: Figure) -> str:
        name = f"{section}-{len(self.by_place)}"
        self.by_place[name] = {"data": figure["data"], "layout": figure["layout"]}
        label = f"{figure['label']}. Arrow keys go from point to point."
        return (
            f'<div><div class="figure" id="{name}" tabindex="0" role="figure" aria-label="{html(label)}"></div>'
            '<div class="spoken" role="status" aria-live="polite"></div></div>'
        )


def write_page(run_folder: Path) -> Path:
    """Write `report/report.html` into a run folder, from its saved files only.

    Returns:
        Its path.

    Raises:
        RunFolderError: a stage's file is missing or broken; the command that makes it is named.
    """
    page = run_folder / "report" / "report.html"
    write_text(page, render_page(load_run(run_folder)))
    return page


def render_page(run: Run) -> str:
    """The page as HTML."""
    title = f"{run.config.get('name', run.folder.name)}: {run.dataset.name} on {', '.join(run.devices)}"
    drawn = _Drawn()
    parts = sections(run)
    links = "".join(f'<li><a href="#{part.name}">{html(part.title)}</a></li>' for part in parts)
    body = [
        f"<header><h1>{html(title)}</h1>",
        _facts(run),
        f'<nav aria-label="Parts"><ul>{links}</ul></nav></header><main>',
        *[_shown(part, drawn) for part in parts],
        "</main>",
    ]
    return _filled(
        (HERE / "page_template.html").read_text(encoding="utf-8"),
        title=html(title),
        body="\n".join(body),
        # A class or a path may hold what would end the script.
        figures=json.dumps(drawn.by_place, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"),
        plotly=_plotly(),
        script=(HERE / "page_script.js").read_text(encoding="utf-8"),
    )


def _plotly() -> str:
    # Slow to import, and needed here alone.
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _filled(template: str, **parts: str) -> str:
    """The template with its marks replaced; what is put in is not looked through again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], template)


def _shown(part: Section, drawn: _Drawn) -> str:
    panels = "".join(drawn.place(part.name, figure) for figure in part.figures)
    return (
        f'<section id="{part.name}"><h2>{html(part.title)}</h2><p class="finding">{html_sentence(part.finding)}.</p>'
        f'{f"""<div class="panels">{panels}</div>""" if panels else ""}{part.body}</section>'
    )


def _facts(run: Run) -> str:
    chosen = run.summary.chosen
    if chosen is None:
        return "<p><b>No network was measured to meet every budget.</b></p>"
    facts = _without_file(run, chosen) if chosen.test_top1 is None else _shipped(chosen, chosen.test_top1)
    if run.bundle and run.bundle.costs:
        facts.append((count(run.bundle.costs["macs"]), "multiply-accumulates"))
        facts.append((size(run.bundle.costs["weight_bytes"]), "of weights"))
    items = "".join(f"<li><b>{html(value)}</b> {html(what)}</li>" for value, what in facts)
    shipped = sentences(judgement.shipped(run)) if judgement.shipped(run) else ""
    return f'<ul class="facts">{items}</ul><p><code>{html(chosen.arch)}</code></p>{shipped}'


def _shipped(chosen: Chosen, test_top1: float) -> list[tuple[str, str]]:
    """Figures of the file that ships."""
    facts = [(percent(test_top1, 2), "test top-1"), (percent(chosen.val_top1, 2), "validation top-1")]
    for device, latency in chosen.latency.items():
        words = "" if latency.verdict is None else f", {latency.verdict} the budget"
        if latency.verdict == "not significant":
            words = ", not significantly within the budget"
        facts.append((f"{milliseconds(latency.p50_us)} ms", f"p50 on {device}{words}"))
    return facts


def _without_file(run: Run, chosen: Chosen) -> list[tuple[str, str]]:
    """Figures of a chosen network that was not exported."""
    network = next((n for n in run.summary.front if n.arch == chosen.arch), None)
    facts = [(percent(chosen.val_top1), "top-1 of the chosen network, as told from elsewhere")]
    for device, latency in network.latency.items() if network else ():
        known = latency.p50_us is not None
        value, what = (latency.p50_us, "measured p50") if known else (latency.predicted_us, "predicted latency")
        facts.append((f"{ms(value)} ms", f"{what} on {device}"))
    return facts
