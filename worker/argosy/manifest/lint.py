"""Everything that is wrong with a manifest at once, before a job is ever made of it.

An author who learns of one mistake per upload, or of a misspelt template only from batch 17, is badly served: the checks of every
kind run, and their findings come in the order of the lines.
"""

from collections.abc import Iterator

from argosy.errors import ManifestError
from argosy.manifest.calls import calls, templates
from argosy.manifest.document import Document, load, outline, spell
from argosy.manifest.schema import schema_errors
from argosy.manifest.token import plan


def lint(text: str, token_in_clear: bool = False) -> list[ManifestError]:
    """What keeps a manifest from running as its author means it.

    Args:
        text: YAML or JSON.
        token_in_clear: Whether the cluster's policy lets workflows have the API token as a parameter.

    Returns:
        The findings in line order; none = good.
    """
    try:
        return _findings(load(text), token_in_clear)
    except ManifestError as error:
        return [error]


def check(text: str, token_in_clear: bool = False) -> Document:
    """Read a manifest that may be registered.

    Raises:
        ManifestError: The first finding of `lint`.
    """
    document = load(text)
    for finding in _findings(document, token_in_clear):
        raise finding
    return document


def _findings(document: Document, token_in_clear: bool) -> list[ManifestError]:
    findings = list(outline(document))
    if document.body.get("kind") == "Workflow":
        findings += schema_errors(document)
    if isinstance(document.body.get("spec"), dict):
        findings += _references(document)
        findings += [] if token_in_clear else plan(document).findings
    return sorted(findings, key=lambda finding: (finding.line or 0, finding.column or 0))


def _references(document: Document) -> Iterator[ManifestError]:
    names = set()
    for template in templates(document):
        name = template.body.get("name")
        if isinstance(name, str) and template.path[-1] != "inline":
            if name in names:
                yield document.error((*template.path, "name"), f'{spell(template.path)}: the name "{name}" is taken')
            names.add(name)
    for call in calls(document):
        if call.missing is not None and call.path != ("spec", "entrypoint"):
            yield document.error(call.path, f'{spell(call.path)}: there is no template "{call.missing}"')
