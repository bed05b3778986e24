"""Catalogs: exact cells, one spelling, and nothing that could count a granule twice or lose one."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import maggjob
from maggjob import Config
from maggjob.catalog.catalog import Catalog, Entry, granule_id
from maggjob.catalog.file import load_catalog
from maggjob.catalog.folders import find_files
from maggjob.catalog.local import from_files
from maggjob.config.load import builtin_configs
from maggjob.errors import CatalogError, CellError, InputError
from maggjob.grid.footprints import Footprints
from maggjob.grid.healpix import format_cell, nested_to_word
from maggjob.icesat2.names import window_label
from maggjob.model.recipe import Recipe
from maggjob.planning.make import choose_driver, select_cells
from tests.granule_files import NAME, beam, cells_of, write_granule

CONVENTIONS = ("authalic", "geodetic-spherical")
S3, HTTPS = "s3://bucket/ATLAS", "https://host.example/ATLAS"


def config(**grid: Any) -> Config:
    plain = yaml.safe_load(builtin_configs()["atl06.yaml"].read_text())
    plain["output"]["grid"] |= grid
    return maggjob.load_config(plain)


def recipe(latitude: str = "authalic") -> Recipe:
    return config(latitude=latitude).recipe()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three granules in five cells, one of them below a folder of its own."""
    folder = tmp_path_factory.mktemp("granules")
    (folder / "below").mkdir()
    for i, (south, west) in enumerate(((-74.6, -100.0), (-75.2, -101.0), (-74.55, -99.0))):
        tracks = {
            b: beam(60, seed=i, south=south, west=west + 0.05 * k, step=1.6e-2) for k, b in enumerate(("gt1l", "gt3r"))
        }
        write_granule(folder / ("below" if i == 2 else "") / f"ATL06_2019022203120{i}_085{i}0211_006_01.h5", tracks)
    return folder


@pytest.fixture(scope="module")
def known(folder: Path) -> Catalog:
    return from_files([str(folder)], recipe())


@pytest.fixture
def plain(known: Catalog) -> dict[str, Any]:
    """The catalog as it is written, to edit."""
    return json.loads(json.dumps(known.to_dict()))


