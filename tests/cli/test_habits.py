"""Habits of a command line: quick help by topic, completion, one spelling of an area, files that are never replaced."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import pytest
import shapely
import yaml

import maggjob as mj
from maggjob.cli.commands import cli
from maggjob.cli.groups import TOPICS
from maggjob.cli.options import AREA, AREA_WORDS
from maggjob.config.load import builtin_configs, load_config
from maggjob.grid.areas import NAMES, SOUTH, parse_area, transformer
from maggjob.simulator.scene import Scene, passes
from tests.granule_files import beam, write_granule
from tests.typed import maggjob

HEAVY = (
    "numpy yaml pydantic obstore boto3 botocore lithops zarr pandas xarray h5py h5coro mortie shapely pyproj "
    "maggjob.cli.aws maggjob.cli.change maggjob.cli.jobs maggjob.cli.view maggjob.config maggjob.pipeline matplotlib"
).split()
"""Modules that no help needs."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def every_command(group: click.Group = cli, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def shell(script: str, **more: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | more, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


LOADED = f"""
import sys
from maggjob.cli.commands import main
sys.argv = ["maggjob"] + %r
try:
    main()
except SystemExit:
    pass
print()
print([name for name in {HEAVY!r} if name in sys.modules])
"""


@pytest.mark.parametrize("arguments", [["--help"], ["nonsense"], ["completion", "zsh"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert shell(LOADED % arguments).splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("maggjob re", {"report", "retry"}),
        ("maggjob run --dea", {"--deadline"}),
        ("maggjob run --backend ", {"localhost", "aws_lambda", "serial"}),
        ("maggjob view x.zarr --aoi gr", {"grounded", "greenland"}),
        ("maggjob completion f", {"fish"}),
    ],
)
def test_a_shell_completes_and_imports_nothing_heavy(words: str, found: set[str]) -> None:
    typed = words.split(" ")
    script = LOADED.replace("    main()", "    main()\nexcept BaseException: pass\ntry: pass") % []
    said = shell(
        script, _MAGGJOB_COMPLETE="bash_complete", COMP_WORDS=words.strip(), COMP_CWORD=str(len(typed) - 1)
    ).splitlines()
    assert {line.partition(",")[2] for line in said if line.startswith("plain,")} == found
    own = "maggjob.cli.view" if " view " in words else ""
    assert json.loads(said[-1].replace("'", '"')) == ([own] if own else [])


def test_names_of_configurations_are_completed() -> None:
    parameter = next(one for one in cli.commands["run"].params if one.name == "config")
    found = parameter.type.shell_complete(click.Context(cli), parameter, "atl06_t")
    assert [item.value for item in found] == ["atl06_trend", "atl06_trend_dem"]
    assert [item.type for item in parameter.type.shell_complete(click.Context(cli), parameter, "mine")] == ["file"]


def test_every_command_has_a_topic_and_a_line() -> None:
    listed = [name for entries in TOPICS.values() for name in entries]
    assert len(listed) == len(set(listed)) == len(cli.commands)
    assert set(listed) == set(cli.commands)
    for entries in TOPICS.values():
        for name, entry in entries.items():
            assert cli.commands[name].name == name
            # It fits on a line of a terminal of 80 columns.
            assert len(entry.help) <= 60, name
            assert not entry.help.endswith(".")
    said = maggjob("--help").stdout
    for topic, entries in TOPICS.items():
        assert f"\n{topic}:\n" in said
        assert all(f"\n  {name} " in said for name in entries)
    assert "..." not in said.partition("Options:")[2]


def test_a_command_that_no_table_names_is_listed() -> None:
    from maggjob.cli.groups import Commands, LazyCommands

    group = Commands("maggjob", commands=LazyCommands())
    group.add_command(click.Command("other", help="Do something else."))
    said = group.get_help(click.Context(group, info_name="maggjob"))
    assert "Others:\n  other            Do something else." in said
    assert group.commands["other"].name == "other"


def test_one_spelling_of_an_area() -> None:
    assert set(AREA_WORDS.split(", ")) >= {"antarctica", "grounded", "greenland"}
    # What is completed is what there is.
    assert {word.partition(":")[0] for word in AREA.words} == {name.partition(":")[0] for name in NAMES}
    taking = {}
    for name, command in every_command():
        for one in command.params:
            if "--aoi" in one.opts:
                taking[name] = (one.type, one.metavar, AREA_WORDS in str(getattr(one, "help", "")))
    assert taking.keys() >= {"catalog", "simulate", "update", "basins", "view"}
    assert set(taking.values()) == {(AREA, "AREA", True)}
    for old in ("--area", "--polygons", "--south-of", "--north-of"):
        holders = [one for _, command in every_command() for one in command.params if old in one.opts]
        assert holders
        assert all(getattr(one, "hidden", False) for one in holders), old


def test_values_have_units_and_words() -> None:
    said = maggjob("run", "--help").stdout
    assert "--deadline SECONDS" in said
    assert "--backend localhost|aws_lambda|serial" in said
    assert "--swath-buffer-km KM" in maggjob("catalog", "--help").stdout
    assert "--pass-bias METRES" in maggjob("simulate", "--help").stdout
    for name, command in every_command():
        for one in command.params:
            assert (one.metavar or "") not in ("S", "M"), (name, one.name)


@pytest.mark.parametrize("name", ["run", "update", "retry", "series", "scenes", "demo", "status", "verify"])
def test_exit_codes_are_in_the_help(name: str) -> None:
    said = maggjob(name, "--help").stdout
    assert "Exit codes:\n    0  " in said
    assert "\n    2  " in said


def test_the_help_of_every_command_says_what_its_exit_codes_mean() -> None:
    for name, command in every_command():
        assert "Exit codes:\n  0  " in str(command.epilog), name
    assert "  1  wrong usage or input" in maggjob("clean", "--help").stdout


def test_results_are_shown_and_exported_by_the_same_words() -> None:
    own = {name: {opt for one in command.params for opt in one.opts} for name, command in every_command()}
    words = {"--variables", "--variable", "--time", "--cycle", "--month", "--aoi", "--group"}
    assert words <= own["view"]
    assert words <= own["export"]


# ---- configurations


def test_the_name_of_a_built_in_configuration_is_enough() -> None:
    assert load_config("atl06") == load_config("atl06.yaml") == mj.load_config("atl06")
    Path("atl06.yaml").write_text("nonsense: 1\n")
    # The file is read only by its whole name.
    assert load_config("atl06").output.grid.child_order == 12
    with pytest.raises(mj.errors.ConfigError, match="nonsense"):
        load_config("atl06.yaml")
    Path("atl06").write_text("other: 1\n")
    with pytest.raises(mj.errors.ConfigError, match="other"):
        load_config("atl06")


def test_a_file_that_is_not_read_is_named() -> None:
    Path("atl06.yaml").write_text("nonsense: 1\n")
    done = maggjob("plan", "--config", "atl06", "--catalog", "none.json")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == (
        "note: atl06 is the built-in configuration; --config atl06.yaml reads the file"
    )
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("command", "name", "said"),
    [
        ("plan", "nope", "built-in configurations are atl06, atl06_cycles"),
        ("plan", "mine", "there is a file mine.yaml: give its whole name"),
        ("plan", "mur25_sst", "'maggjob series' takes it"),
        ("series", "atl06", "'maggjob run' takes it; those of this job are mur25_sst"),
    ],
)
def test_a_name_that_is_none_lists_those_that_are(command: str, name: str, said: str) -> None:
    Path("mine.yaml").write_text("{}")
    more = ["--start", "2019-01-01", "--end", "2019-01-02"] if command == "series" else []
    done = maggjob(command, "--config", name, *more)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", sorted(builtin_configs(None)))
