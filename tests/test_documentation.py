"""What the documentation shows runs, and what it names is there."""

import doctest
import importlib
import inspect
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import h5py
import pytest

import maggjob
from maggjob.cli.commands import cli
from maggjob.cli.results import BAD_INPUT, COMPLETE, INCOMPLETE, STOPPED
from maggjob.config.load import load_config
from maggjob.grid.coverage import area_cells
from maggjob.pipeline.status import read_summary
from maggjob.simulator.scene import simulate
from maggjob.statistics.functions import FUNCTIONS
from tests.catalog.test_search_run import stand
from tests.pages import added_to_atl06

PACKAGE = Path(maggjob.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts) for p in PACKAGE.rglob("[!_]*.py"))
PAGES = sorted(
    page for pattern in ("*.md", "docs/**/*.md", "runtime/*.md", ".github/**/*.md") for page in ROOT.glob(pattern)
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
ROOMS = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
every_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


# Modules whose examples run a whole job or draw.
DEAR = (
    "catalog.find grid.coverage jobs.cells jobs.granule_index output.table pipeline.by_hand pipeline.checks "
    "pipeline.history pipeline.update planning.make show.basins show.dataset show.export show.maps show.page "
    "show.report_page simulator.scene"
)
JOBS = {f"maggjob.{name}" for name in DEAR.split()}
EXAMPLES = [
    pytest.param(module, marks=pytest.mark.dear("runs a job; that of `run` is in make test"))
    if module in JOBS
    else module
    for module in MODULES
]


@pytest.mark.parametrize("module", EXAMPLES)
def test_examples_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module), extraglobs={"maggjob": maggjob})
    assert result.failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    found = [
        name
        for name in maggjob.__all__
        if any(test.examples for test in finder.find(getattr(maggjob, name), name, module=False))
    ]
    promised = "load_config run plan tasks task map_cell reduce_tally open_result simulate make_catalog"
    assert set(promised.split()) <= set(found)


# --- Pages ---


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of a language."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for _, block in found]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def code(page: Path) -> list[str]:
    """Return the words between backticks."""
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose(page))]


