"""The manifest and the configuration of an image, of Docker's types, which Lambda has always taken."""

import json
from collections.abc import Sequence
from typing import Any

from maggjob._version import __version__
from maggjob.aws.base import Base
from maggjob.aws.dockerfile import Settings
from maggjob.aws.layers import Layer
from maggjob.aws.registry import DOCKER_MANIFEST, Manifest, sha256_of

DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
CREATED = "1980-01-01T00:00:00Z"
"""Time of the image: the same inputs give the same digest."""


def configure(base: Base, made: Sequence[Layer], settings: Settings) -> bytes:
    """Return the configuration of an image.

    Parameters
    ----------
    base : Base
    made : sequence of Layer
        Layers on top of the base.
    settings : Settings
    """
    config: dict[str, Any] = json.loads(json.dumps(base.config))
    given: dict[str, Any] = config.get("config") or {}
    env = dict(pair.partition("=")[::2] for pair in given.get("Env") or []) | dict(settings.env)
    config["config"] = {
        **given,
        "Env": [f"{name}={value}" for name, value in env.items()],
        "Entrypoint": list(settings.entrypoint),
        "Cmd": list(settings.cmd),
        "WorkingDir": settings.workdir,
        "User": settings.user,
        "Labels": {**(given.get("Labels") or {}), **settings.labels},
    }
    config["created"] = CREATED
    config["rootfs"]["diff_ids"] += [layer.diff_id for layer in made]
    about = {"created": CREATED, "created_by": f"maggjob {__version__}"}
    config["history"] = [*(config.get("history") or []), *({**about, "comment": layer.what} for layer in made)]
    return json.dumps(config, sort_keys=True, separators=(",", ":")).encode()


def list_layers(base: Base, made: Sequence[Layer], config: bytes) -> Manifest:
    """Return the manifest of an image.

    Parameters
    ----------
    base : Base
    made : sequence of Layer
        Layers on top of the base.
    config : bytes
        From `configure`.
    """
    layers = [(layer["size"], layer["digest"]) for layer in base.layers]
    layers += [(layer.size, layer.digest) for layer in made]
    content = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {"mediaType": DOCKER_CONFIG, "size": len(config), "digest": sha256_of(config)},
        "layers": [{"mediaType": DOCKER_LAYER, "size": size, "digest": digest} for size, digest in layers],
    }
    return Manifest(json.dumps(content, separators=(",", ":")).encode(), DOCKER_MANIFEST)
