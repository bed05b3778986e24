"""The image is built and pushed without Docker, from a small base, small wheels and this package."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import maggjob
from maggjob.aws import build, registry as registry_module
from maggjob.aws.build import BuildOptions, push_image
from maggjob.aws.image import Image
from maggjob.aws.login import Login, basic
from tests.aws.registry import Fault, Registry, image_registry
from tests.aws.small_image import HERE, LIBRARY, add_base, small_options

IMAGE = Image("123456789012", "us-west-2", "maggjob", "maggjob:1")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setattr(registry_module, "PAUSES", (0.0, 0.0))
    with image_registry() as found:
        add_base(found)
        yield found


def members(registry: Registry, digest: str) -> dict[str, tarfile.TarInfo]:
    content = gzip.decompress(registry.blobs[IMAGE.repository][digest])
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {entry.name: entry for entry in tar}


def test_an_image_is_pushed(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = small_options(tmp_path, registry, monkeypatch)
    said: list[str] = []
    pushed = push_image(IMAGE, Login(registry.url), options, said.append)
    print("\n".join(said))
    assert registry.tags[IMAGE.repository] == {"1": pushed.digest}
    manifest, config = registry.image(IMAGE.repository, "1")
    library, packages, ours = pushed.layers
    assert set(members(registry, library.digest)) >= {f"{LIBRARY}/__pycache__/os.cpython-{HERE.replace('.', '')}.pyc"}
    print(json.dumps(config, indent=1))
    print(sorted(members(registry, packages.digest)))
    print(sorted(members(registry, library.digest)))
