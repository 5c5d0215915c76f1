"""One small whole run, made by the command line as a user would, shared by all tests that look at a run."""

from __future__ import annotations

import pytest
from small_run import SMALL_CONFIG, SMALL_SPACE, SmallRun, edgenas


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    cwd = tmp_path_factory.mktemp("small run")
    (cwd / "tiny-16.yaml").write_text(SMALL_SPACE)
    (cwd / "small.yaml").write_text(SMALL_CONFIG)
    done = edgenas("run", "small.yaml", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return SmallRun(cwd, cwd / "runs" / "small", done.stdout, done.stderr)
