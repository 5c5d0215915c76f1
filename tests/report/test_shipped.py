"""One number for one thing: every output shows the p50, verdict and accuracies of the file that ships."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from damaging import call
from finished_run import write_run
from small_run import SmallRun

from edgenas.cli.summary_display import print_summary
from edgenas.deploy.bundle.shipped_wording import latency_sentences
from edgenas.records.export import TimedLatency
from edgenas.records.folder import SummaryRecord
from edgenas.report.compare import compare_runs
from edgenas.report.load import load_run
from edgenas.report.writing import write_report

SENTENCE = re.compile(
    r"p50 (?P<p50>[\d.]+) ms \[(?P<low>[\d.]+), (?P<high>[\d.]+)\] on (?P<device>[\w-]+): "
    r"(?P<verdict>within|over|not significantly within|no latency budget)"
)
TOP1 = re.compile(r"(?P<test>[\d.]+)% test top-1, (?P<val>[\d.]+)% validation top-1")
WORDS = {"within": "within", "over": "over", "not significant": "not significantly within", None: "no latency budget"}


def stated(text: str) -> dict[str, Any]:
    """The figures that an output for people states of the file that ships; all places of one output agree."""
    plain = html.unescape(re.sub(r"\\([\[\]])", r"\1", text))
    latency = {found["device"]: found.groupdict() for found in SENTENCE.finditer(plain)}
    accuracies = {(found["test"], found["val"]) for found in TOP1.finditer(plain)}
    assert len({found.group() for found in SENTENCE.finditer(plain)}) == len(latency)
    assert len(accuracies) <= 1
    return {"latency": latency, "top1": accuracies.pop() if accuracies else None}


def expected(chosen: dict[str, Any]) -> dict[str, Any]:
    """The same figures from an output for machines."""
    keys = {"p50": "p50_us", "low": "ci_low_us", "high": "ci_high_us"}
    latency = {
        device: {name: f"{one[key] / 1e3:.3f}" for name, key in keys.items()}
        | {"device": device, "verdict": WORDS[one["verdict"]]}
        for device, one in chosen["latency"].items()
    }
    return {"latency": latency, "top1": tuple(f"{100 * chosen[key]:.2f}" for key in ("test_top1", "val_top1"))}


def test_six_outputs_of_a_run_state_the_same_figures(small_run: SmallRun) -> None:
    folder, chosen = small_run.folder, small_run.summary["chosen"]
    bundle = folder / chosen["bundle"]
    manifest = json.loads((bundle / "manifest.json").read_text())
    wanted = expected(chosen)
    assert expected(json.loads((folder / "export" / "result.json").read_text())["chosen"]) == wanted
    of_manifest = {"test_top1": manifest["accuracy"]["test_top1"], "val_top1": manifest["accuracy"]["validation_top1"]}
    assert expected({"latency": manifest["latency"], **of_manifest}) == wanted
    texts = [small_run.stdout, call("status", str(folder), cwd=small_run.cwd).stdout]
    texts += [(folder / "report" / name).read_text(encoding="utf-8") for name in ("report.md", "report.html")]
    for text in texts:
        assert stated(text) == wanted
    card = (bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert stated(card)["latency"] == wanted["latency"]
    for name, percent in zip(("test", "validation"), wanted["top1"], strict=True):
        assert f"| {name} top-1 | {percent} % |" in card
    as_json = json.loads(call("status", str(folder), "--json", cwd=small_run.cwd).stdout)
    assert as_json["chosen"] == chosen


def judged_run(folder: Path, verdict: str | None) -> dict[str, Any]:
    """A finished run on two devices whose file has a verdict on the second; returns its summary."""
    summary = write_run(folder, devices=("here", "pi4"))
    one = summary["chosen"]["latency"]["pi4"]
    if verdict is None:
        one |= {"verdict": None, "limited": None, "limit_us": None, "value_us": None, "upper_us": None}
    else:
        one |= {
            "verdict": verdict,
            "limit_us": one["p50_us"] * {"within": 1.1, "not significant": 1.005}.get(verdict, 0.9),
        }
    (folder / "summary.json").write_text(json.dumps({"schema_version": 1, **summary}))
    return summary


@pytest.mark.parametrize("verdict", ["within", "not significant", "over", None])
def test_every_verdict_is_in_words_wherever_the_file_is_shown(
    tmp_path: Path, verdict: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    summary = judged_run(folder, verdict)
    kept = [entry for entry in summary["front"] if not entry["dropped"]]
    record = SummaryRecord.parse(summary | {"front": kept}, "summary.json", "run it again")
    print_summary(record, str(folder))
    outputs = [capsys.readouterr().out]
    outputs += [path.read_text(encoding="utf-8") for path in (write_report(folder), folder / "report" / "report.html")]
    for output in outputs:
        assert stated(output) == expected(summary["chosen"])


def test_the_front_s_own_measurements_are_not_given_as_the_file_s(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    summary = judged_run(folder, "within")
    chosen = summary["chosen"]
    entry = next(entry for entry in summary["front"] if entry["arch"] == chosen["arch"])
    page = write_report(folder).with_suffix(".html").read_text(encoding="utf-8")
    header = page.split("<header>")[1].split("</header>")[0]
    shown, front = (one["latency"]["pi4"]["p50_us"] / 1e3 for one in (chosen, entry))
    assert f"<b>{shown:.3f} ms</b> p50 on pi4, within budget: yes" in header
    assert f"{front:.3f}" not in header


def test_compared_runs_show_their_files(tmp_path: Path) -> None:
    summaries = [judged_run(tmp_path / name, verdict) for name, verdict in (("a", "within"), ("b", "not significant"))]
    rows = compare_runs([tmp_path / "a", tmp_path / "b"]).rows
    assert rows["pi4: within budget"] == ("yes", "not significant")
    assert rows["pi4: p50 ms"] == tuple(f"{one['chosen']['latency']['pi4']['p50_us'] / 1e3:.3f}" for one in summaries)


def test_a_repeated_measurement_and_an_upper_limit_are_named(tmp_path: Path) -> None:
    one = judged_run(tmp_path / "run", "not significant")["chosen"]["latency"]["pi4"]
    latency = TimedLatency.parse(one | {"repeated": True}, "", "")
    (sentence,) = latency_sentences({"pi4": latency})
    assert f"whose upper confidence limit is {one['upper_us'] / 1e3:.3f} ms" in sentence
    assert sentence.endswith("; a first, disturbed measurement was discarded")
    assert load_run(tmp_path / "run").summary.chosen is not None
