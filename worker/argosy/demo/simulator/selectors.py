"""Label selectors: `a=b,c!=d,e in (f,g),h notin (i),j,!k`."""

import re
from collections.abc import Callable, Mapping

from argosy.demo.simulator.statuses import bad_request

Labels = Mapping[str, str]
Selector = Callable[[Labels], bool]

_KEY = r"([A-Za-z0-9][A-Za-z0-9_./-]*)"
_SET = re.compile(_KEY + r"\s+(in|notin)\s*\(([^()]*)\)")
_EQUAL = re.compile(_KEY + r"\s*(==|=|!=)\s*([A-Za-z0-9_.-]*)")
_EXISTS = re.compile(r"(!?)\s*" + _KEY)


def parse(text: str) -> Selector:
    """A predicate on labels.

    Raises:
        StatusError: 400, if it is not a selector.
    """
    terms = [_term(part.strip()) for part in re.split(r",(?![^()]*\))", text)] if text.strip() else []
    return lambda labels: all(term(labels) for term in terms)


def _term(text: str) -> Selector:
    if match := _SET.fullmatch(text):
        key, wanted = match[1], {value.strip() for value in match[3].split(",")}
        if match[2] == "in":
            return lambda labels: labels.get(key) in wanted
        return lambda labels: labels.get(key) not in wanted
    if match := _EQUAL.fullmatch(text):
        key, value = match[1], match[3]
        if match[2] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if match := _EXISTS.fullmatch(text):
        key, present = match[2], not match[1]
        return lambda labels: (key in labels) == present
    raise bad_request(f"unable to parse requirement: {text!r} is no label selector")
