"""A stand-in for NASA's CMR on 127.0.0.1: pages of granules, and any fault one likes."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zlib import crc32

from maggjob.icesat2.orbit import Pass
from maggjob.simulator.scene import footprint, granule_name
from tests.servers import Request, Seen, server

BUCKET = "nsidc-cumulus-prod-protected"
HOST = "https://data.nsidc.earthdatacloud.nasa.gov"
HTML = b"<!DOCTYPE html><html><body><h1>Earthdata is down for maintenance</h1></body></html>"


def name_of(rgt: int, cycle: int = 22, region: int = 11, version: str = "007", revision: str = "01") -> str:
    """File name of a pass."""
    return granule_name(Pass(rgt, cycle, region)).replace("_006_00.h5", f"_{version}_{revision}.h5")


def record(name: str, ring: Any = "simulated", concept: str | None = None) -> dict[str, Any]:
    """A granule in UMM-JSON, as NSIDC_CPRD's are; without ``ring`` it has an orbit only."""
    product, stamp, track, version, _ = name.removesuffix(".h5").split("_")
    rgt, cycle, region = int(track[:4]), int(track[4:6]), int(track[6:])
    if ring == "simulated":
        ring = footprint(Pass(rgt, cycle, region))
    day = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}"
    time = f"{day}T{stamp[8:10]}:{stamp[10:12]}:{stamp[12:]}.000Z"
    below = f"ATLAS/{product}/{version}/{day.replace('-', '/')}/{name}"
    points = [{"Longitude": x, "Latitude": y} for x, y in ring or ()]
    shape = {"Geometry": {"GPolygons": [{"Boundary": {"Points": points}}]}} if ring else {"Orbit": {"StartLatitude": 0}}
    return {
        "meta": {
            "concept-type": "granule",
            "concept-id": concept or f"G{crc32(name.encode())}-NSIDC_CPRD",
            "native-id": name,
            "provider-id": "NSIDC_CPRD",
        },
        "umm": {
            "GranuleUR": name,
            "TemporalExtent": {"RangeDateTime": {"BeginningDateTime": time, "EndingDateTime": time}},
            "DataGranule": {
                "ArchiveAndDistributionInformation": [
                    {"Name": name, "SizeInBytes": 61_234_567, "Size": 58.4, "SizeUnit": "MB"},
                    {"Name": f"{name}.dmrpp", "SizeInBytes": 99},
                ]
            },
            "SpatialExtent": {"HorizontalSpatialDomain": shape},
            "RelatedUrls": [
                {"Type": "GET DATA", "URL": f"{HOST}/{BUCKET}/{below}"},
                {"Type": "GET DATA VIA DIRECT ACCESS", "URL": f"s3://{BUCKET}/{below}"},
                {"Type": "VIEW RELATED INFORMATION", "URL": "https://example.com/about.html"},
                {"Type": "EXTENDED METADATA", "URL": f"s3://elsewhere/{below}.dmrpp"},
            ],
        },
    }


def entry(item: dict[str, Any], ring: Any = "simulated") -> dict[str, Any]:
    """The same granule in JSON, with a polygon ("lat lon lat lon ...") where a ring is given."""
    name = item["umm"]["GranuleUR"]
    if ring == "simulated":
        track = name.split("_")[2]
        ring = footprint(Pass(int(track[:4]), int(track[4:6]), int(track[6:])))
    polygons = {"polygons": [[" ".join(f"{y} {x}" for x, y in ring)]]} if ring else {}
    return {"id": item["meta"]["concept-id"], "title": name, **polygons}


Fault = Callable[["Cmr", Request], None]


@dataclass
class Cmr:
    """Content of the stand-in, and its faults."""

    items: list[dict[str, Any]]
    """Its granules, in UMM-JSON, in the order in which it lists them."""
    entries: list[dict[str, Any]] = field(default_factory=list)
    """The same in JSON."""
    faults: dict[int, Fault] = field(default_factory=dict)
    """What answers the request of a number, from 0, instead; -1 for all others."""
    endpoint: str = ""
    """Where it is, once it runs."""
    seen: list[Seen] = field(default_factory=list)
    """What it was asked."""
    asked: list[dict[str, str]] = field(default_factory=list)
    """Parameters of each question."""

    def answer(self, request: Request) -> None:
        """Answer one question."""
        number = len(self.asked)
        self.asked.append(dict(parse_qsl(urlsplit(request.path).query)))
        fault = self.faults.get(number, self.faults.get(-1))
        (fault or Cmr.page)(self, request)

    def page(
        self, request: Request, *, drop: int = 0, hits: int = 0, again: bool = False, without: Sequence[str] = ()
    ) -> None:
        """Return a page as CMR serves it, or one that lacks ``drop`` items, has another total, or a granule twice."""
        form = request.key.rsplit(".", 1)[-1]
        every = self.items if form == "umm_json" else self.entries
        size = int(self.asked[-1].get("page_size", "10"))
        after = request.headers.get("CMR-Search-After")
        first = 0 if after is None else json.loads(after)[0]
        items = every[first : first + size]
        headers = {"CMR_Hits": str(len(every) + hits), "Content_Type": f"application/{form}; charset=utf-8"}
        if items:
            headers["CMR_Search_After"] = json.dumps([first + len(items), "x"])
        if again:
            items = [*items[:-1], items[0]]
        items = items[: len(items) - drop]
        content = {"hits": len(every), "took": 3, "items": items} if form == "umm_json" else {"feed": {"entry": items}}
        for name in without:
            headers.pop(name, None)
        request.reply(200, json.dumps(content).encode(), **headers)


def faulty(**changes: Any) -> Fault:
    """A page with something wrong about it (see `Cmr.page`)."""
    return lambda cmr, request: cmr.page(request, **changes)


def says(status: int, body: bytes, kind: str = "application/json", **headers: str) -> Fault:
    """Always the same answer."""
    return lambda cmr, request: request.reply(status, body, Content_Type=kind, **headers)


def refused(status: int, *errors: str) -> Fault:
    """CMR's own way of saying no."""
    return says(status, json.dumps({"errors": errors}).encode())


def cut(cmr: Cmr, request: Request) -> None:
    """Promise a body and send half of it."""
    body = json.dumps({"hits": len(cmr.items), "items": cmr.items}).encode()
    request.reply(200, body[: len(body) // 2], Content_Length=str(len(body)), CMR_Hits=str(len(cmr.items)))


def halved(cmr: Cmr, request: Request) -> None:
    """Send half of a body as if it were whole."""
    body = json.dumps({"hits": len(cmr.items), "items": cmr.items}).encode()
    request.reply(200, body[: len(body) // 2], CMR_Hits=str(len(cmr.items)))


@contextmanager
def serve(cmr: Cmr) -> Iterator[Cmr]:
    """Run it on a free port until the end of the block."""
    with server(cmr.answer) as running:
        cmr.endpoint, cmr.seen = running.url("/search/"), running.seen
        yield cmr
