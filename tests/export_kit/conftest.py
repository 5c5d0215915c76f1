"""The page of the little bundle, served, in a headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from in_browser import chromium, served, web_runtime

from edgenas.deploy.bundle.web_page import write_web


@pytest.fixture(scope="module")
def site(shared_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = write_web(shared_bundle, tmp_path_factory.mktemp("site") / "page", web_runtime())
    with served(folder) as address:
        yield folder, address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Any, site: tuple[Path, str]) -> Iterator[Any]:
    """The page, its model loaded; nothing it logs is an error."""
    context = browser.new_context(viewport={"width": 375, "height": 700})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("console", lambda stated: errors.append(stated.text) if stated.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(site[1] + "/index.html")
    opened.wait_for_function("document.getElementById('message').textContent === 'Ready.'")
    yield opened
    context.close()
    assert errors == []
