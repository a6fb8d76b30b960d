"""Durations as Argo reads them: whole seconds, or Go's own form. Pure."""

import re

_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(ns|us|µs|ms|s|m|h)")
_DURATION = re.compile(f"[0-9]{{1,9}}|(?:{_PART.pattern}){{1,6}}")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float | None:
    """How long it is; None where it is no duration: Go knows no days, and no blanks."""
    if not _DURATION.fullmatch(text):
        return None
    return int(text) if text.isdigit() else sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
