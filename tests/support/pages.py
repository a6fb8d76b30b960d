"""The pages that tell people what to type, as a test reads them.

Above each block of shell commands stands a comment that no reader of the page sees:

    <!-- run: STAGE -->      the block is run where STAGE says (tests/support/stages.py), line by line in one shell
    <!-- start: STAGE -->    the block is what starts that stage
    <!-- not run: WHY -->    it cannot be run in a test, or another test runs it

A word in capitals (GID, UID, …) stands for what its reader has in its place; the stage knows what.
"""

import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "clusters" / "README.md",
        *(ROOT / "helm" / "argosy").glob("*.md"),
        *(ROOT / "worker" / "docs").rglob("*.md"),
    ]
)

_FENCE = re.compile(r"(?:^ *<!-- (run|start|not run): (.+?) -->\n)?^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`((?:argosy|kubectl) [^`]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page.

    Attributes:
        page: Its path in the repository.
        line: The line where its text begins.
        language: What stands behind the fence.
        text: What is in it.
        mark: `run`, `start`, `not run`, or empty where it has no comment.
        stage: The stage, or why it is not run.
    """

    page: str
    line: int
    language: str
    text: str
    mark: str
    stage: str

    @property
    def commands(self) -> list[str]:
        """The lines, those that end with a backslash joined with the next one."""
        return [line for line in self.text.replace("\\\n", "").splitlines() if line.strip()]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text()
    for found in _FENCE.finditer(text):
        mark, stage, language, body = found.groups(default="")
        line = text.count("\n", 0, found.start(4)) + 1
        yield Block(str(page.relative_to(ROOT)), line, language, body, mark, stage)


def in_language(page: str, language: str) -> list[str]:
    """The texts of a page's blocks in one language."""
    return [block.text for block in blocks(ROOT / page) if block.language == language]


SHELL = [block for page in PAGES for block in blocks(page) if block.language == "sh"]
"""Every block of commands of every page."""


def called(program: str) -> list[tuple[str, list[str]]]:
    """Where a program is called, in blocks and within sentences, and with which words."""
    found = []
    for place, command in _commands():
        for part in re.split(r" \| | && | ; ", command):
            words = shlex.split(part, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0], re.DOTALL):
                words = words[1:]
            if words and words[0] == program:
                found.append((place, words[1:]))
    return found


def _commands() -> Iterator[tuple[str, str]]:
    for block in SHELL:
        for command in block.commands:
            yield f"{block.page}:{block.line}", command
    for page in PAGES:
        text = page.read_text()
        for found in _INLINE.finditer(_FENCE.sub(lambda block: "\n" * block[0].count("\n"), text)):
            yield f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}", " ".join(found[1].split())


def run(block: Block, environment: Mapping[str, str], placeholders: Mapping[str, str], cwd: Path = ROOT) -> str:
    """Type a block into one shell, which stops at the first command that fails.

    Returns:
        What the commands printed, each after its line.

    Raises:
        AssertionError: A command failed; the message has everything that was printed.
    """
    text = block.text
    for word, value in placeholders.items():
        text = re.sub(rf"\b{word}\b", value, text)
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
        script.write("set -euo pipefail -o verbose\n" + text)
        script.flush()
        done = subprocess.run(
            ["bash", script.name],
            cwd=cwd,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            text=True,
        )
    assert done.returncode == 0, f"{block.page}:{block.line}: ended with {done.returncode}\n{done.stdout}"
    return done.stdout
