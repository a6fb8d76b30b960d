"""retryStrategy: whether a node whose last try has ended has another one, and when (`processNodeRetries` of operator.go)."""

import re
from dataclasses import dataclass
from typing import Any

from argosy.demo.simulator import templates
from argosy.demo.simulator.nodes import FAILED, Node
from argosy.demo.simulator.templates import Json, NotSimulated

_RETRIED_PHASES = {"Always": FAILED, "OnFailure": ("Failed",), "OnError": ("Error",)}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Decision:
    """What happens after a try.

    Args:
        phase: The phase in which the retry node ends; None if it continues.
        message: The retry node's new message; None leaves the old one.
        wait: Seconds until the next try; 0 for at once.
    """

    phase: str | None = None
    message: str | None = None
    wait: float = 0.0


def after(tries: list[Node], strategy: Json, shutdown: str, seconds_since_last: float) -> Decision:
    """What comes after the last of these tries.

    Args:
        tries: All of them; the last has ended.
        strategy: The template's.
        shutdown: The workflow's, empty for none.
        seconds_since_last: Since the last try ended.
    """
    last = tries[-1]
    phase = last["phase"]
    if phase not in FAILED:
        return Decision("Succeeded")
    if shutdown:
        return Decision(phase, f"Stopped with strategy '{shutdown}'")
    limit = None if strategy.get("limit") is None else int(strategy["limit"])
    backoff = _backoff(strategy.get("backoff") or {}, len(tries))
    if backoff > seconds_since_last and limit is not None and len(tries) <= limit:
        return Decision(None, f"Backoff for {_words(backoff)}", backoff - seconds_since_last)
    if phase not in _RETRIED_PHASES[strategy.get("retryPolicy") or "OnFailure"]:
        return Decision(phase, last.get("message", ""))
    if limit is not None and len(tries) > limit:
        return Decision(phase, "No more retries left")
    return Decision(None, "" if backoff else None)


def scope_of(last: Node | None) -> dict[str, str]:
    """The names about the last try that the next try's template can use."""
    last = last or {}
    return {
        "lastRetry.exitCode": last.get("outputs", {}).get("exitCode", "0"),
        "lastRetry.status": last.get("phase", ""),
        "lastRetry.message": last.get("message", ""),
    }


def _backoff(backoff: Json, tries: int) -> float:
    """Seconds to wait after this many tries."""
    if not backoff:
        return 0.0
    seconds = _duration(backoff["duration"]) * float(int(backoff.get("factor") or 1)) ** (tries - 1)
    return min(seconds, _duration(backoff["cap"])) if backoff.get("cap") else seconds


def _words(seconds: float) -> str:
    """A duration as Argo writes it into a message."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} second{'' if whole == 1 else 's'}"
    minutes = whole // 60
    return f"{minutes} minute{'' if minutes == 1 else 's'} {whole % 60} seconds"


def _duration(text: Any) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|)", templates.text_of(text))
    if match is None:
        raise NotSimulated(f"duration {text!r}")
    return float(match[1]) * _SECONDS[match[2]]
