"""What of a recipe is in a granule."""

from dataclasses import dataclass

from maggjob.errors import CorruptError, UnsupportedError
from maggjob.granules.granule import OpenGranule, has_beam
from maggjob.icesat2.orbit import BEAMS
from maggjob.model.recipe import Recipe


@dataclass(frozen=True)
class Contents:
    """What of a recipe is in a granule."""

    groups: frozenset[str]
    """Groups of the recipe that have coordinates."""
    lacking: frozenset[str] = frozenset()
    """Paths of the recipe, with ``{group}`` for the beam, that none of these groups has."""
    others: frozenset[str] = frozenset()
    """Beams of the granule that the recipe does not name."""

    def join(self, other: "Contents | None") -> "Contents":
        """Return what is in this granule or in others.

        Parameters
        ----------
        other : Contents or None
            What is in the others; None for no other.
        """
        if other is None:
            return self
        return Contents(self.groups | other.groups, self.lacking & other.lacking, self.others | other.others)


def contents_of(granule: OpenGranule, recipe: Recipe) -> Contents:
    """Find what of a recipe is in a granule; a dataset that cannot be read is there.

    Parameters
    ----------
    granule : OpenGranule
    recipe : Recipe

    Raises
    ------
    GranuleError
        If the structure of the granule cannot be read.
    """
    groups = frozenset(group for group in recipe.groups if has_beam(granule.file, recipe, group))
    others = frozenset(g for g in set(BEAMS) - set(recipe.groups) if has_beam(granule.file, recipe, g))

    def has(path: str) -> bool:
        try:
            return granule.file.info(path) is not None
        except (CorruptError, UnsupportedError):
            return True

    return Contents(groups, recipe.lacking(dict.fromkeys(groups, has)), others)
