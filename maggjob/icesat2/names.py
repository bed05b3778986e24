"""Names of ICESat-2's granules and products, and citations of products."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

PRODUCT, VERSION, PROVIDER = "ATL06", "007", "NSIDC_CPRD"
"""Default product, version and provider of a search, as CMR names them."""
PRODUCT_PATTERN = r"^ATL\d\d$"
"""Regular expression for the short name of a product."""
NAME_PATTERN = re.compile(
    r"(?P<product>ATL\d\d)(?:-\d\d)?_(?P<start>\d{14})_(?P<rgt>\d{4})(?P<cycle>\d\d)(?P<region>\d\d)"
    r"_(?P<version>\d{3})_(?P<revision>\d\d)"
)
PRODUCT_IN_NAME = re.compile(r"(?<![A-Za-z0-9])(ATL\d\d)(?:-\d\d)?_\d")
"""The product in any granule's name; that of ATL11 has tracks and ranges of cycles, and no time."""
EPOCH = datetime(2018, 1, 1, tzinfo=UTC)
"""Zero of delta_time (the ATLAS epoch). The offset of GPS to UTC is constant since: no leap second followed."""
DOI_PREFIX = "10.5067/ATLAS/"
"""Prefix of the DOIs of ICESat-2's products."""
SIMULATED = "00"
"""Revision of simulated granules; the archive counts revisions from 01."""


@dataclass(frozen=True)
class Citation:
    """What a result says about a product that it was computed from."""

    title: str
    """Title of the result."""
    vertical_datum: str
    """Datum of the product's heights."""
    reference: str
    """Citation of the product."""


CITATIONS = {
    "ATL06": Citation(
        "ICESat-2 land-ice heights by HEALPix cell",
        "h_li and other heights of the product are above the WGS84 ellipsoid",
        "Smith, B. et al., ATLAS/ICESat-2 L3A Land Ice Height, NASA National Snow and Ice Data Center "
        "Distributed Active Archive Center",
    ),
    "ATL08": Citation(
        "ICESat-2 land and canopy heights by HEALPix cell",
        "terrain heights of the product are above the WGS84 ellipsoid, canopy heights above the terrain",
        "Neuenschwander, A. et al., ATLAS/ICESat-2 L3A Land and Vegetation Height, NASA National Snow and Ice Data "
        "Center Distributed Active Archive Center",
    ),
}
"""Citations by short name of the product; nothing is said about others than these."""


@dataclass(frozen=True)
class GranuleName:
    """The parts of a granule's name (ATL06_yyyymmddhhmmss_ttttccss_vvv_rr)."""

    product: str
    """Short name, such as ATL06."""
    start: str
    """Time of the first photon, yyyymmddhhmmss UTC."""
    rgt: int
    """Reference ground track, 1 to 1387."""
    cycle: int
    """91-day repeat cycle, from 1."""
    region: int
    """Along-track region, 1 to 14."""
    version: str
    """Product version, three digits."""
    revision: str
    """Revision, two digits."""

    @classmethod
    def parse(cls, name: str) -> "GranuleName | None":
        """Parse a granule id, a file name or a URL; return None if it contains no granule name."""
        match = NAME_PATTERN.search(name.rsplit("/", 1)[-1])
        if match is None:
            return None
        product, start, version, revision = match.group("product", "start", "version", "revision")
        return cls(product, start, int(match["rgt"]), int(match["cycle"]), int(match["region"]), version, revision)

    @property
    def simulated(self) -> bool:
        """True if the granule was written by the simulator."""
        return self.revision == SIMULATED

    def __str__(self) -> str:
        track = f"{self.rgt:04d}{self.cycle:02d}{self.region:02d}"
        return f"{self.product}_{self.start}_{track}_{self.version}_{self.revision}"


def product_of(name: str) -> str | None:
    """Return the product that a granule id, a file name or a URL names; None if it names none.

    Parameters
    ----------
    name : str
    """
    found = PRODUCT_IN_NAME.search(name.rsplit("/", 1)[-1])
    return None if found is None else found.group(1)


def what_it_is(name: str) -> tuple[str, str, int, int, int] | None:
    """Return what a granule is whatever its version: product, start, track, cycle, region; None for another name.

    Parameters
    ----------
    name : str
        A granule id, a file name or a URL.
    """
    of = GranuleName.parse(name)
    return None if of is None else (of.product, of.start, of.rgt, of.cycle, of.region)


