"""Every file that maggjob reads, with mutations: refused with an error of its own, or of the same meaning.

A catalog and a configuration are a person's: a changed one may mean something else, and then has another digest. What
maggjob wrote for itself (indexes, packs, parts, lists, what calls share, plans, manifests) must not be read as
something else.
"""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import maggjob
from maggjob.catalog.file import load_catalog
from maggjob.catalog.search import from_pages
from maggjob.config.load import builtin_configs
from maggjob.errors import MaggjobError
from maggjob.granules.granule import open_granule
from maggjob.granules.index import make_index
from maggjob.granules.index_format import decode, encode, index_digest
from maggjob.granules.lists import load_granules
from maggjob.granules.pack_format import decode_pack, encode_pack
from maggjob.jobs.parts import check_part, unpack
from maggjob.jobs.wire import read_shared, wire_tasks
from maggjob.output.saved_plan import read_plan
from maggjob.pipeline.status import read_status, read_summary
from maggjob.planning.tasks import make_tasks
from maggjob.storage.archive import Archive
from maggjob.storage.folder import Folder
from tests.faults.world import World

MANY = 400
"""Mutations of each kind of file."""
STUMBLES = (b"\0", b"9" * 400, b"1e999", b"-1", b"null", b"[]", b"{}", b'"', b"\xff")
RECIPE = maggjob.load_config("atl06.yaml").recipe()


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Return the content with some bytes changed, removed, doubled or exchanged for what parsers stumble over."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        at = draw.randrange(max(1, len(changed)))
        stop = min(len(changed), at + draw.choice((1, 1, 2, 8, 100)))
        match draw.randrange(6):
            case 0:
                changed[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                changed[at : at + 1] = bytes([changed[at] ^ 1 << draw.randrange(8)]) if at < len(changed) else b""
            case 2:
                del changed[at:stop]
            case 3:
                changed[at:at] = changed[at:stop]
            case 4:
                changed[at:stop] = draw.choice(STUMBLES)
            case 5:
                del changed[at:]
    return bytes(changed)


@pytest.fixture(scope="module")
def folder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a result, its run and a catalog; tests work on copies."""
    here = tmp_path_factory.mktemp("parsers")
    world.catalog.write(here / "catalog.json")
    maggjob.run("atl06.yaml", catalog=world.catalog, store=str(here / "map.zarr"), backend="serial", index=False)
    return here


def readers(world: World, folder: Path) -> dict[str, tuple[bytes, Callable[[bytes], Any], bool]]:
    """Return content, reader, and whether another meaning is refused, by what a file is."""
    run = folder / "map.zarr.run"
    plan = maggjob.plan("atl06.yaml", catalog=world.catalog, store=str(folder / "other.zarr"))
    task = max(make_tasks(plan), key=lambda task: task.granules.size)  # type: ignore[union-attr]
    part = maggjob.map_cell(task)
    (listed,) = (folder / "other.zarr.run").glob("granules-*.zlib")
    granule = world.catalog.granules[0].granule("file")
    digest = index_digest(RECIPE)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        index = encode(make_index(open_granule(granule, Archive()), RECIPE, digest, pool))
    _, pack = encode_pack([replace(granule, id="other"), granule], [index, index], digest)
    (call,) = wire_tasks({"recipe": RECIPE.to_dict()}, [[1]], str(folder / "other.zarr.run"))
    shared = folder / "other.zarr.run" / call.shared

    def write_and(path: Path, read: Callable[[], Any]) -> Callable[[bytes], Any]:
        def reader(content: bytes) -> Any:
            before = path.read_bytes()
            path.write_bytes(content)
            try:
                return read()
            finally:
                path.write_bytes(before)

        return reader

    catalog, store = folder / "catalog.json", str(folder / "map.zarr")
    config = folder / "mine.yaml"
    config.write_bytes(builtin_configs()["atl06.yaml"].read_bytes())
    records = folder / "page.json"
    records.write_text(json.dumps({"hits": 1, "items": [record(world)]}))
    part_bytes = Path(str(part.part)).read_bytes()
    return {
        "configuration": (config.read_bytes(), write_and(config, lambda: maggjob.load_config(config).digest), False),
        "catalog": (catalog.read_bytes(), write_and(catalog, lambda: load_catalog(catalog, RECIPE).digest), True),
        "records": (
            records.read_bytes(),
            write_and(records, lambda: from_pages([records])),
            False,
        ),
        "index": (index, lambda content: encode(decode(content, granule.id, digest)), True),
        "pack": (pack, lambda c: encode(decode(decode_pack("pack", c)[granule.id], granule.id, digest)), True),
        "part": (part_bytes, lambda content: _meaning(check_part(task, content, ""), content), True),
        "list": (listed.read_bytes(), write_and(listed, lambda: load_granules(task)), True),
        "shared": (shared.read_bytes(), write_and(shared, lambda: read_shared(call)), True),
        "run.json": ((run / "run.json").read_bytes(), write_and(run / "run.json", lambda: read_status(store)), False),
        "summary": (
            (run / "summary.json").read_bytes(),
            write_and(run / "summary.json", lambda: read_summary(store)),
            False,
        ),
        "plan": ((run / "plan.json").read_bytes(), write_and(run / "plan.json", lambda: read_plan(store).digest), True),
        "manifest": (
            (run / "manifest.json").read_bytes(),
            write_and(run / "manifest.json", lambda: maggjob.verify_result(store).good),
            False,
        ),
    }


def _meaning(part: Any, content: bytes) -> tuple[Any, ...]:
    """Return what a part says: its numbers, and its ledger."""
    read = unpack(content, "part", 12)
    return json.dumps(read.ledger, sort_keys=True), {name: of.tobytes() for name, of in read.levels[12].values.items()}


def record(world: World) -> Any:
    """Return CMR's record of a granule."""
    from maggjob.simulator.scene import cmr_record

    return cmr_record(world.paths[0])


KINDS = "configuration catalog records index pack part list shared run.json summary plan manifest".split()


@pytest.mark.dear("thousands of texts; one kind stands for all", keep=("plan",))
@pytest.mark.parametrize("kind", KINDS)
def test_mutations_are_refused_or_mean_the_same(world: World, folder: Path, kind: str) -> None:
    content, read, strict = readers(world, folder)[kind]
    truth = read(content)
    draw = random.Random(kind)
    refused = 0
    # Those that pydantic validates take longer.
    for _ in range(MANY // 4 if kind == "configuration" else MANY):
        changed = mutated(content, draw)
        try:
            found = read(changed)
        except MaggjobError:
            refused += 1
            continue
        if strict:
            assert found == truth, changed[:300]
    assert refused > MANY / 40
    assert Folder(str(folder)).has("catalog.json")
