"""How a simulated pod behaves. The rule is that of the real cluster's pod player, clusters/local/player.py: first that is given,

- exit code: annotation `argosy.dev/exit-code`, env `ARGOSY_EXIT_CODE`, a script or `sh -c` whose last line plainly is `exit N`, or 0.
  A comma list goes by retry: `1,1,0` fails twice; its last entry counts for all further ones.
- seconds it runs: annotation `argosy.dev/seconds`, env `ARGOSY_SECONDS`, or the simulator's default.
- a script's `outputs.result`: annotation `argosy.dev/result`, or empty. Output parameters have their default, or are empty.
"""

import re
import textwrap
from dataclasses import dataclass
from typing import Any

from argosy.demo.simulator.templates import NotSimulated, text_of

Json = dict[str, Any]

_EXIT = re.compile(r"(?:^|[;&]\s*)(?:sys\.)?exit[ (]\s*(\d+)\)?;?$")


@dataclass(frozen=True)
class Play:
    """What a pod will do.

    Args:
        exit_code: Of its main container.
        seconds: It runs.
        outputs: That its wait container reports.
    """

    exit_code: int
    seconds: float
    outputs: Json


def play_of(template: Json, attempt: int, default_seconds: float) -> Play:
    """What the pod of a container or script template does.

    Args:
        template: With every parameter filled in.
        attempt: 0 for the first of its retries.
        default_seconds: It runs where it asks for nothing.

    Raises:
        NotSimulated: It asks for something that is no number.
    """
    annotations = template.get("metadata", {}).get("annotations") or {}
    main = template.get("container") or template["script"]
    environment = {item["name"]: text_of(item.get("value", "")) for item in main.get("env") or []}
    codes = annotations.get("argosy.dev/exit-code") or environment.get("ARGOSY_EXIT_CODE")
    seconds = annotations.get("argosy.dev/seconds") or environment.get("ARGOSY_SECONDS")
    try:
        by_retry = [int(code) for code in codes.split(",")] if codes else [_literal_exit_code(template)]
        return Play(
            exit_code=by_retry[min(attempt, len(by_retry) - 1)],
            seconds=float(seconds) if seconds else default_seconds,
            outputs=_outputs(template, annotations),
        )
    except ValueError as error:
        raise NotSimulated(f"template {template['name']}: {error}") from error


def _literal_exit_code(template: Json) -> int:
    if "script" in template:
        source = template["script"].get("source", "")
    else:
        words = [*(template["container"].get("command") or []), *(template["container"].get("args") or [])]
        source = words[2] if len(words) > 2 and words[0].endswith("sh") and words[1].endswith("c") else ""
    plain = _EXIT.search(textwrap.dedent(source).rstrip().rpartition("\n")[2])
    return int(plain[1]) if plain else 0


def _outputs(template: Json, annotations: Json) -> Json:
    outputs: Json = {}
    if parameters := template.get("outputs", {}).get("parameters"):
        outputs["parameters"] = [
            {"name": item["name"], "value": item.get("value", item.get("valueFrom", {}).get("default", ""))}
            for item in parameters
        ]
    if "script" in template:
        outputs["result"] = annotations.get("argosy.dev/result", "")
    return outputs
