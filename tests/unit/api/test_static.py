"""What the page loads that others wrote."""

from hashlib import sha256
from importlib.resources import files

STATIC = files("argosy.api.page") / "static"


def test_each_file_of_others_is_as_it_was_published_and_has_its_licence() -> None:
    lines = [line.split() for line in (STATIC / "VENDORED").read_text().splitlines() if not line.startswith("#")]
    assert {name for _, name, *_ in lines} == {each.name for each in STATIC.iterdir() if ".min." in each.name}
    for digest, name, package, _, licence, _ in lines:
        assert sha256((STATIC / name).read_bytes()).hexdigest() == digest, name
        assert "@" in package
        assert (STATIC / licence).read_text().strip(), licence
