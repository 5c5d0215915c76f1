"""`edgenas export --arch` of a network of the shelf that was no candidate, and what is refused about such networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_local import fake_local
from small_run import SmallRun
from test_shelf_run import LITE0, silent, with_shelf

from edgenas.deploy.bundle.bundle import read_bundle
from edgenas.errors import ConfigError, RunFolderError, SpaceError
from edgenas.records.search import SearchRecord
from edgenas.runs.run import Run, open_run
from edgenas.space.arch import Arch
from edgenas.stages.budgets.limits import unchecked_limits
from edgenas.stages.evaluate import evaluate
from edgenas.stages.export import export_bundle
from edgenas.stages.shipping.bundle_network import BundleOptions
from edgenas.stages.weights.tuned_network import NETWORKS, tuned_subnet
from edgenas.stages.whole_run import run_stages


@pytest.fixture(autouse=True)
def device() -> Iterator[None]:
    with fake_local():
        yield


@pytest.fixture
def run(small_run: SmallRun, tmp_path: Path) -> Run:
    """Verified, with a network on its shelf that is over the budget, so that it is no candidate."""
    shelved = with_shelf(small_run, tmp_path / "run", ("200us",))
    search = shelved.result(SearchRecord)
    # The copied search had another budget.
    shelved.finish(search.model_copy(update={"budgets": unchecked_limits(shelved).budgets}))
    run_stages(shelved, silent, ["verify"])
    return open_run(shelved.folder)


@pytest.fixture
def arch(run: Run) -> Arch:
    return run.shelf.spaces[LITE0].largest


def test_a_network_that_was_no_candidate_is_fine_tuned_and_bundled(
    run: Run, arch: Arch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RunFolderError, match="finetune has not been done"):
        export_bundle(run, arch.id, BundleOptions(), tmp_path / "bundle", silent)
    # It is refused before anything is trained.
    assert not (run.folder / NETWORKS).exists()
    run_stages(run, silent, ["finetune"])
    with pytest.raises(ConfigError, match=rf"{arch.id} is not fine-tuned.*--arch"):
        evaluate(run, [arch.id], "val", silent)
    out = export_bundle(run, arch.id, BundleOptions(), None, silent)
    assert out.name == f"{arch.id.replace(':', '-')}-fp32"
    manifest = read_bundle(out)
    tuned = tuned_subnet(run, arch)
    assert tuned is not None
    assert (manifest.arch, manifest.space) == (arch, run.shelf.spaces[LITE0].structure_id)
    assert manifest.init == run.init_of(arch)
    assert manifest.preprocess.crop == run.shelf.networks[LITE0].crop != run.images.dataset.pixels.crop
    assert manifest.accuracy.validation_top1 == tuned.record.val_top1_after
    assert manifest.latency["here"].predicted_us is None
    (row,) = evaluate(run, [arch.id], "val", silent)
    assert (row.arch, row.fine_tuned, row.top1) == (arch, True, tuned.record.val_top1_after)
    assert "inherited weights" not in caplog.text


def test_networks_that_are_not_on_the_shelf_are_named_with_those_that_are(run: Run, arch: Arch) -> None:
    for text, message in (
        (arch.id.replace("lite0", "lite1"), rf"not on the shelf of this run; did you mean '{LITE0}'"),
        (arch.id.replace(":r16", ":r24"), r"resolution is 24, the space has 16"),
        (arch.id.removeprefix(f"{LITE0}:"), r"stages"),
    ):
        with pytest.raises(SpaceError, match=message):
            export_bundle(run, text, BundleOptions(), None, silent)
