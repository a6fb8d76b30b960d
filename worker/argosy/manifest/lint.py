"""Finds all mistakes of a manifest at once, before any job is made from it.

An author should not learn of only one mistake per upload, or of a misspelt template only from batch 17. So the checks of all kinds run, and
their findings come in the order of the lines.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import orjson

from argosy.errors import InvalidRequest, ManifestError
from argosy.manifest.allowed import check_policy
from argosy.manifest.calls import calls, templates, workflow_parameters
from argosy.manifest.document import MAX_FINDINGS, Document, load, outline, shorten, spell
from argosy.manifest.lists import strange_lists
from argosy.manifest.parameters import NamedValue, parameter_faults
from argosy.manifest.parts import mapping
from argosy.manifest.schema import schema_errors, well_formed
from argosy.manifest.spelling import respell
from argosy.manifest.token import plan
from argosy.manifest.validation import validate
from argosy.manifest.volumes import unmounted
from argosy.shapes.given import Policy

MAX_BODY = 768 * 1024
"""The most bytes of a job's workflow without its media. etcd accepts objects of up to 1.5 MiB, Argo's controller 1 MiB: the rest is for 240
KiB of media ids and for Argo's status."""

STRICTEST: Mapping[str, Policy] = {"": Policy()}
"""The policies if the check is for no particular cluster."""


def lint(text: str, token_in_clear: bool = False, policies: Mapping[str, Policy] = STRICTEST) -> list[ManifestError]:
    """Find why a manifest would not run as its author wants, or is not allowed to run.

    Args:
        text: YAML or JSON.
        token_in_clear: Whether the cluster's policy lets workflows have the API token as a parameter.
        policies: The policies of the clusters that it may run on, by the clusters' names.

    Returns:
        The findings in the order of the lines, with warnings; empty if all is well.
    """
    try:
        document = load(text)
        respelled = respell(document)
        return sorted([*respelled, *_findings(document, token_in_clear, policies)], key=_place)
    except ManifestError as error:
        return [error]


def check(text: str, token_in_clear: bool = False, policies: Mapping[str, Policy] = STRICTEST) -> Document:
    """Read a manifest that may be registered. Arguments as for `lint`.

    Raises:
        ManifestError: The first finding of `lint` that is not a warning; the others are in its `others`.
    """
    document = load(text)
    document.respelled.extend(respell(document))
    if findings := [each for each in _findings(document, token_in_clear, policies) if not each.warning]:
        raise ManifestError(findings[0].problem, findings[0].line, findings[0].column, findings[1:])
    return document


def check_launch(
    document: Document, parameters: Sequence[tuple[str, str]], policies: Mapping[str, Policy] = STRICTEST
) -> None:
    """Check that a launch's workflows are not too large for a cluster, and that the value of each workflow parameter is in the `enum` that
    the manifest gives. Argo checks `enum` only in its own user interface.

    Args:
        document: From `check`.
        parameters: Names and values, as `merge_parameters` gives them.
        policies: Those of the clusters that it may run on, by their names.

    Raises:
        InvalidRequest: One of the two is not so.
    """
    for fault in _launch_faults(document, parameters, policies):
        raise InvalidRequest(fault)


def lint_launch(
    text: str, own: Sequence[NamedValue], extra: Sequence[NamedValue], policies: Mapping[str, Policy] = STRICTEST
) -> list[ManifestError]:
    """Find why a launch with these parameters would be refused, and which of them its manifest does not use.

    Args:
        text: YAML or JSON; what is wrong with it by itself is for `lint`.
        own: The algorithm's parameters.
        extra: The launch's.
        policies: As for `lint`.
    """
    try:
        document = load(text)
    except ManifestError:
        return []
    merged: dict[str, str] = {}
    faults = [*parameter_faults(own, extra, merged)]
    faults += _launch_faults(document, list(merged.items()), policies)
    declared = {parameter["name"] for _, parameter in workflow_parameters(document)}
    unused = [
        f'launch parameter "{name}": the manifest neither declares nor reads it'
        for name in dict.fromkeys(each.name for each in extra)
        if name in merged and name not in declared and f"workflow.parameters.{name}" not in text
    ]
    whole = "{{workflow.parameters}}" in text or "workflow.parameters.json" in text
    return [
        *map(ManifestError, faults),
        *(ManifestError(problem, warning=True) for problem in ([] if whole else unused)),
    ]


