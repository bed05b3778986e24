"""Updating a result: only what is new or has changed is done, and the result equals that of one run over everything.

The catalog is asked again and compared with what the result was made of. With a time axis, windows whose granules are
the same stay as they are. In the others, and in a result without a time axis, cells with the same granules keep their
parts, and the rest is mapped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from maggjob.catalog.catalog import Catalog
from maggjob.catalog.cmr import Watch
from maggjob.catalog.file import CatalogLike, load_catalog
from maggjob.catalog.find import find_catalog, make_catalog
from maggjob.config.load import ConfigLike, load_config
from maggjob.config.schema import Config
from maggjob.errors import CatalogError, ConfigError, InputError
from maggjob.grid.areas import parse_area
from maggjob.icesat2.names import what_it_is
from maggjob.inputs.places import PlaceLike, store_place
from maggjob.model.display import Displayed
from maggjob.output.assembly import Kept
from maggjob.output.manifest import Manifest, read_manifest
from maggjob.output.saved_plan import read_plan
from maggjob.output.table import ledger
from maggjob.pipeline.cell_map import Earlier, RunOptions, execute
from maggjob.pipeline.result import RunResult
from maggjob.pipeline.takeover import reports_of, same_cells, take_over_parts
from maggjob.planning.make import plan as make_plan
from maggjob.planning.plan import Plan
from maggjob.planning.windows import area_rows, as_reported, in_windows, without_windows
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import PARTS, run_folder
from maggjob.storage.urls import join_url

SHOWN = 3
"""Number of granules that a message names."""


@dataclass(frozen=True, repr=False)
class UpdatePlan(Displayed):
    """What an update would do."""

    plan: Plan
    """The plan of the result after the update."""
    old: Plan
    """The plan of the result as it is."""
    manifest: Manifest
    """The manifest of the result as it is."""
    added: tuple[str, ...]
    """Granules that are new, or of a newer revision or another size."""
    removed: tuple[str, ...]
    """Granules that were withdrawn, or replaced by a newer revision."""
    kept_windows: tuple[str, ...]
    """Windows that stay as they are."""
    same: tuple[tuple[str, str], ...]
    """Ids of the tasks of cells in other windows that keep their parts: in the result, and after the update."""
    lost: int
    """Number of cells with the same granules that are mapped all the same, as their parts have been deleted."""

    @property
    def mapped(self) -> list[str]:
        """Ids of the tasks of the cells to map."""
        stay = {after for _, after in self.same}
        every = ((one, cell) for one, cell in self.plan.units if one.window not in self.kept_windows)
        return [name for one, cell in every if (name := one.task_id(cell)) not in stay]

    @property
    def nothing(self) -> bool:
        """True if the result is up to date and complete."""
        return self.plan.digest == self.old.digest and not self.mapped

    def facts(self) -> dict[str, object]:
        """Return what is shown of an update."""
        known = {one.window for one in self.old.windows or ()}
        new = [one.window for one in self.plan.windows or () if one.window not in known]
        told: dict[str, object] = {
            "store": self.plan.store_path,
            "granules": f"{len(self.added):,} new or revised, {len(self.removed):,} withdrawn or replaced, "
            f"{len(self.plan.positions):,} in all",
        }
        if self.plan.windows is not None:
            some = f" ({', '.join(new)})" if new else ""
            told["windows"] = f"{len(new):,} new{some}, {len(self.kept_windows):,} stay as they are"
        if self.plan.windows is not None and set(self.plan.cells) != set(self.old.cells):
            told["rows"] = f"{len(self.plan.cells):,} instead of {len(self.old.cells):,}: every window is written anew"
        told["cells"] = f"{len(self.mapped):,} to map, {len(self.same):,} keep their parts"
        if self.lost:
            told["parts"] = f"{self.lost:,} cells with the same granules are mapped, as their parts are no longer there"
        return told


def plan_update(
    store: PlaceLike,
    *,
    catalog: CatalogLike | None = None,
    config: ConfigLike | None = None,
    withdrawn: bool = False,
    region: str | None = None,
    watch: Watch | None = None,
    **search: Any,
) -> UpdatePlan:
    """Compare a result with the catalog, and return what an update would do. Nothing is written.

    Parameters
    ----------
    store : str or Path
        Path or s3:// URL of the Zarr.
    catalog : str, Path, mapping or Catalog, optional
        A catalog of everything; by default the search, or the folders, of the result's own catalog are asked again.
    config : str, Path, mapping or Config, optional
        The configuration, which must be that of the result; by default it is taken from there.
    withdrawn : bool
        Whether granules may be missing that the result was made of.
    region : str, optional
        Region of the bucket.
    watch : callable, optional
        ``watch(granules so far, granules in all)``, called as CMR answers.
    **search
        Fields of the search to change, such as ``cycles=(20, 23)``.

    Raises
    ------
    InputError
        If there is no result, it has another configuration, or it was made by an older version.
    CatalogError
        If the catalog lacks granules of the result, or begins before its first window.
    """
    text = store_place(store)
    if not exists(text, region):
        raise InputError(f"no result at {text}: 'maggjob run' makes one")
    manifest, old = read_manifest(text, region), read_plan(text, region)
    if manifest.digests.get("run") != old.digest and manifest.digests.get("parts") != old.digest:
        raise InputError(f"{text}: its plan and its manifest belong to different runs; run again with --overwrite")
    _check_config(old.config, config, text)
    known = _catalog(old, catalog, watch, search)
    new = _planned(old, known)
    added, removed = _changes(old, new)
    _check_there(old, new, removed, added, withdrawn=withdrawn)
    kept = _kept_windows(old, new, manifest)
    alike = same_cells(old, without_windows(new, kept) if kept else new, manifest)
    there = _parts_there(text, region)
    same = tuple((before, after) for before, after in alike if manifest.cells[before].part in there)
    return UpdatePlan(new, old, manifest, added, removed, kept, same, len(alike) - len(same))


def _check_config(own: Config, given: ConfigLike | None, store: str) -> None:
    """Check that a configuration is that of a result.

    Raises
    ------
    ConfigError
        If its digest is another.
    """
    if given is None:
        return
    other = load_config(given)
    if other.digest != own.digest:
        raise ConfigError(
            f"{store} was made with another configuration (digest {own.digest[:12]}, the one given has "
            f"{other.digest[:12]}); leave --config out, or make another result with 'maggjob run'"
        )


def _catalog(old: Plan, given: CatalogLike | None, watch: Watch | None, search: Mapping[str, Any]) -> Catalog:
    """Return the catalog that is given, or ask for that of a result again."""
    if given is not None:
        if search:
            raise InputError(f"a catalog and {min(search)} are both given; leave one of them out")
        found = load_catalog(given, old.config.recipe())
    else:
        found = _asked_again(old, watch, search)
    if (found.order, found.latitude) != (old.catalog.order, old.catalog.latitude):
        raise CatalogError(
            f"the catalog has cells of order {found.order} ({found.latitude}), the result of order "
            f"{old.catalog.order} ({old.catalog.latitude}); make a catalog with the configuration of the result"
        )
    return found


def _asked_again(old: Plan, watch: Watch | None, search: Mapping[str, Any]) -> Catalog:
    origin = old.catalog.provenance
    area = {} if "area" not in origin or "aoi" in search else {"aoi": _area(origin["area"])}
    if "from_files" in origin:
        unused = sorted(search.keys() - {"aoi"})
        if unused:
            folders = ", ".join(map(str, origin["from_files"]))
            raise InputError(
                f"the result was made of the local granules in {folders}, not by a search with {unused[0]}: put new "
                f"granules there and leave {unused[0]} out, or give a catalog of everything"
            )
        lenient, places = bool(origin.get("unreadable")), list(origin["from_files"])
        return make_catalog(places, old.config, skip_unreadable=lenient, **{**area, **search})
    if "search" not in origin:
        raise CatalogError("the result's catalog does not say how it was made; give a new one with --catalog")
    asked = dict(origin["search"])
    if {"cycle", "cycles", "start", "end"} & search.keys():
        times = {"start", "end"} if {"start", "end"} & search.keys() else set()
        asked = {k: v for k, v in asked.items() if k not in {"cycle", "cycles", "start", "end"} or k in times}
    return find_catalog(old.config, watch=watch, **{**asked, **area, **search})


def _area(name: str) -> str:
    """Return the name of an area, after checking that the area can be made of it again.

    Raises
    ------
    CatalogError
        If it cannot, because it was given as GeoJSON, or by a file that is gone.
    """
    try:
        parse_area(name)
    except InputError as problem:
        raise CatalogError(
            f"the result's catalog was made for the area {name!r}, which cannot be made again ({problem}); give the "
            "area with --aoi, or a new catalog with --catalog"
        ) from problem
    return name


def _planned(old: Plan, catalog: Catalog) -> Plan:
    """Return the plan of the result after an update: with the rows and the first window that it has."""
    found = make_plan(old.config, catalog=catalog, store=old.store_path, check=False)
    every = area_rows(old.catalog) if old.windows is not None else tuple(sorted(old.catalog.cells))
    if set(old.cells) != set(every):
        # The run was restricted to some cells.
        own = [cell for cell in found.cells if cell in set(old.cells)]
        restricted = replace(found, cells=tuple(cell for cell in own if cell in catalog.cells), windows=None)
        found = in_windows(restricted, old.cells)
    if old.windows and found.windows and found.windows[0].window != old.windows[0].window:
        raise CatalogError(
            f"the catalog begins with {found.windows[0].window}, the result with {old.windows[0].window}: earlier "
            "windows cannot be added, and later ones cannot take the place of the first; make a catalog that begins "
            "with the same one, or another result with output.first"
        )
    return found


def _changes(old: Plan, new: Plan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the granules that are new, revised or of another size, and those that are gone."""
    before, after = ({(g.id, g.size) for g in plan.used_granules} for plan in (old, new))
    added, removed = sorted(name for name, _ in after - before), sorted(name for name, _ in before - after)
    return tuple(added), tuple(removed)


