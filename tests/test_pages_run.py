"""What a page of the documentation tells to type works, block by block, in the order of the page.

The granules are simulated, and NASA's CMR and archive are stand-ins on this machine.
"""

from pathlib import Path

import pytest

from tests.pages import ROOT, blocks_of, granules_for_pages, reader

# Pages that can be typed from top to bottom; other tests run the quickstart and the page about jobs of one's own, and
# check the commands and options of all pages.
NAMES = ("docs/how-to/cycles.md", "docs/how-to/strong-beams.md", "docs/how-to/update.md")
PAGES = [ROOT / name for name in NAMES]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with granules of eleven cycles, a catalog, and results under the names that pages use."""
    folder = tmp_path_factory.mktemp("prepared") / "work"
    granules_for_pages(folder / "granules")
    return folder


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
@pytest.mark.dear("types what a page shows, 2 to 30 CPU-seconds each")
def test_what_a_page_shows_can_be_typed(
    page: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(page.relative_to(ROOT))
    with reader(tmp_path / "work", prepared, monkeypatch) as one:
        for block in blocks_of(page):
            one.block(block, f"{name}:{block.line}")