def _launch_faults(
    document: Document, parameters: Sequence[tuple[str, str]], policies: Mapping[str, Policy]
) -> Iterator[str]:
    size = len(orjson.dumps(document.body)) + sum(len(orjson.dumps(each)) for each in parameters)
    if size > MAX_BODY:
        yield (
            f"manifest and parameters would give each job a workflow of {size} bytes, and a cluster accepts {MAX_BODY} without media and "
            "status; pass large values as a file"
        )
    given = dict(parameters).keys()
    yield from (str(each) for each in validate(document, given, launched=True) if not each.warning)
    if any(policy.profile != "trusted" for policy in policies.values()):
        yield from strange_lists(document, parameters)
    yield from outside_enum(document, parameters)


def outside_enum(document: Document, parameters: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The parameters whose value is not in the `enum` that the manifest gives."""
    values = dict(parameters)
    for _, declared in workflow_parameters(document):
        choices, name = declared.get("enum"), declared["name"]
        if isinstance(choices, list) and name in values and values[name] not in map(str, choices):
            listed = ", ".join(shorten(str(choice)) for choice in choices[:20])
            yield f'parameter "{name}": {shorten(values[name])} is not one of {listed}'


def _findings(document: Document, token_in_clear: bool, policies: Mapping[str, Policy]) -> list[ManifestError]:
    findings = list(outline(document))
    if document.body.get("kind") == "Workflow":
        findings += islice(schema_errors(document), MAX_FINDINGS)
    if isinstance(document.body.get("spec"), dict):
        findings += _first(_references(document))
        if (whole := well_formed(document)) is not None:
            findings += _first(validate(whole))
        if not token_in_clear:
            token = plan(document)
            findings += [*token.findings, *token.warnings]
        findings += islice(_left_out(document), MAX_FINDINGS)
        for cluster, policy in policies.items():
            findings += islice(check_policy(document, policy, cluster), MAX_FINDINGS)
    return sorted(findings, key=_place)


def _first(findings: Iterable[ManifestError]) -> Iterator[ManifestError]:
    """The first errors and the first warnings: many of those hide none of these."""
    told = Counter[bool]()
    for finding in findings:
        told[finding.warning] += 1
        if told[finding.warning] <= MAX_FINDINGS:
            yield finding
        elif not finding.warning:
            return


def _place(finding: ManifestError) -> tuple[int, int]:
    return finding.line or 0, finding.column or 0


def warnings(document: Document, given: Collection[str] = (), token_in_clear: bool = False) -> Iterator[ManifestError]:
    """What its author should know of a manifest that can be run, if these parameters are given."""
    yield from document.respelled
    yield from (found for found in _first(validate(document, given)) if found.warning)
    yield from islice(_left_out(document), MAX_FINDINGS)
    yield from () if token_in_clear else plan(document, given).warnings


def _left_out(document: Document) -> Iterator[ManifestError]:
    for path in unmounted(document):
        yield document.error(path, f"{spell(path)}: no container mounts it; it is left out", warning=True)


def _references(document: Document) -> Iterator[ManifestError]:
    for template in templates(document):
        for kind in ("container", "script"):
            body = template.body.get(kind)
            default = mapping(mapping(document.spec.get("templateDefaults")).get(kind)).get("image")
            if isinstance(body, dict) and not (body.get("image") or default):
                yield document.error((*template.path, kind), f'{spell((*template.path, kind))}: "image" is missing')
    for call in calls(document):
        if call.missing is not None and call.path != ("spec", "entrypoint"):
            # A missing template of a hook is only a warning: Argo looks for it when the hook runs, after the step or workflow itself.
            late = call.path[-1] == "onExit" or "hooks" in call.path
            problem = f'{spell(call.path)}: there is no template "{shorten(call.missing)}"'
            yield document.error(call.path, problem, warning=late and call.path != ("spec", "onExit"))
