"""The cache of images that work trees on one machine share."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clusters.local import image
from clusters.local.build import lock


class Counting:
    """Stands for buildah, which takes minutes."""

    made: list[str]

    def __init__(self, work: Path, progress: image.Progress) -> None:
        pass

    def build(self, target: Path) -> None:
        """Write something."""
        self.made.append(target.name)
        target.write_text("an image")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(image, "_Buildah", Counting)
    monkeypatch.setattr(Counting, "made", [], raising=False)
    return tmp_path / "argosy"


def test_those_who_want_the_same_image_at_once_build_it_once(cache: Path) -> None:
    with ThreadPoolExecutor(4) as many:
        found = set(many.map(lambda _: image.build(print), range(4)))
    assert len(found) == len(Counting.made) == 1


def test_the_images_that_others_used_last_stay_and_one_that_is_there_waits_for_no_build(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(image.KEPT + 2):
        monkeypatch.setattr(image, "_digest", lambda number=number: str(number))
        made = image.build(print)
        os.utime(made, (number, number))
    monkeypatch.setattr(image, "_digest", lambda: "2")
    with lock(print, "image"):
        assert image.build(print).name == "image-2.tar"
    monkeypatch.setattr(image, "_digest", lambda: "another")
    image.build(print)
    assert {each.name for each in cache.glob("*.tar")} == {f"image-{n}.tar" for n in ("2", "4", "5", "another")}
