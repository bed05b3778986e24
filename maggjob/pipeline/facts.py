"""What is known of the granules of a run apart from the reports of its cells: their beams, and their rows."""

from collections.abc import Iterable, Mapping

from maggjob.errors import ConfigError
from maggjob.granules.screening import READ
from maggjob.icesat2.orbit import BEAMS
from maggjob.model.invariants import Facts
from maggjob.pipeline.index_stage import Indexed
from maggjob.planning.plan import Plan


def check_groups(plan: Plan, beams: Iterable[Mapping[str, str]]) -> list[str]:
    """Check that every group of the configuration is in some granule; return the beams that none has.

    A subset may lack a beam, so that is only told; but a group that is no beam is a mistake if no granule has it.

    Parameters
    ----------
    plan : Plan
    beams : iterable of mapping
        ``read`` or ``absent`` by group, of each granule that was read.

    Raises
    ------
    ConfigError
        If no granule has a group that is not a beam.
    """
    there = {group for one in beams for group, state in one.items() if state == READ}
    absent = [group for group in plan.config.recipe().groups if group not in there] if there else []
    unknown = [group for group in absent if group not in BEAMS]
    if unknown:
        raise ConfigError(
            f"data_source.groups: no granule has {', '.join(unknown)}; they have {', '.join(sorted(there))}"
        )
    return absent


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
