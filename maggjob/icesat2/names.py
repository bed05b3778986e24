"""Names of ICESat-2's granules and products, and citations of products."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

PRODUCT, VERSION, PROVIDER = "ATL06", "007", "NSIDC_CPRD"
"""Default product, version and provider of a search, as CMR names them."""
PRODUCT_PATTERN = r"^ATL\d\d$"
"""Regular expression for the short name of a product."""
NAME_PATTERN = re.compile(
    r"(?P<product>ATL\d\d)_(?P<start>\d{14})_(?P<rgt>\d{4})(?P<cycle>\d\d)(?P<region>\d\d)"
    r"_(?P<version>\d{3})_(?P<revision>\d\d)"
)
EPOCH = datetime(2018, 1, 1, tzinfo=UTC)
"""Zero of delta_time (the ATLAS epoch). The offset of GPS to UTC is constant since: no leap second followed."""
TITLE = "ICESat-2 land-ice heights by HEALPix cell"
"""Title of a result."""
REFERENCES = {
    "ATL06": "Smith, B. et al., ATLAS/ICESat-2 L3A Land Ice Height, NASA National Snow and Ice Data Center "
    "Distributed Active Archive Center"
}
"""Citations by short name of the product."""


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

    def __str__(self) -> str:
        track = f"{self.rgt:04d}{self.cycle:02d}{self.region:02d}"
        return f"{self.product}_{self.start}_{track}_{self.version}_{self.revision}"


def what_it_is(name: str) -> tuple[str, str, int, int, int] | None:
    """Return what a granule is whatever its version: product, start, track, cycle, region; None for another name.

    Parameters
    ----------
    name : str
        A granule id, a file name or a URL.
    """
    of = GranuleName.parse(name)
    return None if of is None else (of.product, of.start, of.rgt, of.cycle, of.region)


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
    return f"10.5067/ATLAS/{product}.{version}"


def reference(product: str) -> str:
    """Return the citation of a product, or its short name if the citation is not known."""
    return REFERENCES.get(product, product)