def typed(page: Path) -> list[str]:
    """Commands of a page: lines of shell blocks without comments, and what stands between backticks."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.join(shlex.split(line, comments=True)) for line in lines] + code(page)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def options(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


def commands(group: click.Group = cli) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield from commands(command) if isinstance(command, click.Group) else [command]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if link.startswith(("https://", "doi:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in [slug(heading) for heading in re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)]


@every_page
def test_commands_and_their_options_exist(page: Path) -> None:
    for line in typed(page):
        if not line.startswith("maggjob "):
            continue
        words = line.split()[1:]
        command: click.Command = cli
        if words[0].startswith("-") and words[0] not in ("--help", "--version"):
            words.insert(0, "run")
        while isinstance(command, click.Group) and words and words[0][0].islower():
            name = words.pop(0)
            if "|" in name:  # maggjob runtime build|deploy
                assert set(name.split("|")) <= command.commands.keys(), line
                break
            assert name in command.commands, line
            command = command.commands[name]
        known = options(command) | {"--version", "--debug"}
        assert not {w.partition("=")[0] for w in words if w.startswith("--")} - known, line


@every_page
def test_options_are_those_of_a_command(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        pytest.skip("it also names options that were removed")
    known = {"--debug", "--version"}.union(*map(options, commands()))
    named = {words[0].partition("=")[0] for text in code(page) if (words := text.split()) and words[0].startswith("--")}
    assert not named - known


@every_page
def test_targets_benchmarks_and_tests_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in typed(page):
        if match := re.match(r"make ([a-z0-9-]+)$", line):
            assert match[1] in targets, line
        if match := re.match(r"python -m (benchmarks\.\w+)", line):
            assert (ROOT / f"{match[1].replace('.', '/')}.py").is_file(), line
        if re.fullmatch(r"(tests|benchmarks|runtime|configs|docs|requirements|\.github)/[\w./-]+", line):
            assert (ROOT / line).exists(), line


@every_page
def test_modules_that_a_page_names_exist(page: Path) -> None:
    for text in code(page):
        match = re.fullmatch(r"([a-z0-9_]+(?:/[a-z0-9_]+)+)(?:\.([A-Za-z_][A-Za-z0-9_.]*))?", text)
        if match is None or (ROOT / text).exists() or text.partition("/")[0] not in ROOMS:
            continue
        module, name = match.groups()
        assert (PACKAGE / f"{module}.py").is_file() or (PACKAGE / module).is_dir(), text
        if name is not None:
            value: Any = importlib.import_module(f"maggjob.{module.replace('/', '.')}")
            for attribute in name.split("."):
                assert hasattr(value, attribute), text
                value = getattr(value, attribute)


@every_page
def test_python_of_a_page_uses_what_is_there(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")
        for name in re.findall(r"\b(?:mj|maggjob)\.(\w+)", block):
            assert name in maggjob.__all__ or (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file(), name


@every_page
def test_yaml_of_a_page_is_a_configuration(page: Path) -> None:
    for block in blocks(page, "yaml"):
        load_config(added_to_atl06(block))


@pytest.mark.dear("cells of whole ice sheets")
def test_cells_of_named_areas_are_as_many_as_the_page_says() -> None:
    table = (ROOT / "docs/running.md").read_text()
    rows = re.findall(r"^\| `(\w+)`.*: ([\d,]+) cells \|$", table, re.MULTILINE)
    said = {name: int(number.replace(",", "")) for name, number in rows}
    assert said.keys() == {"antarctica", "grounded", "greenland"}
    assert {name: len(area_cells(name)) for name in said} == said


def test_every_statistic_and_its_parameters_are_in_the_table() -> None:
    text = (ROOT / "docs/output.md").read_text()
    rows = text[text.index("| `function` | `params` |") :].split("\n\n")[0].splitlines()[2:]
    said = {}
    for row in rows:
        functions, params = row.strip("|").split("|", 1)
        known = {name for name in re.findall(r"`(\w+)`", params) if any(name in f.params for f in FUNCTIONS.values())}
        said |= dict.fromkeys(re.findall(r"`(\w+)`", functions), known)
    # The only method is the default one.
    assert said == {name: set(function.params) - {"method"} for name, function in FUNCTIONS.items()}


def test_exit_codes_are_those_of_the_page() -> None:
    codes = re.findall(r"^\| (\d) \| (\w+)", (ROOT / "docs/running.md").read_text(), re.MULTILINE)
    numbers = {"complete": COMPLETE, "an": BAD_INPUT, "finished": INCOMPLETE, "stopped": STOPPED}
    assert {word: int(code) for code, word in codes} == numbers


def test_the_notebook_cell_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = [block for block in blocks(ROOT / "README.md", "python") if "earthaccess" in block]
    import earthaccess

    granules = simulate(tmp_path / "granules", area=(-106.0, -76.0, -102.0, -75.0), every=4, most=2)
    signature, find = inspect.signature(earthaccess.login), maggjob.find_catalog
    monkeypatch.setattr("earthaccess.login", signature.bind)
    with stand(granules) as there:
        local = {"endpoint": there.endpoint, "version": "006"}
        monkeypatch.setattr("maggjob.find_catalog", lambda **asked: find(**asked, **local))
        assert block.count("mj.execute(plan)") == block.count("> 100") == 1
        block = block.replace("mj.execute(plan)", 'mj.execute(plan, backend="serial")').replace("> 100", "> 5")
        names: dict[str, Any] = {}
        exec(block, names)
    assert names["result"].complete
    assert names["result"].tally.granules["used"] == len(granules)
    assert 0 < names["heights"].sizes["cells"] < names["result"].tally.observations


def test_the_job_of_the_page_runs_as_it_stands(tmp_path: Path) -> None:
    """The module and the script, in files of their own, by a Python of their own."""
    module, script = blocks(ROOT / "docs/own-job.md", "python")
    assert len([line for line in (module + script).splitlines() if line.strip()]) <= 40
    (tmp_path / "means.py").write_text(module)
    (tmp_path / "run.py").write_text(script)
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    summary = read_summary(str(tmp_path / "means"))
    assert summary["complete"]
    assert len(summary["means"]) == summary["tasks"]["map"]["done"] == 3
    for row in summary["means"]:
        with h5py.File(tmp_path / "granules" / f"{row['granule']}.h5") as file:
            heights = file["gt1l/land_ice_segments/h_li"][:]
        good = heights[heights < 1e38]
        assert (row["segments"], row["mean"]) == (len(good), pytest.approx(float(good.mean()), rel=1e-6))
