"""The documentation as a site: what is generated lists everything, and what a newcomer types works."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import zarr

import maggjob.errors
from maggjob.config.schema import Config
from maggjob.jobs.worker import reason_and_message
from maggjob.output.table import ledger_columns
from maggjob.statistics.functions import FUNCTIONS
from tests.test_documentation import blocks, commands

ROOT = Path(maggjob.__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """The module that makes the reference pages, as the site imports it."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "site" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def marks() -> Iterator[str]:
    for page in (ROOT / "docs").rglob("*.md"):
        yield from re.findall(r"^<!-- generated: ([\w-]+) -->$", page.read_text(), re.MULTILINE)


def test_every_generated_part_is_on_a_page_and_can_be_made(reference: ModuleType) -> None:
    assert sorted(marks()) == sorted(reference.PARTS)
    assert all(len(make()) > 100 for make in reference.PARTS.values())


def test_every_public_name_is_in_the_reference(reference: ModuleType) -> None:
    listed = re.findall(r"^::: ([\w.]+)$", reference.python(), re.MULTILINE)
    assert sorted(name.rsplit(".", 1)[1] for name in listed) == maggjob.__all__
    topics = " ".join(reference.TOPICS.values()).split()
    assert sorted(topics) == maggjob.__all__, "give each public name a topic in docs/site/reference.py"


def test_every_command_with_all_options_is_in_the_reference(reference: ModuleType) -> None:
    text = reference.commands()
    for command in commands():
        assert re.search(rf"^## maggjob .*\b{command.name}$", text, re.MULTILINE)
        shown = [p for p in command.params if not getattr(p, "hidden", False)]
        assert all(max(p.opts, key=len) in text for p in shown if p.param_type_name == "option")


def test_every_key_of_a_configuration_is_in_the_reference(reference: ModuleType) -> None:
    text = reference.configuration().replace("<wbr>", "")
    rows = re.findall(r"^\| <code>([^<]+)</code> \| ([^|]*) \| ([^|]*) \| (.*) \|$", text, re.MULTILINE)
    known = {key for key, *_ in rows}

    def walk(model: type, path: str) -> Iterator[str]:
        for name, field in model.model_fields.items():
            yield f"{path}{name}"
            for inner in reference.models_in(field.annotation):
                between = "NAME." if "dict" in str(field.annotation) else ""
                yield from walk(inner, f"{path}{name}.{between}") if path.count(".") < 4 else ()

    assert set(walk(Config, "")) <= known
    assert all(meaning for _, _, _, meaning in rows)


def test_every_statistic_is_in_the_reference(reference: ModuleType) -> None:
    text = reference.statistics()
    assert all(f"| `{name}` |" in text for name in FUNCTIONS)


@pytest.mark.parametrize("config", ["atl06", "atl06_cycles"])
def test_the_schema_is_that_of_a_result(config: str, reference: ModuleType, sector: list[Path], tmp_path: Path) -> None:
    """Zarr tells what is there, the tables what should be."""
    maggjob.run(config, catalog=maggjob.make_catalog(sector), store="map.zarr", backend="serial")
    root = zarr.open_group("map.zarr", mode="r")
    (name, group), *_ = root.groups()
    section = reference.output_schema().split("\n### ")
    (text,) = [one for one in section if one.removeprefix("### ").startswith(f"{config}\n")]
    assert f"Group `{name}`" in text
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \| (.*?) \| (.*) \|$", text, re.MULTILINE)
    said = {variable: values for variable, *values in rows}
    for variable, array in group.arrays():
        dtype, dims, units, fill, meaning = said.pop(variable)
        assert (dtype, dims) == (str(array.dtype), ", ".join(array.metadata.dimension_names or ()))
        assert units == array.attrs.get("units", "")
        assert float(fill) == array.fill_value or (fill == "NaN" and np.isnan(array.fill_value))
        assert str(array.attrs.get("long_name", "")) in meaning
    assert said == {}
    for attributes, part in ((group.attrs, "output-attributes"), (root.attrs, "output-root")):
        named = set(re.findall(r"^\| `(\w+)` \|", reference.text_of(part), re.MULTILINE))
        assert set(attributes) <= named
        # What depends on the granules, or on several orders.
        assert named - set(attributes) <= {"source_doi", "references", "groups"}