def newest_of(names: Sequence[str]) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Sort the versions of granules out: a granule is the same whatever its file is called (`what_it_is`).

    An original, a subset ("processed_...") and a copy ("... (1)") are one granule. Of its versions and revisions, the
    newest counts. Another name is a granule of its own.

    Parameters
    ----------
    names : sequence of str
        Granule ids, file names or URLs.

    Returns
    -------
    newest : list of int
        Positions of the newest version and revision of each granule, ascending.
    older : list of int
        Positions of all older ones, ascending.
    twice : list of (int, int)
        Positions of two that are the same version and revision of one granule, the newest: both would be counted.

    Examples
    --------
    >>> stem = "ATL06_20240101031203_08502211_006"
    >>> newest_of([f"{stem}_02", f"{stem}_01", f"copy of {stem}_01", "GeoIndex"])
    ([0, 3], [1, 2], [])
    """
    versions: dict[object, list[int]] = {}
    for position, name in enumerate(names):
        versions.setdefault(what_it_is(name) or name, []).append(position)
    newest: list[int] = []
    older: list[int] = []
    twice: list[tuple[int, int]] = []
    for positions in versions.values():
        best = max(age(names[position]) for position in positions)
        first, *more = [position for position in positions if age(names[position]) == best]
        newest.append(first)
        older += [position for position in positions if age(names[position]) < best]
        twice += [(first, position) for position in more]
    return sorted(newest), sorted(older), twice


def age(name: str) -> tuple[str, str]:
    """Return what decides which of two files of one granule is newer: version and revision; empty for other names."""
    of = GranuleName.parse(name)
    return ("", "") if of is None else (of.version, of.revision)


def window_label(ids: Iterable[str]) -> str:
    """Return the label of the time window of granules: their cycle or range of cycles.

    The label is ``all`` if there are no granules or a name cannot be parsed.
    """
    names = [GranuleName.parse(name) for name in ids]
    cycles = sorted({name.cycle for name in names if name is not None})
    if not cycles or None in names:
        return "all"
    return f"cycle{cycles[0]:02d}" if len(cycles) == 1 else f"cycles{cycles[0]:02d}-{cycles[-1]:02d}"


def doi(product: str, version: str) -> str:
    """Return the DOI of a version of a product.

    Parameters
    ----------
    product : str
        Short name, such as ATL06.
    version : str
        Three digits.
    """
    return f"{DOI_PREFIX}{product}.{version}"


def is_simulated(ids: Iterable[str]) -> bool:
    """Return True if any granule was written by the simulator."""
    return any(name.simulated for name in map(GranuleName.parse, ids) if name is not None)


def provenance(names: Sequence[GranuleName]) -> dict[str, Any]:
    """Return the attributes of a result that cite its data, without those that are not known.

    No DOI and no reference is given for simulated granules, which nobody published.

    Parameters
    ----------
    names : sequence of GranuleName
        Names of the granules that the result was computed from.
    """
    real = [name for name in names if not name.simulated]
    products, published = _versions(names), _versions(real)
    titles = {CITATIONS[p].title if p in CITATIONS else f"ICESat-2 {p} by HEALPix cell" for p, _ in products}
    attributes: dict[str, Any] = {}
    if len(titles) > 1:
        titles = {f"ICESat-2 {' and '.join(dict.fromkeys(p for p, _ in products))} by HEALPix cell"}
    if products:
        what = "" if len(real) == len(names) else "partly simulated: " if real else "simulated: "
        attributes["title"] = what + titles.pop()
        attributes["product"] = [product for product, _ in products]
        attributes["product_version"] = [version for _, version in products]
    if len(real) < len(names):
        others = "; the others are of ICESat-2" if real else ""
        attributes["source"] = f"granules of maggjob's simulator, not observations{others}"
    if len({p for p, _ in products}) == 1 and products[0][0] in CITATIONS:
        attributes["vertical_datum"] = CITATIONS[products[0][0]].vertical_datum
    if published:
        cited = dict.fromkeys(product for product, _ in published)
        attributes["source_doi"] = [doi(product, version) for product, version in published]
        attributes["references"] = [CITATIONS[p].reference if p in CITATIONS else p for p in cited]
    return attributes


def _versions(names: Iterable[GranuleName]) -> list[tuple[str, str]]:
    """Return the products of granules with their versions, sorted."""
    return sorted({(name.product, name.version) for name in names})
