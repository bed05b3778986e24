"""What a page of the documentation tells to type works, block by block, in the order of the page.

The granules are simulated, and NASA's CMR and archive are stand-ins on this machine.
"""

import shutil
from pathlib import Path

import pytest

from tests.pages import ROOT, Block, blocks_of, granules_for_pages, reader, results_for_pages

AWS = "needs an AWS account"
MAKE = "tests and builds run in continuous integration"
REASONS = (AWS, MAKE, "asks a service for other data than the simulator has", "a fragment, or a function of one")
"""Why a block is not run, unless another test runs it: then the reason is the name of its file."""
DOCUMENTATION, SITE = "tests/test_documentation.py", "tests/test_site.py"
NOT_RUN = {
    "CONTRIBUTING.md": {
        "git clone": MAKE,
        "source .venv": MAKE,
        "make lint": MAKE,
        "def _range": REASONS[3],
        "from maggjob.pipeline.session": REASONS[3],
    },
    "README.md": {"make demo": MAKE, "import earthaccess": DOCUMENTATION},
    "docs/hub-operator.md": dict.fromkeys(("pip install", "maggjob cloud setup", "maggjob cloud status"), AWS),
    "docs/hub-user.md": dict.fromkeys(("maggjob cloud use", "maggjob catalog", "import maggjob"), AWS),
    "docs/no-account.md": dict.fromkeys(("export", "git clone", "import maggjob", "maggjob cloud teardown"), AWS),
    "docs/own-aws.md": dict.fromkeys(("pip install", "maggjob c"), AWS),
    "docs/own-job.md": dict.fromkeys(("from dataclasses", "import maggjob"), DOCUMENTATION),
    "docs/quickstart.md": dict.fromkeys(("pip install", "maggjob", "import maggjob"), SITE),
    "docs/reliability.md": {"make faults": MAKE},
    "docs/scenes.md": {"maggjob scenes": REASONS[2]},
    "docs/series.md": {"maggjob series": REASONS[2]},
    "runtime/README.md": {"# 1. Create role": AWS, "sudo apt-get": MAKE},
}
"""Blocks that are not run here, by page and by what they begin with."""
OWN_RESULTS = {
    "docs/running.md": ("atl06.zarr", "map.zarr"),
    "README.md": ("atl06.zarr",),
    "docs/change.md": ("dh.zarr",),
}
"""Results that a page makes itself."""


def _why(page: str, block: Block) -> str | None:
    return next((why for begin, why in NOT_RUN.get(page, {}).items() if block.text.startswith(begin)), None)


def _typed(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if block.language in ("sh", "python")]


EVERY = {
    str(page.relative_to(ROOT)): _typed(page)
    for pattern in ("*.md", "docs/**/*.md", "runtime/*.md")
    for page in sorted(ROOT.glob(pattern))
}
NAMES = [name for name, blocks in EVERY.items() if any(_why(name, block) is None for block in blocks)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with granules of eleven cycles, a catalog, and results under the names that pages use."""
    folder = tmp_path_factory.mktemp("prepared") / "work"
    granules_for_pages(folder / "granules")
    results_for_pages(folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
# Lithops leaves /dev/null open, in the page that calls it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.dear("types what a page shows, 2 to 30 CPU-seconds each")
def test_what_a_page_shows_can_be_typed(
    name: str, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reader(tmp_path / "work", prepared, monkeypatch) as one:
        for store in OWN_RESULTS.get(name, ()):
            shutil.rmtree(one.folder / store)
            shutil.rmtree(one.folder / f"{store}.run")
        for block in blocks_of(ROOT / name):
            if _why(name, block) is None:
                one.block(block, f"{name}:{block.line}")


def test_what_is_not_run_is_there_and_has_a_reason() -> None:
    for name, table in NOT_RUN.items():
        for begin, why in table.items():
            assert any(block.text.startswith(begin) for block in EVERY[name]), (name, begin)
            assert why in REASONS or name in (ROOT / why).read_text() or Path(name).name in (ROOT / why).read_text()
