"""Write the report of a run: report.html, report.md and its images."""

from __future__ import annotations

from pathlib import Path

from edgenas.files import write_bytes, write_text
from edgenas.report.html import render_html
from edgenas.report.image import draw
from edgenas.report.lettering import lettering_of
from edgenas.report.load import load_run
from edgenas.report.markdown import render_markdown
from edgenas.report.report_sections import report_of


def write_report(run_folder: Path) -> Path:
    """Write `report.html`, `report.md` and its images into `report/` of a run folder, from its saved files only.

    Returns:
        The path of report.md.

    Raises:
        RunFolderError: a stage's file is missing or broken; the command that makes it is named.
    """
    report = report_of(load_run(run_folder))
    target, letters = run_folder / "report", lettering_of(report.names)
    for section in report.sections:
        if section.figures:
            write_bytes(target / f"{section.name}.png", draw(section.figures, section.finding, letters).png)
    write_text(target / "report.html", render_html(report))
    write_text(target / "report.md", render_markdown(report, letters.numbers))
    return target / "report.md"
