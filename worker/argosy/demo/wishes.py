"""How a pod behaves that is not really run: the same rules for the simulator's pods and for the local cluster's pod player.

For each, the first that is given counts (annotations of the pod, i.e. of the template's `metadata`; environment of its main container):

- exit code: annotation `argosy.dev/exit-code`, env `ARGOSY_EXIT_CODE`, a script or `sh -c` whose last line plainly is `exit N`, or 0.
  A comma list goes by retry: `1,1,0` fails twice; its last entry counts for all further ones.
- seconds it runs: annotation `argosy.dev/seconds`, env `ARGOSY_SECONDS`, or what is usual where it plays.
- a script's `outputs.result`: annotation `argosy.dev/result`, or empty. Output parameters have their default, or are empty.
- whether its image is there (the pod player alone): with annotation `argosy.dev/pull` or env `ARGOSY_PULL` set to `never` it waits for
  it until it is ended.
"""

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_EXIT = re.compile(r"(?:^|[;&]\s*)(?:sys\.)?exit[ (]\s*(\d+)\)?;?$")


@dataclass(frozen=True)
class Wishes:
    """The wishes in one pod's annotations and environment.

    Args:
        template: The container or script template that it came from, with parameters filled in; empty if it is not known.
        annotations: The pod's.
        environment: Its main container's.
    """

    template: Json
    annotations: Mapping[str, str]
    environment: Mapping[str, str]

    def exit_code(self, retry: int) -> int:
        """Of its main container.

        Args:
            retry: 0 for the first of its retries.

        Raises:
            ValueError: The value is not a number; `seconds` raises it too.
        """
        codes = self._first("exit-code")
        if codes is None:
            return self._literal_exit_code()
        by_retry = [int(code) for code in codes.split(",")]
        return by_retry[min(retry, len(by_retry) - 1)]

    def seconds(self, usual: float) -> float:
        """How long it runs; `usual` if nothing is given."""
        asked = self._first("seconds")
        return float(asked) if asked else usual

    def pulled(self) -> bool:
        """Whether its image can be pulled."""
        return self._first("pull") != "never"

    def parameters(self) -> list[Json]:
        """The output parameters that its wait container reports."""
        declared = self.template.get("outputs", {}).get("parameters") or []
        return [
            {"name": item["name"], "value": item.get("value", item.get("valueFrom", {}).get("default", ""))}
            for item in declared
        ]

    def result(self) -> str:
        """A script's `outputs.result`."""
        return self.annotations.get("argosy.dev/result", "")

    def _first(self, wish: str) -> str | None:
        variable = f"ARGOSY_{wish.upper().replace('-', '_')}"
        return self.annotations.get(f"argosy.dev/{wish}") or self.environment.get(variable) or None

    def _literal_exit_code(self) -> int:
        if "script" in self.template:
            source = self.template["script"].get("source", "")
        else:
            container = self.template.get("container", {})
            words = [*(container.get("command") or []), *(container.get("args") or [])]
            source = words[2] if len(words) > 2 and words[0].endswith("sh") and words[1].endswith("c") else ""
        plain = _EXIT.search(textwrap.dedent(source).rstrip().rpartition("\n")[2])
        return int(plain[1]) if plain else 0
