"""What `make test-image` relies on and needs no emulation."""

from pathlib import Path

import pytest

from tests.image.namespace import IDS, NamespaceError, identities
from tests.image.tools import cache_folder, reason_to_skip


def test_root_has_the_machines_ids_and_others_their_subordinate_ones() -> None:
    assert identities(0, "") == [(0, 0, IDS)]
    given = "someone:100000:65536\n12345:300000:65536\n"
    assert identities(12345, given) == [(0, 12345, 1), (1, 300000, IDS - 1)]


@pytest.mark.parametrize("subordinate", ["", "someone:100000:65536\n", "12345:100000:1000\n"])
def test_a_user_without_subordinate_ids_is_told_so(subordinate: str) -> None:
    with pytest.raises(NamespaceError, match="user 12345 has no 65536 subordinate ids"):
        identities(12345, subordinate)


def test_userlands_are_kept_outside_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MAGGJOB_TEST_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("MAGGJOB_TEST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "maggjob-test-image"


def test_what_is_missing_is_asked_for_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    said = reason_to_skip("3.13", "Linux x86_64")
    assert said.startswith("install what is missing: apt-get install")
    assert said.endswith(" buildah docker-registry mmdebstrap uidmap skopeo umoci")
    assert "Debian on x86-64" in reason_to_skip("3.13", "Darwin arm64")
    assert "PYTHON=python3.13" in reason_to_skip("3.12", "Linux x86_64")