def test_init_writes_what_is_built_in_with_its_comments(name: str) -> None:
    done = maggjob("init", "mine.yaml", "--from", name.removesuffix(".yaml"))
    assert (done.returncode, done.stderr) == (0, "")
    text, source = Path("mine.yaml").read_text(), builtin_configs(None)[name].read_text()
    assert text.endswith(source)
    assert yaml.safe_load(text) == yaml.safe_load(source)
    command = done.stdout.split("next: maggjob ")[1].split()[0]
    assert command == {"mur25_sst.yaml": "series", "sentinel2.yaml": "scenes"}.get(name, "run")
    assert command in cli.commands
    if command == "run":
        assert load_config("mine.yaml") == load_config(name)


def test_init_needs_no_argument_and_replaces_nothing() -> None:
    assert maggjob("init").returncode == 0
    Path("map.yaml").write_text("mine\n")
    again = maggjob("init")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "error: map.yaml exists and is not replaced; give another name\n"
    assert Path("map.yaml").read_text() == "mine\n"


def test_init_writes_lithops_configuration_once() -> None:
    from maggjob.backend.settings import packaged_config

    assert maggjob("init", "--lithops").returncode == 0
    assert Path("lithops_config.yaml").read_text() == packaged_config().read_text()
    Path("lithops_config.yaml").write_text("mine\n")
    done = maggjob("init", "other.yaml", "--lithops")
    assert done.returncode == 0
    assert "lithops_config.yaml: there already, left as it is" in done.stdout
    assert Path("lithops_config.yaml").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("x.txt", "ends in .yaml"),
        ("no/where.yaml", "cannot write"),
        ("x.yaml --from nope", "there are atl06, atl06_cycles"),
        ("$UNSET/x.yaml", "UNSET"),
    ],
)
def test_init_refuses_with_one_line(arguments: str, said: str) -> None:
    done = maggjob("init", *arguments.split(), "--lithops")
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_is_a_script(name: str) -> None:
    done = maggjob("completion", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_MAGGJOB_COMPLETE={name}_complete" in done.stdout
    assert maggjob("completion", "tcsh").stderr == "error: shell 'tcsh' is unknown; known are bash, zsh, fish\n"


# ---- areas


@pytest.mark.dear("commands in both spellings; test_habits parses both, too")
def test_a_box_is_the_same_in_both_spellings() -> None:
    assert maggjob("simulate", "new", *"--aoi -106,-76,-102,-75 --every 200 --most 2".split()).returncode == 0
    assert maggjob("simulate", "old", *"--area -106 -76 -102 -75 --every 200 --most 2".split()).returncode == 0
    new, old = ({path.name: path.read_bytes() for path in Path(name).iterdir()} for name in ("new", "old"))
    assert new == old
    assert len(new) == 2
    both = maggjob("simulate", "both", "--aoi", "grounded", *"--area -106 -76 -102 -75".split())
    assert "leave --area out" in both.stderr
    assert not Path("both").exists()


@pytest.mark.dear("granules for several areas")
def test_any_area_can_be_simulated() -> None:
    """A triangle, against shapely in the projected plane; and the tracks of a box are those of the box as GeoJSON."""
    import h5py

    corners = [[-106, -76], [-102, -76], [-104, -75], [-106, -76]]
    Path("area.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [corners]}))
    done = maggjob("simulate", "some", "--aoi", "area.geojson", "--every", "50", "--most", "3")
    assert (done.returncode, done.stderr) == (0, "")
    dense = np.concatenate([np.linspace(a, b, 200) for a, b in pairwise(corners)])
    x, y = transformer(SOUTH).transform(dense[:, 0], dense[:, 1])
    plane, rows = shapely.Polygon(np.column_stack([x, y])).buffer(100.0), 0
    for path in Path("some").iterdir():
        with h5py.File(path) as file:
            for name in (one for one in file if one.startswith("gt") and "land_ice_segments" in file[one]):
                segments = file[name]["land_ice_segments"]
                at = transformer(SOUTH).transform(segments["longitude"][:], segments["latitude"][:])
                assert shapely.contains_xy(plane, *at).all()
                rows += len(at[0])
    assert rows > 20
    box = (-106.0, -75.9, -104.0, -75.2)
    around = [[-106, -75.9], [-104, -75.9], [-104, -75.2], [-106, -75.2], [-106, -75.9]]
    polygon = parse_area({"type": "Polygon", "coordinates": [around]})
    assert passes(Scene(area=polygon)) == passes(Scene(area=box))


@pytest.mark.dear("a picture in each page; test_report_page checks them")
def test_the_report_is_a_page_or_json() -> None:
    Path("granules").mkdir()
    write_granule(Path("granules/ATL06_20190222031200_08500211_006_01.h5"), {"gt1l": beam(60)})
    assert maggjob("catalog", "--from-files", "granules").returncode == 0
    done = maggjob("--config", "atl06", "--backend", "serial", "--no-index")
    assert done.returncode == 0
    said = maggjob("report", "atl06.zarr")
    assert (said.returncode, said.stdout) == (0, done.stdout)
    page = maggjob("report", "atl06.zarr", "-o", "report.html")
    assert (page.returncode, page.stderr) == (0, "")
    assert page.stdout.startswith("report.html: 0.")
    assert Path("report.html").read_text().startswith("<!DOCTYPE html>")
    plain = json.loads(maggjob("report", "atl06.zarr", "--json").stdout)
    assert plain["state"] == "complete"
    assert plain["summary"]["cells"]["complete"] == plain["summary"]["total_cells"]
    both = maggjob("report", "atl06.zarr", "--json", "-o", "report.html")
    assert json.loads(both.stdout) == plain
    assert both.stderr.startswith("report.html: ")
    for arguments, words in ((("nothing.zarr",), "no summary"), (("atl06.zarr", "-o", "x.png"), "ends in .html")):
        bad = maggjob("report", *arguments)
        assert (bad.returncode, bad.stdout) == (1, "")
        assert words in bad.stderr
        assert len(bad.stderr.splitlines()) == 1
    assert not Path("x.png").exists()