def test_every_column_of_the_ledger_is_in_the_reference(reference: ModuleType) -> None:
    words = re.findall(r"`(\w+)", reference.ledger())
    assert {name for name in ledger_columns([]) if not name.startswith("segments_")} <= set(words)


def reasons() -> set[str]:
    """Every word under which a failure is counted: of errors, of calls, of what has no error of its own."""
    kinds = [maggjob.errors.MaggjobError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    found = {kind.reason for kind in kinds} | {reason_and_message(problem)[0] for problem in (MemoryError(), OSError())}
    for module in Path(maggjob.__file__).parent.rglob("*.py"):
        found |= set(re.findall(r"\breason(?:\"?: |=)\"([a-z_0-9]+)\"", module.read_text()))
    return found


def test_every_word_of_an_error_is_explained_once() -> None:
    page = (ROOT / "docs" / "how-to" / "troubleshooting.md").read_text()
    first = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", page, re.MULTILINE)
    words = [word for row in first for word in re.findall(r"`(\w+)`", row)]
    assert sorted(words) == sorted(reasons())


def test_lists_nest_on_the_site_as_on_github() -> None:
    sys.path.insert(0, str(ROOT / "docs" / "site"))
    try:
        from hooks import nested
    finally:
        sys.path.pop(0)
    code = "\n{0}```sh\n{0}g\n{0}```\n"
    rest = "2. h\n\ni\n\n```sh\n- j\n  k\n```\n"
    page = "- a\n  b\n  1. c\n     d\n- e\n\n1. f\n" + code.format("   ") + rest
    assert nested(page) == "- a\n    b\n    1. c\n       d\n- e\n\n1. f\n" + code.format("    ") + "\n" + rest
    # Of a whole page: no line is lost, and none is changed but for its indent.
    for name in ("docs/output.md", "CONTRIBUTING.md", "docs/no-account.md"):
        text = (ROOT / name).read_text()
        assert [line.strip() for line in nested(text).split("\n") if line] == [x.strip() for x in text.split("\n") if x]


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text()
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if f"{page}\n" not in menu} == set()


@pytest.mark.dear("builds the whole site, 10 CPU-seconds")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: type 'make docs' once")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "reference" / "python" / "index.html").read_text()
    assert "find_catalog" in page
    # An entry of a list keeps what belongs to it.
    page = (tmp_path / "site" / "contributing" / "index.html").read_text()
    assert page.count("<ol>") == 3
    assert "<li>\n<p>A new parameter" in page
    # Nothing is fetched from another host when a page is read.
    for text in (tmp_path / "site").rglob("*.html"):
        assert not re.findall(
            r'(?:<script[^>]*src|<link[^>]*rel="stylesheet"[^>]*href)="https?://[^"]*"', text.read_text()
        )


def typed(page: Path) -> list[str]:
    """The commands of a page, without comments."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.join(shlex.split(line, comments=True)) for line in lines if shlex.split(line, comments=True)]


@pytest.mark.dear("the demonstration and a run, as a newcomer would type them")
def test_the_quickstart_works_as_it_stands(tmp_path: Path) -> None:
    page = ROOT / "docs" / "quickstart.md"
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    lines = typed(page)
    real = lines.index("maggjob catalog --cycle 22 --aoi -105,-76,-100,-75")
    for line in lines[:real]:
        if line.startswith("pip "):
            continue
        done = subprocess.run(
            shlex.split(line), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    (block,) = [one for one in blocks(page, "python") if "open_result" in one]
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "h_mean" in done.stdout
    pictures = [tmp_path / "demo" / name for name in ("map.png", "rates.png")]
    assert all(picture.stat().st_size > 10_000 for picture in pictures)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
@pytest.mark.dear("runs a notebook, 10 to 30 CPU-seconds each")
def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ipykernel", reason="ipykernel is not installed: type 'make docs' once")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_shows_what_it_gave(path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert any(cell.outputs for cell in code)
    text = path.read_text()
    assert "Traceback" not in text
    assert not re.search(r'"/(tmp|home|root|work)/', text)