def _check_there(old: Plan, new: Plan, removed: tuple[str, ...], added: tuple[str, ...], *, withdrawn: bool) -> None:
    """Check that no granule of a result is missing from a catalog, unless another revision takes its place.

    Raises
    ------
    CatalogError
        If one is.
    """
    replaced = {what_it_is(name) or name for name in added}
    missing = [name for name in removed if (what_it_is(name) or name) not in replaced]
    if missing and not withdrawn:
        raise CatalogError(
            f"the catalog lacks {len(missing):,} of the {len(old.positions):,} granules that the result was made of, "
            f"such as {', '.join(missing[:SHOWN])}; give a catalog of everything, or --withdrawn if they have been "
            "withdrawn"
        )
    if len(old.each) > len(new.each):
        raise CatalogError(
            f"the catalog ends with {new.each[-1].window}, the result with {old.each[-1].window}; make a catalog of "
            "everything"
        )


def _kept_windows(old: Plan, new: Plan, manifest: Manifest) -> tuple[str, ...]:
    """Return the windows with the same granules and rows, all of whose cells were read completely."""
    before = {one.window: one for one in old.windows or ()}
    found = []
    for one in new.windows or ():
        known = before.get(one.window)
        if known is not None and known.digest == one.digest:
            states = {manifest.cells[known.task_id(cell)].state for cell in known.cells}
            if states <= {"complete", "empty"}:
                found.append(one.window)
    return tuple(found)


