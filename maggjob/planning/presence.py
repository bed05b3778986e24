"""What a configuration names that no granule has: a mistake, which is told before any work if granules can be read."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from maggjob.config.schema import Config
from maggjob.errors import ConfigError, GranuleError
from maggjob.granules.contents import Contents, contents_of
from maggjob.granules.granule import open_granule
from maggjob.icesat2.orbit import BEAMS
from maggjob.model.recipe import ORIENTATION
from maggjob.model.tasks import Granule
from maggjob.storage.archive import Archive

Item = TypeVar("Item")


def check_contents(config: Config, there: Contents | None) -> tuple[str, ...]:
    """Check that everything that a configuration names is in some granule.

    Parameters
    ----------
    config : Config
    there : Contents or None
        What is in the granules that were read; None if none was.

    Returns
    -------
    tuple of str
        What no granule has and is no mistake, in words: beams that a subset lacks, and times that are not asked for.

    Raises
    ------
    ConfigError
        If no granule has a group that is not a beam, a variable, the dataset of a filter, or the times asked for.
    """
    if there is None:
        return ()
    if not there.groups:
        raise ConfigError(
            f"data_source.coordinates: no granule has {config.data_source.coordinates.latitude} in any of the groups "
            f"{', '.join(config.data_source.groups)}; check these paths"
        )
    absent = [group for group in config.data_source.groups if group not in there.groups]
    unknown = [group for group in absent if group not in BEAMS]
    if unknown:
        known = ", ".join(sorted(there.groups | there.others))
        raise ConfigError(f"data_source.groups: no granule has {', '.join(unknown)}; they have {known}")
    if ORIENTATION in there.lacking:
        raise ConfigError(
            f"data_source.filters: 'strong' follows {ORIENTATION}, which no granule has: this product, or subset, does "
            "not tell which beams are strong"
        )
    for key, path in _required(config).items():
        if path in there.lacking:
            raise ConfigError(f"data_source.{key}: no granule has {path}; check the path")
    told = [f"beam {beam}" for beam in absent]
    return (*told, *(["times, so that the result has none"] if config.recipe().time in there.lacking else []))


def _required(config: Config) -> dict[str, str]:
    """Return the paths that some granule must have, by key of the configuration."""
    source = config.data_source
    named = {f"variables.{name}": path for name, path in source.paths.items()}
    named |= {} if source.quality_filter is None else {"quality_filter.dataset": source.quality_filter.dataset}
    named |= {f"filters.{number}.dataset": f.dataset for number, f in enumerate(source.filters) if f.dataset}
    recipe = config.recipe()
    if source.coordinates.time is not None or "time" in recipe.named_columns:
        named["coordinates.time"] = recipe.time
    return named


def check_local(config: Config, granules: Sequence[Granule]) -> None:
    """Check that everything that a configuration names is in some of the granules on this machine.

    Granules are opened only until everything is found: nearly always one. Those that cannot be read are passed over, as
    the run counts them.

    Parameters
    ----------
    config : Config
    granules : sequence of Granule
        Local files.

    Raises
    ------
    ConfigError
        As `check_contents`.
    """
    archive, recipe = Archive(), config.recipe()
    problem: ConfigError | None = None
    there: Contents | None = None
    for granule in _spread(granules):
        try:
            there = contents_of(open_granule(granule, archive, recipe.reader), recipe).join(there)
        # Not lost: the run reads it again, and counts why it cannot be read.
        except GranuleError:
            continue
        try:
            check_contents(config, there)
        except ConfigError as lack:
            problem = lack
            continue
        return
    if problem is not None:
        raise problem


def _spread(items: Sequence[Item]) -> Iterator[Item]:
    """Yield the first, the last and the middle item, then all others: neighbours lack the same things."""
    first = list(dict.fromkeys([0, len(items) - 1, len(items) // 2])) if items else []
    yield from (items[number] for number in first)
    yield from (item for number, item in enumerate(items) if number not in first)
