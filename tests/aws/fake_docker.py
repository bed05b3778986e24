"""A docker that writes down what it is asked, and fails as told by FAKE_DOCKER; its push puts an image into ECR."""

import hashlib
import json
import os
import sys
from pathlib import Path

FAILURES = {
    "no-buildx": ("buildx", "docker: unknown command: docker buildx\n\nRun 'docker --help' for more information"),
    "no-engine": ("build", "ERROR: Cannot connect to the Docker daemon at unix:///var/run/docker.sock."),
    "no-emulation": ("build", "ERROR: exec /bin/sh: exec format error"),
    "login-refused": ("login", "Error response from daemon: login attempt failed with status: 401 Unauthorized"),
    "push-refused": ("push", "name unknown: The repository with name 'x' does not exist in the registry"),
}


def main() -> None:
    arguments = sys.argv[1:]
    folder = arguments[-1] if "build" in arguments else ""
    files = sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file()) if folder else []
    given = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()
    with Path(os.environ["FAKE_DOCKER_LOG"]).open("a") as log:
        log.write(json.dumps({"arguments": arguments, "stdin": given, "files": files}) + "\n")
    word, message = FAILURES.get(os.environ.get("FAKE_DOCKER", ""), ("", ""))
    if word and word in arguments:
        sys.exit(message)
    if arguments[0] == "push":
        import boto3

        repository, tag = arguments[1].split("/", 1)[1].rsplit(":", 1)
        config = hashlib.sha256(tag.encode()).hexdigest()
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"digest": f"sha256:{config}", "size": 1, "mediaType": "x"},
            "layers": [],
        }
        boto3.client("ecr").put_image(repositoryName=repository, imageTag=tag, imageManifest=json.dumps(manifest))


if __name__ == "__main__":
    main()
