"""A tenant's manifest: reading it, checking it, rendering workflows from it. Pure.

A manifest is data (P9). Nothing here evaluates its text, uses a network or a clock, or takes values from anywhere except its arguments, so
the same launch always renders the same bytes.
"""

from argosy.manifest.document import Document, load, parse
from argosy.manifest.lint import STRICTEST, check, check_launch, lint, lint_launch, outside_enum, warnings
from argosy.manifest.parameters import (
    MEDIA_IDS_LIMIT,
    RESERVED,
    NamedValue,
    files_per_job_that_fits,
    media_ids_text,
    merge_parameters,
    safe_text,
)
from argosy.manifest.render import (
    PLACEHOLDER,
    TTL_FLOOR,
    LaunchFrame,
    Rendered,
    Renderer,
)
from argosy.manifest.sample import sample
from argosy.manifest.token import uses_token

__all__ = [
    "MEDIA_IDS_LIMIT",
    "PLACEHOLDER",
    "RESERVED",
    "STRICTEST",
    "TTL_FLOOR",
    "Document",
    "LaunchFrame",
    "NamedValue",
    "Rendered",
    "Renderer",
    "check",
    "check_launch",
    "files_per_job_that_fits",
    "lint",
    "lint_launch",
    "load",
    "media_ids_text",
    "merge_parameters",
    "outside_enum",
    "parse",
    "safe_text",
    "sample",
    "uses_token",
    "warnings",
]