def listing(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


# ---- from local granules


@pytest.mark.parametrize("latitude", CONVENTIONS)
def test_cells_are_exact(folder: Path, latitude: str) -> None:
    catalog = from_files([str(folder)], recipe(latitude))
    paths = sorted(folder.rglob("*.h5"), key=lambda path: path.name)
    assert [entry.id for entry in catalog.granules] == [path.stem for path in paths]
    assert [entry.size for entry in catalog.granules] == [path.stat().st_size for path in paths]
    for position, path in enumerate(paths):
        cells = [cell for cell, positions in catalog.cells.items() if position in positions]
        assert cells == cells_of([path], 6, latitude)
    assert catalog.pairs == sum(len(cells_of([path], 6, latitude)) for path in paths)
    assert (catalog.order, catalog.latitude) == (6, latitude)


@pytest.mark.parametrize("latitude", CONVENTIONS)
def test_cells_of_real_granules_are_exact(real_granules: list[Path], latitude: str) -> None:
    catalog = from_files([str(real_granules[0].parent)], recipe(latitude))
    assert len(catalog.granules) == len(real_granules)
    assert list(catalog.cells) == cells_of(real_granules, 6, latitude)


def test_coordinates_that_cannot_be_binned_give_no_cell(tmp_path: Path) -> None:
    track = beam(20)
    track["latitude"][:3] = [np.nan, 95.0, 3.4028235e38]
    track["longitude"][3] = np.inf
    path = write_granule(tmp_path / "one.h5", {"gt1l": track})
    assert list(from_files([str(path)], recipe()).cells) == cells_of([path], 6, "authalic")
    for values in track.values():
        values[:] = values[0]
    write_granule(tmp_path / "one.h5", {"gt1l": track})
    with pytest.raises(CatalogError, match="none of the 1 granules"):
        from_files([str(path)], recipe())


def list_files(places: list[str]) -> list[Path]:
    """Return the granules that are found."""
    return list(find_files(places).paths)


def test_folders_patterns_and_files_are_found_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = sorted(folder.rglob("*.h5"))
    assert list_files([str(folder)]) == everything
    assert list_files([str(folder), str(folder / "*.h5"), str(everything[0])]) == everything
    assert list_files([str(folder / "ATL06_*.h5")]) == sorted(folder.glob("*.h5"))
    assert list_files([str(folder / "**" / "*.h5")]) == everything
    monkeypatch.chdir(folder)
    assert list_files(["."]) == everything


@pytest.mark.parametrize("place", ["nowhere", "*.h5", "."])
def test_a_place_without_granules_is_refused(place: str) -> None:
    with pytest.raises(CatalogError, match="no granules at"):
        find_files([place])


def test_a_name_that_is_there_twice_is_refused(folder: Path, tmp_path: Path) -> None:
    one = next(folder.glob("*.h5"))
    shutil.copy(one, tmp_path)
    with pytest.raises(CatalogError, match="is listed twice") as raised:
        from_files([str(folder), str(tmp_path)], recipe())
    assert str(one) in str(raised.value)
    assert str(tmp_path / one.name) in str(raised.value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("no HDF5"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
    ],
)
def test_a_granule_that_cannot_be_read_is_named(folder: Path, tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    bad = next((tmp_path / "copy").glob("*.h5"))
    spoil(bad)
    with pytest.raises(CatalogError, match=bad.stem):
        from_files([str(tmp_path / "copy")], recipe())


# ---- written and read


def test_what_is_written_is_read(known: Catalog, tmp_path: Path) -> None:
    known.write(tmp_path / "catalog.json")
    assert load_catalog(tmp_path / "catalog.json", recipe()) == known
    assert load_catalog(str(tmp_path / "catalog.json"), recipe()) == known
    assert load_catalog(known.to_dict(), recipe()) == known
    assert load_catalog(known, recipe()) is known
    assert listing(tmp_path) == [str(tmp_path / "catalog.json")]
    content = json.loads((tmp_path / "catalog.json").read_text())
    assert content["metadata"]["digest"] == known.digest
    assert content["metadata"]["version"] == 2
    assert set(content["cells"]) == {format_cell(cell, 6) for cell in known.cells}


@pytest.mark.parametrize("place", ["nowhere/catalog.json", "folder"])
def test_what_cannot_be_written_leaves_nothing(known: Catalog, tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    before = listing(tmp_path)
    with pytest.raises(CatalogError, match="cannot write catalog"):
        known.write(tmp_path / place)
    assert listing(tmp_path) == before


def test_the_digest_is_of_the_data_and_not_of_its_place(folder: Path, known: Catalog, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    elsewhere = from_files([str(tmp_path / "copy")], recipe())
    assert elsewhere.granules != known.granules
    assert elsewhere.digest == known.digest == from_files([str(folder)], recipe()).digest
    fewer = from_files([str(tmp_path / "copy" / "*.h5")], recipe())
    assert len({known.digest, fewer.digest, from_files([str(folder)], recipe("geodetic-spherical")).digest}) == 3


def leaves(content: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """Path of every value in a JSON document, containers too."""
    if path:
        yield path
    for key in content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ():
        yield from leaves(content[key], *path, key)


def at(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        content = content[key]
    return content


def with_footprints(known: Catalog) -> Catalog:
    """Return a catalog whose granules have one outline, none, and two."""
    ring = np.array([(-100.0, -75.0), (-99.0, -75.0), (-99.0, -74.0), (-100.0, -75.0)])
    turned = np.array([(179.5, -75.0), (-179.5, -75.0), (0.0, -89.123456), (123.45678, 1e-5), (179.5, -75.0)])
    return replace(known, footprints=Footprints.of([[ring], [], [turned, ring + 1.0]]))


def test_footprints_are_kept_to_a_metre(known: Catalog, tmp_path: Path) -> None:
    drawn = with_footprints(known)
    drawn.write(tmp_path / "catalog.json")
    again = load_catalog(tmp_path / "catalog.json", recipe())
    assert again == known
    assert again.digest == known.digest
    assert drawn.footprints is not None
    assert again.footprints is not None
    assert again.footprints.owner.tolist() == [0, 2, 2]
    for before, after in zip(drawn.footprints.rings(), again.footprints.rings(), strict=True):
        np.testing.assert_allclose(after, before, rtol=0, atol=0.5001e-5)


def test_footprints_that_do_not_fit_are_refused(known: Catalog) -> None:
    plain = json.loads(json.dumps(with_footprints(known).to_dict()))
    changes = {
        "owner": ([0, 2], [2, 0, 2], None, "x"),
        "points": ([4, 5], [4, 5, 5], [4, 5, None], None),
        "steps": ("", "AAAA", "no base64", plain["footprints"]["steps"][:-8], None, 7),
        "unit": (None, "x"),
    }
    for key, values in changes.items():
        for value in values:
            with pytest.raises(CatalogError):
                load_catalog({**plain, "footprints": plain["footprints"] | {key: value}}, recipe())
        with pytest.raises(CatalogError):
            load_catalog({**plain, "footprints": {k: v for k, v in plain["footprints"].items() if k != key}}, recipe())


WITHOUT_EFFECT = [("metadata", "provenance"), ("metadata", "digest")]
WITHOUT_EFFECT += [("granules", column) for column in ("urls", "rows", "cells", "start", "end")]
"""What may be edited in a catalog that keeps its digest: places, and what an estimate and a picture are made of."""


@pytest.mark.dear("2 CPU-seconds; its neighbours cover the same lines")
def test_no_edit_goes_unnoticed(known: Catalog, plain: dict[str, Any]) -> None:
    """Any value replaced by another, or removed: refused, or without effect on granules and cells."""
    ids = [entry.id for entry in known.granules]
    refused = 0
    for path in leaves(plain):
        for new in (None, -1, 7, "x", [], {}, "removed"):
            edited = copy.deepcopy(plain)
            holder = at(edited, path[:-1])
            if new == "removed":
                del holder[path[-1]]
            else:
                holder[path[-1]] = new
            try:
                catalog = load_catalog(edited, recipe())
            except CatalogError:
                refused += 1
                continue
            assert path[:2] in WITHOUT_EFFECT, (path, new)
            assert (catalog.cells, [entry.id for entry in catalog.granules]) == (known.cells, ids)
            assert [entry.size for entry in catalog.granules] == [entry.size for entry in known.granules]
            assert catalog.digest == known.digest
    assert refused > 200


def edited(plain: dict[str, Any], path: tuple[Any, ...], new: Any) -> dict[str, Any]:
    """Return a catalog after a change by hand, without its digest."""
    del plain["metadata"]["digest"]
    at(plain, path[:-1])[path[-1]] = new
    return plain


def first_cell(plain: Mapping[str, Any]) -> str:
    return next(cell for cell, positions in plain["cells"].items() if len(positions) == 2)


@pytest.mark.parametrize("positions", [[0, 0], [-1], [3], ["0"], [0.5], [None], "01", 0, None])
def test_a_bad_list_of_granules_is_refused(plain: dict[str, Any], positions: object) -> None:
    with pytest.raises(CatalogError):
        load_catalog(edited(plain, ("cells", first_cell(plain)), positions), recipe())


@pytest.mark.parametrize("cell", ["-7777777", "nowhere", "-613411", "7/1", "6/999999", ""])
def test_a_bad_cell_is_refused(plain: dict[str, Any], cell: str) -> None:
    with pytest.raises(CatalogError):
        load_catalog(edited(plain, ("cells", cell), [0]), recipe())


def test_a_cell_spelled_in_two_ways_is_refused(plain: dict[str, Any], known: Catalog) -> None:
    nested = next(cell for cell in known.cells if len(known.cells[cell]) == 1)
    with pytest.raises(CatalogError):
        load_catalog(edited(plain, ("cells", f"6/{nested}"), [0]), recipe())


def with_urls(plain: dict[str, Any], position: int, urls: Any) -> dict[str, Any]:
    """A catalog in which a granule has other URLs, and the others their own."""
    del plain["metadata"]["digest"]
    columns, count = plain["granules"]["urls"], len(plain["granules"]["id"])
    if not isinstance(urls, dict):  # no URLs by driver at all
        columns["file"]["rest"][position] = urls
        return plain
    for driver in (*columns, *urls):
        known = columns.get(driver, {"base": "", "rest": [None] * count})
        rest = [None if text is None else known["base"] + text for text in known["rest"]]
        rest[position] = urls.get(driver)
        columns[driver] = {"base": "", "rest": rest}
    return plain


def test_other_urls_are_read(plain: dict[str, Any], known: Catalog) -> None:
    other = {"s3": "s3://bucket/one.h5", "https": "https://host.example/one.h5"}
    catalog = load_catalog(with_urls(plain, 1, other), recipe())
    assert [entry.urls for entry in catalog.granules] == [known.granules[0].urls, other, known.granules[2].urls]


@pytest.mark.parametrize(
    "urls",
    [
        {"file": "granules/../ATL06.h5"},
        {"s3": "s3://bucket/a/../ATL06.h5"},
        {"https": "https://host.example/a/%2e%2e/ATL06.h5"},
        {"gs": "gs://bucket/ATL06.h5"},
        {"s3": "gs://bucket/ATL06.h5"},
        {"file": "ftp://host.example/ATL06.h5"},
        {"https": "http://host.example/ATL06.h5"},
        {"s3": "ATL06.h5"},
        {"file": "s3://bucket/ATL06.h5"},
        {},
        None,
        7,
        ["ATL06.h5"],
    ],
)
def test_a_bad_url_is_refused(plain: dict[str, Any], urls: object) -> None:
    with pytest.raises(CatalogError):
        load_catalog(with_urls(plain, 1, urls), recipe())


def test_a_granule_listed_twice_is_refused(plain: dict[str, Any]) -> None:
    with pytest.raises(CatalogError, match="is listed twice"):
        load_catalog(edited(plain, ("granules", "id", 1), plain["granules"]["id"][0]), recipe())


@pytest.mark.parametrize(("key", "new"), [("version", 1), ("version", 3), ("version", None), ("format", "other")])
def test_an_unknown_version_is_refused(plain: dict[str, Any], key: str, new: object) -> None:
    with pytest.raises(CatalogError, match="'maggjob-catalog' version 2"):
        load_catalog(edited(plain, ("metadata", key), new), recipe())


def test_edited_content_is_refused(plain: dict[str, Any]) -> None:
    plain["granules"]["size"][0] += 1
    with pytest.raises(CatalogError, match="changed since it was made"):
        load_catalog(plain, recipe())


@pytest.mark.parametrize("grid", [{"parent_order": 5}, {"latitude": "geodetic-spherical"}])
def test_a_catalog_for_another_grid_is_refused(known: Catalog, grid: dict[str, Any]) -> None:
    with pytest.raises(CatalogError, match=r"output\.grid"):
        load_catalog(known.to_dict(), config(**grid).recipe())


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", '{"metadata": 3}', "\x00", '{"metadata": {}}'])
def test_what_is_no_catalog_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "catalog.json").write_text(content)
    with pytest.raises(CatalogError, match=r"catalog\.json"):
        load_catalog(tmp_path / "catalog.json", recipe())


def test_a_catalog_cut_anywhere_is_refused(known: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "catalog.json"
    known.write(path)
    content = path.read_text()
    for end in range(0, len(content) - 1, 40):
        path.write_text(content[:end])
        with pytest.raises(CatalogError, match="not JSON"):
            load_catalog(path, recipe())


def test_a_catalog_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere.json", tmp_path):
        with pytest.raises(CatalogError, match="no catalog"):
            load_catalog(place, recipe())


# ---- the form of the system before us


def older(catalog: Catalog, base: str | None = None, **metadata: Any) -> dict[str, Any]:
    """Cells to URLs, with local paths or below a base."""

    def url(entry: Entry) -> str:
        return entry.urls["file"] if base is None else f"{base}/{entry.id}.h5"

    cells = {
        format_cell(cell, 6): [url(catalog.granules[i]) for i in positions] for cell, positions in catalog.cells.items()
    }
    return {"metadata": {"parent_order": 6, "total_cells": len(cells), **metadata}, "catalog": cells}


@pytest.fixture(scope="module")
def spherical(folder: Path) -> Catalog:
    return from_files([str(folder)], recipe("geodetic-spherical"))


def test_the_older_form_is_read_in_its_own_convention(spherical: Catalog) -> None:
    catalog = load_catalog(older(spherical, S3, s3_base=S3, https_base=HTTPS), recipe("geodetic-spherical"))
    assert catalog.cells == spherical.cells
    assert [entry.id for entry in catalog.granules] == [entry.id for entry in spherical.granules]
    for entry in catalog.granules:
        assert entry.urls == {"s3": f"{S3}/{entry.id}.h5", "https": f"{HTTPS}/{entry.id}.h5"}
        assert entry.size is None
    assert choose_driver(catalog, "https", "s3") == "https"


def test_the_older_form_without_https_base_has_one_driver(spherical: Catalog) -> None:
    catalog = load_catalog(older(spherical, S3), recipe("geodetic-spherical"))
    assert {tuple(entry.urls) for entry in catalog.granules} == {("s3",)}


def test_the_older_form_of_local_granules_is_made_anew_for_authalic(known: Catalog, spherical: Catalog) -> None:
    assert known.cells != spherical.cells
    catalog = load_catalog(older(spherical), recipe())
    assert catalog.cells == known.cells
    assert catalog.granules == known.granules
    assert catalog.digest == known.digest


def test_the_older_form_elsewhere_is_refused_for_authalic(spherical: Catalog) -> None:
    with pytest.raises(CatalogError, match=r"output\.grid\.latitude"):
        load_catalog(older(spherical, S3, s3_base=S3, https_base=HTTPS), recipe())


def test_the_older_form_of_another_order_is_refused(spherical: Catalog) -> None:
    coarse = config(latitude="geodetic-spherical", parent_order=5).recipe()
    with pytest.raises(CatalogError, match="order"):
        load_catalog(older(spherical, S3), coarse)


@pytest.mark.parametrize(
    "edit",
    [
        lambda cells, first: cells.update({first: cells[first][:1] * 2}),
        lambda cells, first: cells.update({first: ["s3://bucket/a/../b.h5"]}),
        lambda cells, first: cells.update({first: ["gs://bucket/b.h5"]}),
        lambda cells, first: cells.update({first: [cells[first][0].replace("bucket", "other")]}),
        lambda cells, first: cells.update({first: 3}),
        lambda cells, first: cells.update({first: "s3://bucket/b.h5"}),
        lambda cells, first: cells.update({first: [None]}),
        lambda cells, first: cells.update({"-7777777": cells[first]}),
        lambda cells, first: cells.update({"-613411": cells[first]}),
        lambda cells, first: cells.update({f"6/{first_nested(first)}": cells[first][:1]}),
    ],
)
def test_a_bad_older_catalog_is_refused(spherical: Catalog, edit: Callable[[dict[str, Any], str], None]) -> None:
    content = older(spherical, S3)
    edit(content["catalog"], next(cell for cell, urls in content["catalog"].items() if len(urls) == 2))
    with pytest.raises(CatalogError):
        load_catalog(content, recipe("geodetic-spherical"))


def first_nested(cell: str) -> int:
    from maggjob.grid.healpix import parse_cell

    return parse_cell(cell, 6)


# ---- what a run takes from it


def listed(*urls: Mapping[str, str]) -> Catalog:
    return Catalog(tuple(Entry(f"granule{i}", u) for i, u in enumerate(urls)), {0: (0,)}, 6, "authalic")


BOTH = {"s3": "s3://bucket/a.h5", "https": "https://host.example/a.h5"}
ONLY_S3, ONLY_FILE = {"s3": "s3://bucket/a.h5"}, {"file": "a.h5"}


@pytest.mark.parametrize(
    ("urls", "asked", "configured", "driver"),
    [
        ((BOTH,), None, "s3", "s3"),
        ((BOTH,), None, "https", "https"),
        ((BOTH,), "https", "s3", "https"),
        ((BOTH,), "s3", "https", "s3"),
        ((BOTH,), None, "file", "s3"),
        ((BOTH, ONLY_S3), None, "https", "s3"),
        ((ONLY_FILE,), None, "s3", "file"),
        ((ONLY_FILE, ONLY_FILE), "file", "https", "file"),
    ],
)
def test_the_driver_is_one_that_reaches_all(
    urls: tuple[Mapping[str, str], ...], asked: str | None, configured: str, driver: str
) -> None:
    assert choose_driver(listed(*urls), asked, configured) == driver


@pytest.mark.parametrize(
    ("urls", "asked", "said"),
    [
        ((BOTH, ONLY_S3), "https", "granule1 has URLs for s3 only"),
        ((ONLY_FILE,), "s3", "granule0 has URLs for file only"),
        ((ONLY_S3, ONLY_FILE), None, "no driver reaches all"),
        ((BOTH,), "ftp", "'ftp' is unknown"),
    ],
)
def test_a_driver_that_does_not_reach_all_is_refused(
    urls: tuple[Mapping[str, str], ...], asked: str | None, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        choose_driver(listed(*urls), asked, "s3")


@pytest.mark.parametrize(
    ("ids", "label"),
    [
        (["ATL06_20190222031203_08500210_001_01"], "cycle02"),
        (["processed_ATL06_20190222031203_08500210_001_01", "ATL06_20190222155404_08580211_001_01"], "cycle02"),
        (["ATL06_20190222031203_08500210_001_01", "ATL06_20231218031203_08502210_006_02"], "cycles02-22"),
        (["ATL06_20190222031203_08500210_001_01", "mine"], "all"),
        (["mine"], "all"),
        ([], "all"),
    ],
)
def test_the_window_is_the_cycle_of_the_names(ids: list[str], label: str) -> None:
    assert window_label(ids) == label
    assert window_label(reversed(ids)) == label


def test_the_id_is_the_name_wherever_it_lies() -> None:
    assert {granule_id(url) for url in ("a/b/x.h5", "s3://b/x.h5", "https://h.example/b/x.h5", "x")} == {"x"}


def test_cells_with_most_granules_come_first(known: Catalog) -> None:
    cells = select_cells(known)
    assert sorted(cells) == sorted(known.cells)
    counts = [len(known.cells[cell]) for cell in cells]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]
    for one, other in pairwise(cells):
        assert len(known.cells[one]) > len(known.cells[other]) or one < other
    assert select_cells(known, 2) == cells[:2]
    assert select_cells(known, 99) == cells


def test_one_cell_is_found_in_any_spelling(known: Catalog) -> None:
    cell = max(known.cells)
    word = int(nested_to_word(np.array([cell]), 6)[0])
    for spelling in (format_cell(cell, 6), f"6/{cell}", str(word), f" {format_cell(cell, 6)} "):
        assert select_cells(known, morton_cell=spelling) == [cell]


def test_a_cell_that_is_not_there_is_refused(known: Catalog) -> None:
    with pytest.raises(CatalogError, match="cell 1111111 is not among the catalog's 5"):
        select_cells(known, morton_cell="1111111")
    with pytest.raises(CellError, match="its order is 5"):
        select_cells(known, morton_cell="-613411")


@pytest.mark.parametrize("number", [0, -3])
def test_a_number_of_cells_below_one_is_refused(known: Catalog, number: int) -> None:
    with pytest.raises(InputError, match="give 1 or more"):
        select_cells(known, number)


def test_one_file_under_two_names_is_refused(tmp_path: Path) -> None:
    """It would be counted twice."""
    path = write_granule(tmp_path / NAME)
    recipe = maggjob.load_config("atl06.yaml").recipe()
    content = from_files([str(path)], recipe).to_dict()
    columns = content["granules"]
    for column in columns.values() if isinstance(columns, dict) else ():
        for values in (column,) if isinstance(column, list) else [urls["rest"] for urls in column.values()]:
            values.append(values[0])
    columns["id"][1] = "other"
    content["cells"] = {cell: [0, 1] for cell in content["cells"]}
    del content["metadata"]["digest"]
    with pytest.raises(CatalogError, match="counted twice"):
        load_catalog(content, recipe)


@pytest.mark.parametrize(
    "change",
    [
        {"size": "12"},
        {"size": -1},
        {"size": 0},
        {"size": True},
        {"id": 7},
        {"rows": -1},
        {"rows": 1.5},
        {"rows": "many"},
        {"cells": -1},
        {"cells": False},
        {"start": 20240101},
        {"end": ["2024-01-01"]},
    ],
    ids=str,
)
def test_a_granule_must_make_sense(tmp_path: Path, change: dict[str, Any]) -> None:
    recipe = maggjob.load_config("atl06.yaml").recipe()
    content = from_files([str(write_granule(tmp_path / NAME))], recipe).to_dict()
    del content["metadata"]["digest"]
    load_catalog(content, recipe)
    for column, value in change.items():
        content["granules"][column][0] = value
    with pytest.raises(CatalogError, match="granule"):
        load_catalog(content, recipe)


@pytest.mark.parametrize("column", ["id", "size", "rows", "cells", "start", "end", "urls"])
@pytest.mark.parametrize("how", ["missing", "shorter", "longer", "null"])
def test_columns_that_do_not_fit_are_refused(plain: dict[str, Any], column: str, how: str) -> None:
    del plain["metadata"]["digest"]
    holder, key = plain["granules"], column
    if column == "urls" and how != "missing":
        holder, key = plain["granules"]["urls"]["file"], "rest"
    values = holder.pop(key)
    if how != "missing":
        holder[key] = {"shorter": values[:-1], "longer": [*values, values[-1]], "null": None}[how]
    with pytest.raises(CatalogError):
        load_catalog(plain, recipe())


def test_granules_that_are_not_sorted_are_refused(plain: dict[str, Any]) -> None:
    """Positions would mean other granules than those that the file was made of."""
    del plain["metadata"]["digest"]
    columns = plain["granules"]
    for values in (
        *(columns[c] for c in ("id", "size", "rows", "cells", "start", "end")),
        columns["urls"]["file"]["rest"],
    ):
        values.reverse()
    with pytest.raises(CatalogError, match="not sorted"):
        load_catalog(plain, recipe())