def _parts_there(store: str, region: str | None) -> set[str]:
    """Return the keys of the parts that a result still has, below the folder of parts."""
    place = join_url(run_folder(store), PARTS)
    return set(Folder(place, region).keys()) if exists(place, region) else set()


def carry_out(update: UpdatePlan, options: RunOptions | None = None, **changes: Any) -> RunResult:
    """Carry out an update.

    Parameters
    ----------
    update : UpdatePlan
        From `plan_update`.
    options : RunOptions, optional
        Options of the run.
    **changes
        Fields of `RunOptions` that override ``options``.

    Raises
    ------
    MaggjobError
        As `maggjob.run`.
    """
    how = replace(options or RunOptions(), **changes, overwrite=True)
    return execute(update.plan, how, earlier=_earlier(update, how.region))


def _earlier(update: UpdatePlan, region: str | None) -> Earlier:
    """Return what a run takes over from the result that it updates."""
    old, manifest, store = update.old, update.manifest, str(update.plan.store_path)
    kept, listed = None, {}
    if update.kept_windows:
        recipe = update.plan.config.recipe()
        reports = reports_of(manifest, ledger(store, region), recipe, update.kept_windows)
        objects = {key: (one.size, one.digest) for key, one in manifest.store.items()}
        gone = {report.part for report in reports if report.part is not None} - _parts_there(store, region)
        windows = frozenset(update.kept_windows)
        kept = Kept(windows, tuple(reports), objects, manifest.attributes, frozenset(gone))
        own = {one.window: one for one in update.plan.each if one.window in windows}
        listed = {
            name: as_reported(one, [r for r in reports if r.window == name], manifest.digests[f"parts {name}"])
            for name, one in own.items()
        }

    def take_over(folder: Folder) -> None:
        take_over_parts(update.same, old, update.plan, manifest, folder)

    etags = {name: one.etag for name, one in manifest.granules.items() if one.etag is not None}
    return Earlier(kept, listed, etags, update.added, update.removed, take_over, frozenset(update.mapped))


def update(
    store: PlaceLike, *, catalog: CatalogLike | None = None, dry_run: bool = False, **options: Any
) -> RunResult | UpdatePlan:
    """Bring a result up to date: new windows, revised, late and withdrawn granules.

    Parameters
    ----------
    store : str or Path
        Path or s3:// URL of the Zarr.
    catalog : str, Path, mapping or Catalog, optional
        A catalog of everything; by default the search, or the folders, of the result's own catalog are asked again.
    dry_run : bool
        If True, only return what would be done.
    **options
        Options of `plan_update` and fields of `RunOptions`.

    Returns
    -------
    RunResult or UpdatePlan
        The plan if ``dry_run``, or if there is nothing to do.

    Raises
    ------
    MaggjobError
        As `plan_update` and `maggjob.run`.

    Examples
    --------
    >>> import maggjob
    >>> area = (-105, -76, -100, -75)
    >>> paths = maggjob.simulate("granules", cycles=(21,), area=area, every=100, most=3)
    >>> catalog = maggjob.make_catalog("granules")
    >>> result = maggjob.run("atl06.yaml", catalog=catalog, store="map.zarr", backend="serial")
    >>> more = maggjob.simulate("granules", cycles=(22,), area=area, every=100, most=3)
    >>> update("map.zarr", backend="serial").tally.granules["used"] == len(paths + more)
    True
    """
    how = RunOptions.taken_from(options)
    found = plan_update(store, catalog=catalog, region=how.region, **options)
    return found if dry_run or found.nothing else carry_out(found, how)
