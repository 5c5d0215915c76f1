"""All outputs of a run state the pretrained weights that it started from, or that its weights were random."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import SmallRun, edgenas

from edgenas.config.reading import dump_config, parse_config
from edgenas.files import read_json, write_text
from edgenas.records.init import InitRecord
from edgenas.records.weights import WeightsFacts
from edgenas.runs.run import open_run

FACTS = WeightsFacts(
    name="efficientnet-lite0",
    origin="a package 1.0",
    licence="Apache-2.0",
    sha256="0123456789abcdef" * 4,
    hash_from="package",
    resolution=224,
    num_classes=1000,
    published_top1_percent=75.1,
)
NOTE = "training started from random weights in the space tiny-16, because no pretrained network is installed"


def finished(small_run: SmallRun, folder: Path, network: WeightsFacts | None) -> Path:
    """A copy of the small run, as if it had been begun with `train.init: auto`; its export is done again."""
    run = small_run.copied(folder).folder
    value = open_run(run).config.model_dump(mode="json")
    config = parse_config(value | {"train": value["train"] | {"init": "auto"}}, "a config")
    write_text(run / "config.yaml", dump_config(config))
    pixels = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "crop": 1.0}
    InitRecord(asked="auto", network=network, note=None if network else NOTE, **pixels).write(run / "init.json")
    (run / "export" / "result.json").unlink()
    return run


@pytest.mark.parametrize("network", [FACTS, None], ids=["pretrained", "random"])
def test_every_output_states_the_initial_weights(
    network: WeightsFacts | None, small_run: SmallRun, tmp_path: Path
) -> None:
    run = finished(small_run, tmp_path / "copy" / "here", network)
    done = edgenas("run", str(run), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    words = "weights of efficientnet-lite0, from a package 1.0 (Apache-2.0)" if network else f"random weights: {NOTE}"
    assert words in " ".join(done.stdout.split())
    summary, manifest = (read_json(run / name) for name in ("summary.json", "export/bundle/manifest.json"))
    recorded = read_json(run / "init.json")
    assert recorded.items() >= summary["init"].items()
    assert manifest["init"] == summary["init"]
    card = (run / "export" / "bundle" / "MODEL_CARD.md").read_text()
    assert f"Training started from {words}" in " ".join(card.split())
    assert (FACTS.sha256 in card) == (network is not None)
    licence = "Training started from the weights of efficientnet-lite0 (a package 1.0): Apache-2.0"
    assert (licence in manifest["licences"]) == (network is not None)
    for name in ("report.md", "report.html"):
        assert words in " ".join((run / "report" / name).read_text().split())
