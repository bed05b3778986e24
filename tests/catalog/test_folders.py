"""What people give as granules: folders, patterns and files, and names that are odd."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import maggjob
from maggjob.catalog.catalog import Catalog, split_newest
from maggjob.catalog.folders import LINKS, find_files
from maggjob.errors import CatalogError
from maggjob.model.tasks import Granule
from tests.catalog.conftest import ONE

RECIPE = maggjob.load_config("atl06.yaml").recipe()


def day(number: int) -> str:
    """Return the name of a granule of another day."""
    return ONE.replace("20240101", f"202401{number:02d}")


def test_a_pattern_obeys_the_rules_of_a_folder(granule: Path, folder: Path) -> None:
    for name in (f"{ONE.replace('ATL06', 'ATL08')}.h5", "GeoIndex.h5", f".{day(9)}.h5", f"deeper/{day(2)}.H5"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(granule, folder / name)
    names = {path.name for path in find_files([f"{folder}/*.h5"]).paths}
    assert names == {f"{ONE}.h5"}
    found = find_files([f"{folder}/**/*.h5"])
    assert {path.name for path in found.paths} == {f"{ONE}.h5", f"{day(2)}.H5"}
    assert set(found.passed_over) == {"granules of ATL08", "files whose names are not those of granules"}
    assert {path.name for path in find_files([f"{folder}/deep*"]).paths} == {f"{day(2)}.H5"}
    assert find_files([f"{folder}/Geo*.h5"]).paths == (folder / "GeoIndex.h5",)


def test_the_files_of_a_shells_pattern_are_of_one_product(granule: Path, folder: Path) -> None:
    other = folder / f"{ONE.replace('ATL06', 'ATL08')}.h5"
    shutil.copy(granule, other)
    found = find_files([str(folder / f"{ONE}.h5"), str(other)])
    assert found.paths == (folder / f"{ONE}.h5",)
    assert found.passed_over == {"granules of ATL08": (1, str(other))}


def test_a_folder_with_brackets_is_no_pattern(granule: Path, tmp_path: Path) -> None:
    (tmp_path / "d[1]" / "x?").mkdir(parents=True)
    shutil.copy(granule, tmp_path / "d[1]" / "x?")
    assert len(find_files([f"{tmp_path}/d[1]/*/*.h5"]).paths) == 1
    assert len(find_files([f"{tmp_path}/d[1]/x?/ATL06*"]).paths) == 1


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize("name", [f"copy of {ONE}.h5", "mine.h5", f"deeper/{day(2)}.h5"])
def test_a_file_with_two_names_counts_once(folder: Path, link: Any, name: str) -> None:
    alone = maggjob.make_catalog(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    link(folder / f"{ONE}.h5", folder / name)
    catalog = maggjob.make_catalog([str(folder), str(folder / name)])
    assert catalog.digest == alone.digest
    assert len(catalog.granules) == 1
    assert f"1 {LINKS} were passed over" in "".join(catalog.notes())


def test_a_copy_under_any_name_is_refused(granule: Path, folder: Path) -> None:
    shutil.copy(granule, folder / "a.h5")
    shutil.copy(granule, folder / "b.h5")
    for places in ([folder / "a.h5", folder / "b.h5"], [folder / "a.h5", folder / f"{ONE}.h5"]):
        with pytest.raises(CatalogError, match="hold the same segments") as caught:
            maggjob.make_catalog(places)
        assert all(str(place) in str(caught.value) for place in places)


def two_revisions(granule: Path, folder: Path) -> Catalog:
    """Return a catalog with a granule in two revisions, each listed for every cell."""
    newer = granule.with_name(f"{ONE[:-2]}02.h5")
    shutil.copy(granule, folder / newer.name)
    one, two = maggjob.make_catalog(granule), maggjob.make_catalog(folder / newer.name)
    return replace(one, granules=(*one.granules, *two.granules), cells=dict.fromkeys(one.cells, (0, 1)))


def test_every_form_of_a_catalog_counts_a_granule_once(granule: Path, tmp_path: Path) -> None:
    both, alone = two_revisions(granule, tmp_path), maggjob.make_catalog(granule)
    urls = [entry.urls["file"] for entry in both.granules]
    magg = {
        "metadata": {"parent_order": 6},
        "catalog": dict.fromkeys(both.to_dict()["cells"], urls),
    }
    spherical = maggjob.load_config("atl06.yaml").model_dump(mode="json", exclude_unset=True)
    spherical["output"]["grid"]["latitude"] = "geodetic-spherical"
    for config, catalog in (
        ("atl06.yaml", both),
        ("atl06.yaml", both.to_dict()),
        ("atl06.yaml", magg),
        (spherical, magg),
    ):
        plan = maggjob.plan(config, catalog=catalog)
        assert [entry.id for entry in plan.catalog.granules] == [f"{ONE[:-2]}02"]
        assert plan.catalog.notes() == ["1 older revisions of granules were left out"]
        assert plan.pairs == len(plan.cells)
    observations = [
        maggjob.run("atl06.yaml", catalog=catalog, store=f"{number}.zarr", backend="serial").tally.observations
        for number, catalog in enumerate((alone, both))
    ]
    assert observations[0] == observations[1] > 0


def test_a_catalog_that_lists_one_file_twice_is_refused(granule: Path, tmp_path: Path) -> None:
    os.link(granule, tmp_path / f"{day(5)}.h5")
    one, two = maggjob.make_catalog(granule), maggjob.make_catalog(tmp_path / f"{day(5)}.h5")
    both = replace(one, granules=(*one.granules, *two.granules), cells=dict.fromkeys(one.cells, (0, 1)))
    with pytest.raises(CatalogError, match="are one file"):
        maggjob.plan("atl06.yaml", catalog=both)


def test_a_task_by_hand_counts_a_granule_once(granule: Path, tmp_path: Path) -> None:
    shutil.copy(granule, tmp_path / f"{ONE[:-2]}02.h5")
    (task, *_) = maggjob.tasks("atl06.yaml", catalog=maggjob.make_catalog(granule))
    newer = Granule(f"{ONE[:-2]}02", str(tmp_path / f"{ONE[:-2]}02.h5"))
    for more in (*task.granules, newer, replace(newer, id=f"processed_{ONE}")):
        report = maggjob.map_cell(replace(task, granules=(*task.granules, more)))
        assert (report.state, report.reason) == ("failed", "input")
        assert ONE in str(report.message)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0), (0, 2, 1)])
def test_copies_of_an_older_revision_do_not_matter(order: tuple[int, ...]) -> None:
    names = [[ONE, f"copy of {ONE}", f"{ONE[:-2]}02"][number] for number in order]
    assert split_newest(names, names) == (
        [order.index(2)],
        sorted(set(range(3)) - {order.index(2)}),
    )


def test_other_forms_of_granules_are_told(folder: Path) -> None:
    for name in (f"{day(2)}.hdf", f"{day(3)}.nc", f"{day(4)}.h5.gz", f"{day(5)}.h5.xml", "notes.nc"):
        (folder / name).write_bytes(b"x")
    os.mkfifo(folder / f"{day(6)}.h5")
    assert {what: number for what, (number, _) in find_files([str(folder)]).passed_over.items()} == {
        "granules in another form than .h5, .hdf5 or .he5": 3,
        "pipes or devices": 1,
    }


def test_names_and_links_that_cannot_be_used_are_told_at_once(folder: Path) -> None:
    good = folder / f"{ONE}.h5"
    shutil.copy(good, os.fsdecode(bytes(folder) + f"/{day(2)} \xe9.h5".encode("latin-1")))
    shutil.copy(good, folder / f"{day(3)}\n.h5")
    (folder / f"{day(4)}.h5").symlink_to(folder / "gone.h5")
    (folder / f"{day(5)}.h5").symlink_to(folder / f"{day(5)}.h5")
    with pytest.raises(CatalogError, match="4 of 5 granules cannot be read") as caught:
        maggjob.make_catalog(folder)
    assert "\\xe9" in str(caught.value)
    catalog = maggjob.make_catalog(folder, skip_unreadable=True)
    assert [entry.id for entry in catalog.granules] == [ONE]
    assert len(catalog.provenance["unreadable"]) == 4
    catalog.write("catalog.json")


def test_an_older_revision_that_can_be_read_is_taken(granule: Path, folder: Path) -> None:
    for revision in ("02", "03"):
        (folder / f"{ONE[:-2]}{revision}.h5").write_bytes(b"<html>log in</html>")
    with pytest.raises(CatalogError, match="1 of 1 granules cannot be read"):
        maggjob.make_catalog(folder)
    catalog = maggjob.make_catalog(folder, skip_unreadable=True)
    assert [entry.id for entry in catalog.granules] == [ONE]
    assert len(catalog.provenance["unreadable"]) == 2
    (folder / f"{ONE}.h5").unlink()
    with pytest.raises(CatalogError, match="cannot be read"):
        maggjob.make_catalog(folder, skip_unreadable=True)
