"""`python -m tests.fuzz --seconds N --seed S`: no input crashes, hangs or swells what reads manifests, statuses and messages.

Good inputs are broken at random: bytes, words of YAML, whole parts. What fails is kept in `found/`, and tried first from then on. It runs
in a process of its own, whose memory is bounded: 200 MB more than it has before the first input.
"""

import argparse
import json
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import yaml
from dramatiq.errors import DecodeError

from argosy import manifest
from argosy.errors import ArgosyError
from argosy.kube import status
from argosy.processes.wakeups import StrictEncoder
from argosy.shapes.given import PROFILES, Policy
from tests.support import heavy, hostile
from tests.support.mutants import mutant
from tests.unit.manifest.samples import frame

HERE = Path(__file__).parent
FOUND = HERE / "found"
CORPUS = HERE.parent / "cluster" / "corpus"
SECONDS, MEMORY = 2, 200 << 20

_WORDS = [
    b"{{", b"}}", b"{{=", b"&a ", b"*a", b"<<: *a", b"!!binary ", b"!!python/object:x ", b"\x00", b"\xff\xfe", b"\xe2\x80\xae", b"\t",
    b"? ", b"- ", b": ", b"|\n", b">-\n", b"---\n", b"...\n", b"%YAML 9.9\n", b"[" * 200, b"{a: " * 120, b"9" * 5000, b"1e999", b".inf",
    b"-0x7fffffffffffffff", b"null", b"~", b"'", b'"', b"\\", b"\\u0000", b"\\ud800", b"\n" * 50, b"# ", b"a" * 70_000,
]  # fmt: skip


@dataclass(frozen=True)
class Target:
    """What is tried, and with what kind of good inputs."""

    run: Callable[[bytes], None]
    seeds: list[bytes]


def lint(data: bytes) -> None:
    """A manifest, judged by each profile, and rendered where it may be."""
    text = data.decode("utf-8", "surrogateescape")
    for profile in PROFILES:
        for finding in manifest.lint(text, policies={"c": Policy(profile=profile)}):
            str(finding).encode("utf-8")
    try:
        launch = frame(text, policy=Policy(profile="trusted"))
        manifest.Renderer(launch).render(launch.gid, 1, [1, 2]).terminated()
    except ArgosyError:
        return


def read(data: bytes) -> None:
    """A workflow as a cluster tells of it."""
    try:
        workflow = orjson.loads(data)
        seen = status.read(workflow)
    except (orjson.JSONDecodeError, status.Unreadable):
        return
    json.dumps([seen.message, seen.phase, [list(map(str, node)) for node in seen.nodes or ()]]).encode()


def decode(data: bytes) -> None:
    """A message from Redis."""
    try:
        StrictEncoder().decode(data)
    except DecodeError:
        return


def targets() -> dict[str, Target]:
    """All of them."""
    good = [path.read_bytes() for path in sorted(CORPUS.glob("*.yaml"))]
    bad = [text.encode() for _, text in hostile.manifests()]
    return {"lint": Target(lint, good + bad), "read": Target(read, [_STATUS]), "decode": Target(decode, [_MESSAGE])}


_STATUS = orjson.dumps(
    {
        "metadata": {
            "name": "job-0b1e8f0a-e7be-11f1-a60a-02fc00000001-1", "uid": "u", "resourceVersion": "7", "finalizers": ["argosy.dev/recorded"],
            "labels": {"uid": "0b1e8f0a-e7be-11f1-a60a-02fc00000001", "argosy.dev/attempt": "1"},
            "annotations": {"argosy.dev/ended": "failed"},
        },
        "spec": {"shutdown": "Terminate"},
        "status": {
            "phase": "Failed", "message": "m", "progress": "1/2", "startedAt": "2026-11-28T17:00:00Z", "finishedAt": "2026-11-28T17:01:00Z",
            "compressedNodes": "H4sIAAAAAAAA/6uuBQBDv6ajAgAAAA==",
            "nodes": {
                "a": {"id": "a", "displayName": "a", "type": "Pod", "phase": "Failed", "children": ["b"], "outputs": {"exitCode": "3"}},
            },
        },
    }
)  # fmt: skip
_MESSAGE = orjson.dumps(
    {
        "queue_name": "launch", "actor_name": "launch", "args": [1], "kwargs": {}, "options": {"redis_message_id": "x"},
        "message_id": "m", "message_timestamp": 1,
    }
)  # fmt: skip


def broken(data: bytes, chance: random.Random) -> bytes:
    """A good input with something wrong in it."""
    if chance.random() < 0.3:
        try:
            body = yaml.safe_load(data)
            data = yaml.safe_dump(mutant(body, chance) if "spec" in body else body).encode()
        except (yaml.YAMLError, KeyError, TypeError, ValueError):
            pass
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice((0, 1, 1, 5, 40, 400)))
        part = chance.choice(
            (b"", data[at:end] * chance.choice((2, 2, 50)), chance.choice(_WORDS), bytes([chance.randrange(256)]))
        )
        data = data[:at] + part + data[end:]
    return data[: 1 << 20]


def fails(target: Target, data: bytes) -> str:
    """Why an input is not borne; empty where it is."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of a processor: a busy machine makes nothing hang
    try:
        target.run(data)
    except TimeoutError:
        return f"took more than {SECONDS} s"
    except (Exception, MemoryError) as error:  # noqa: BLE001 -- whatever it is, it is what is looked for
        return f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return ""


def _hangs(number: int, frame: Any) -> None:
    raise TimeoutError


def main() -> int:
    """Try inputs for so long.

    Returns:
        0 where all were borne.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    signal.signal(signal.SIGPROF, _hangs)
    known = targets()
    for target in known.values():  # what is read once, such as the schema, is no input's doing
        target.run(target.seeds[0])
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    bad, tried = 0, Counter[str]()

    def attempt(name: str, data: bytes) -> None:
        nonlocal bad
        tried[name] += 1
        if why := fails(known[name], data):
            bad += 1
            path = FOUND / f"{name}-{sha256(data).hexdigest()[:12]}"
            path.write_bytes(data)
            sys.stdout.write(f"FAILED {path.name}: {why}\n")

    for text in heavy.MANIFESTS.values():
        attempt("lint", text.encode())
    for path in sorted(FOUND.glob("*-*")):
        attempt(path.name.partition("-")[0], path.read_bytes())
    chance, until = random.Random(chosen.seed), time.monotonic() + chosen.seconds
    while time.monotonic() < until:
        name = chance.choice(("lint", "lint", "read", "decode"))
        attempt(name, broken(chance.choice(known[name].seeds), chance))
    sys.stdout.write(json.dumps({"seed": chosen.seed, "tried": dict(tried), "failed": bad}) + "\n")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
