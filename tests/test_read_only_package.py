"""Where a run writes: its folder, the folder for temporary files, caches of users; never beside the package."""

from __future__ import annotations

import os
from pathlib import Path

from small_run import SmallRun


def test_a_run_writes_into_its_folder_and_among_temporary_files_only(small_run: SmallRun) -> None:
    caches = [Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")), Path.home() / ".config" / "matplotlib"]
    places = [small_run.folder.parent, small_run.temporary, *caches]
    # Compiled modules are the interpreter's; if it cannot write them, it continues without.
    watched = [path for path in small_run.written if "__pycache__" not in path.parts and path != Path(os.devnull)]
    assert small_run.folder / "export" / "result.json" in watched
    stray = [path for path in watched if not any(path.is_relative_to(place) for place in places)]
    # Before the run folder can be made, a probe is written where it will be, and removed.
    assert [path for path in stray if path.parent != small_run.cwd or not path.name.startswith("..lock.")] == []
    assert not [path for path in stray if path.exists()]
