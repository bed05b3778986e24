"""What is known of the granules of a run: what the configuration names and none has, and their rows."""

from collections.abc import Iterable, Mapping
from functools import reduce

from maggjob.errors import ConfigError, MissingDatasetError
from maggjob.granules.contents import Contents
from maggjob.granules.screening import READ
from maggjob.model.invariants import Facts
from maggjob.model.reports import CellReport, GranuleReport, IndexedGranule
from maggjob.pipeline.index_stage import Indexed
from maggjob.planning.plan import Plan
from maggjob.planning.presence import check_contents


def check_indexed(plan: Plan, indexed: Indexed) -> tuple[str, ...]:
    """Check that everything that the configuration names is in some granule, from their indexes.

    Parameters
    ----------
    plan : Plan
    indexed : Indexed
        Results of the index stage.

    Returns
    -------
    tuple of str
        What no granule has and is no mistake (`check_contents`).

    Raises
    ------
    ConfigError
        If no granule has something that it must have.
    """
    known = [granule for granule in indexed.granules.values() if granule.state != "failed"]
    if not known:
        _check_failed(indexed.granules.values())
    return check_contents(plan.config, _joined(Contents(_read(one.beams), one.lacking) for one in known))


def check_reported(plan: Plan, reports: Iterable[CellReport]) -> tuple[str, ...]:
    """Check the same from the reports of the cells, for granules that were read without indexes.

    Parameters
    ----------
    plan : Plan
    reports : iterable of CellReport

    Returns
    -------
    tuple of str
        As `check_indexed`.

    Raises
    ------
    ConfigError
        If every granule that holds segments lacks a dataset, or no granule has a group that is not a beam.
    """
    granules = [granule for report in reports for granule in report.granules]
    if not any(granule.state == "used" for granule in granules):
        _check_failed([granule for granule in granules if granule.state == "failed"])
    return check_contents(plan.config, _joined(Contents(_read(one.beams)) for one in granules if one.beams))


def _check_failed(lost: Iterable[GranuleReport | IndexedGranule]) -> None:
    """Check that it is not the configuration that all granules failed for."""
    told = {granule.reason: granule.message for granule in lost}
    if set(told) == {MissingDatasetError.reason}:
        raise ConfigError(f"no granule has what the configuration names: {told[MissingDatasetError.reason]}")


def _joined(contents: Iterable[Contents]) -> Contents | None:
    return reduce(lambda there, one: one.join(there), contents, None)


def _read(beams: Mapping[str, str]) -> frozenset[str]:
    return frozenset(beam for beam, state in beams.items() if state == READ)


def facts_of(plan: Plan, indexed: Indexed | None = None) -> dict[str, Facts]:
    """Return what is known of each granule apart from the reports of cells: from its index, or from the catalog.

    A catalog that was made from the files has counted the segments with valid coordinates in the beams that it names;
    other catalogs only estimate them.

    Parameters
    ----------
    plan : Plan
    indexed : Indexed, optional
        Results of the index stage.
    """
    counted = plan.catalog.provenance.get("groups") == list(plan.config.recipe().groups)
    known = {g.id: Facts(valid=g.rows) for g in plan.catalog.granules if counted}
    for granule in indexed.granules.values() if indexed is not None else ():
        if granule.state != "failed":
            known[granule.id] = Facts(granule.rows, granule.invalid, None, granule.beams, granule.cells)
    return known
