"""Templates into answers. What is from outside is escaped by the templates and shown without control characters."""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from argosy.api.callers import Role
from argosy.api.page import filters, marks
from argosy.api.page.visits import Visit, up
from argosy.history.tree import said
from argosy.shapes.filters import FAILED, JobFilter
from argosy.store import health
from argosy.telling import age, ranges, span, took, used

STATIC = {
    each.name: each.read_bytes()
    for each in (files("argosy.api.page") / "static").iterdir()
    if each.name.endswith((".js", ".css", ".svg"))
}
"""What the page loads, by name."""

VERSION = sha256(b"".join(STATIC[name] for name in sorted(STATIC))).hexdigest()[:12]
"""In the addresses of these files, so that browsers keep them until they change."""


MARK = "Argosy-Page"
"""The header of a page of ours: what a proxy answers in our place, with status 200 too, has none, and is not taken over."""


def show(visit: Visit, template: str, *, status: int = 200, stream: str | None = None, **context: Any) -> Response:
    """A page, or only its main part where the page itself asks for it again.

    Args:
        visit: Who looks.
        template: Name of the template.
        status: Of the answer.
        stream: The query of the stream that says when this page has changed; None for a page that does not.
        context: What the template shows.
    """
    with visit.gateway.client.engine.connect() as connection:
        now, away = health.away(connection)
    seen = [each for each in away if visit.caller.uses(each.organization)]
    return _answer(visit.request, template, status, visit=visit, now=now, away=seen, stream=stream, **context)


def refusal(request: Request, status: int, title: str, message: str) -> Response:
    """A page that says why there is none."""
    return plain(request, "refusal.html", status, title=title, message=message)


def plain(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    """A page for somebody who is not known."""
    return _answer(request, template, status, visit=None, now=datetime.now(UTC), away=[], stream=None, **context)


def _answer(request: Request, template: str, status: int, **context: Any) -> Response:
    part = request.headers.get("hx-request") == "true"
    text = _TEMPLATES.get_template(template).render(
        layout="part.html" if part else "layout.html", request=request, up=up(request), **context
    )
    return HTMLResponse(text, status, {"Vary": "HX-Request", MARK: VERSION})


def _clean(value: object) -> str:
    """Text from outside without what could hide or reorder it."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in str(value))


def _most(value: object, most: int) -> str:
    """The beginning of text from outside. Each character may become six bytes of a page, so that is what is counted, too."""
    text = _clean(str(value)[:most])
    while _size(text) > 2 * most:
        text = text[: len(text) * 2 * most // _size(text)]
    return text


def end_of(text: str, most: int) -> str:
    """The end of a text that is so many bytes of a page at most."""
    text = text[-most:]
    while (size := _size(_clean(text))) > most:
        text = text[-(len(text) * most // size) :] if len(text) * most >= size else ""
    return text


def _size(text: str) -> int:
    return len(escape(text).encode())


def _bytes(value: str) -> int:
    return len(value.encode())


def _labels(labels: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in labels.items())


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}".replace(",", "\u202f")


def _rate(value: float | None) -> str:
    """Jobs in a time in which there are some."""
    if not value:
        return ""
    for unit, seconds in (("s", 1), ("min", 60), ("h", 3600)):
        if value * seconds >= 1 or unit == "h":
            return f"{value * seconds:.3g} a {unit}" if unit != "s" else f"{value:.3g} a second"
    return ""


def _time(when: datetime | None, now: datetime, relative: str = "") -> Markup:
    """A time: in UTC as it is made, in the reader's own zone as soon as a script runs; with UTC beside it in either case. With `relative`
    how long it is past: `ago`, or `for` so long."""
    if when is None:
        return Markup("")
    utc = when.astimezone(UTC)
    past = age(when, now)
    told = {"ago": f"{past} ago", "for": f"for {past}"}.get(relative, f"{utc:%Y-%m-%d %H:%M:%S} UTC")
    return Markup('<time datetime="{}" title="{} UTC"{}>{}</time>').format(
        f"{utc:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
        f"{utc:%Y-%m-%d %H:%M:%S}",
        Markup(' data-age="{}"').format(relative) if relative else "",
        told,
    )


def _after(where: JobFilter, cursor: str) -> str:
    """The query of the page after this one."""
    return where.model_copy(update={"cursor": cursor}).query()


def _query(pairs: Mapping[str, object]) -> str:
    given = {name: value for name, value in pairs.items() if value not in (None, "")}
    return f"?{urlencode(given, doseq=True, quote_via=quote)}" if given else ""


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("argosy.api.page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    made.filters |= {
        "clean": _clean,
        "most": _most,
        "bytes": _bytes,
        "labels": _labels,
        "number": _number,
        "rate": _rate,
        "span": span,
        "query": _query,
    }
    made.globals |= {
        "Role": Role,
        "version": VERSION,
        "tone": marks.tone,
        "ordered": marks.ordered,
        "parts": marks.parts,
        "statuses": marks.ORDER,
        "failed": FAILED,
        "when": _time,
        "said": said,
        "took": took,
        "used": used,
        "ranges": ranges,
        "chips_of": filters.chips,
        "form_of": filters.form,
        "narrows": filters.narrows,
        "after": _after,
    }
    return made


_TEMPLATES = _environment()
