"""Everything wrong at once, in the order of the lines."""

from typing import Any

import pytest

from argosy import manifest
from argosy.errors import InvalidRequest, ManifestError
from argosy.manifest import check, check_launch
from argosy.manifest.document import MAX_FINDINGS
from argosy.shapes.given import Policy
from tests.unit.manifest.samples import HEAD, ONE_CONTAINER, TATOR


def lint(text: str, **options: Any) -> list[ManifestError]:
    """The errors."""
    return [found for found in manifest.lint(text, **options) if not found.warning]


def findings(text: str) -> list[tuple[int | None, str]]:
    return [(error.line, error.problem) for error in lint(text)]


@pytest.mark.parametrize("text", [ONE_CONTAINER, TATOR])
def test_a_good_manifest_has_no_findings(text: str) -> None:
    assert lint(text) == []


def test_a_misspelt_field_is_found_with_its_line_and_the_right_name() -> None:
    assert findings(ONE_CONTAINER.replace("container:", "conatiner:")) == [
        (7, 'spec.templates[0].conatiner: unknown field; did you mean "container"?')
    ]


def test_the_message_of_a_finding_begins_with_its_place() -> None:
    (error,) = lint(ONE_CONTAINER.replace("container:", "conatiner:"))
    assert str(error).startswith("manifest: line 7, column 7: spec.templates[0].conatiner")


@pytest.mark.parametrize(
    ("tail", "line", "problem"),
    [
        ("        zzz: 1\n", 9, "spec.templates[0].container.zzz: unknown field"),
        (
            "        env: [{name: N, value: 3}]\n",
            9,
            "spec.templates[0].container.env[0].value: must be string, not 3: put it in quotes",
        ),
        ("        env: {N: x}\n", 9, "spec.templates[0].container.env: must be array, not a mapping"),
        ("        env: [{value: x}]\n", 9, 'spec.templates[0].container.env[0]: "name" is missing'),
        ("  parallelism: many\n", 9, 'spec.parallelism: must be integer, not "many"'),
        ("  ttlSecondsAfterFinished: soon\n", 9, 'spec.ttlSecondsAfterFinished: must be an integer, not "soon"'),
        (
            "  volumes: [{name: v, emptyDri: {}}]\n",
            9,
            'spec.volumes[0].emptyDri: unknown field; did you mean "emptyDir"?',
        ),
        ("speck: {}\n", 9, 'speck: unknown field; did you mean "spec"?'),
        ("    - name: other\n      retryStrategy: {limit: [1]}\n      suspend: {duration: '1'}\n", 10, None),
    ],
)
def test_what_argos_schema_does_not_allow_is_found(tail: str, line: int, problem: str | None) -> None:
    found = findings(ONE_CONTAINER + tail)
    assert [where for where, _ in found] == [line]
    assert problem is None or found == [(line, problem)]


@pytest.mark.parametrize(
    "tail",
    [
        "        resources: {limits: {cpu: 0.5, memory: 1Gi}, requests: {cpu: 1}}\n",
        "  arguments: {parameters: [{name: a, value: 1}, {name: b, value: true}]}\n",
        "  ttlSecondsAfterFinished: 60\n",
        "  volumes: [{name: v, emptyDir: }]\n",
        "status: {phase: Succeeded, whatever: 1}\n",
        "      retryStrategy: {limit: 2}\n",
        '      retryStrategy: {limit: "2"}\n',
        "    - {name: p, plugin: {anything: {goes: here}}}\n",
        "    - {name: f, steps: [[{name: a, template: main, withItems: [1, x, {a: b}]}]]}\n",
        "  templateDefaults: {container: {imagePullPolicy: Always}}\n",
    ],
)
def test_what_argo_reads_is_allowed(tail: str) -> None:
    assert lint(ONE_CONTAINER + tail, policies={}) == []


@pytest.mark.parametrize(
    "tail",
    [
        "    - name: s\n      steps: [[{name: a, template: nope}]]\n",
        "    - name: s\n      dag: {tasks: [{name: a, template: nope}]}\n",
        "    - name: s\n      steps: [[{name: a, inline: {steps: [[{name: b, template: nope}]]}}]]\n",
        "    - name: s\n      steps: [[{name: a, template: main, onExit: nope}]]\n",
        "    - name: s\n      dag: {tasks: [{name: a, template: main, hooks: {exit: {template: nope}}}]}\n",
    ],
)
def test_a_call_of_a_template_that_is_not_there_is_found(tail: str) -> None:
    (found,) = manifest.lint(ONE_CONTAINER + tail)
    assert found.line == 10
    assert 'no template "nope"' in found.problem
    assert found.warning == ("onExit" in tail or "hooks" in tail)


@pytest.mark.parametrize("tail", ["  onExit: nope\n", "  hooks: {exit: {template: nope}}\n"])
def test_a_handler_that_is_not_there_is_found(tail: str) -> None:
    (found,) = manifest.lint(ONE_CONTAINER + tail)
    assert found.line == 9
    assert 'no template "nope"' in found.problem
    assert found.warning == ("hooks" in tail)


def test_a_template_of_the_cluster_is_not_looked_up() -> None:
    tail = "    - name: s\n      steps:\n        - - {name: a, templateRef: {name: x, template: y}}\n"
    assert lint(ONE_CONTAINER + tail, policies={}) == []


def test_a_template_cannot_be_named_by_a_parameter_as_in_argo() -> None:
    tail = "    - name: s\n      steps:\n        - - {name: b, template: '{{item}}', withItems: [main]}\n"
    assert findings(ONE_CONTAINER + tail) == [(11, 'spec.templates[1].steps[0][0]: there is no template "{{item}}"')]


def test_two_templates_or_parameters_of_one_name_are_found() -> None:
    tail = "    - {name: main, suspend: {duration: '1'}}\n  arguments: {parameters: [{name: a}, {name: a}, {name: gid}, {name: gid}]}\n"
    assert [(line, "there already" in problem) for line, problem in findings(ONE_CONTAINER + tail)] == [
        (9, True),
        (10, True),
    ]


def test_a_container_without_an_image_is_found_unless_the_defaults_may_have_one() -> None:
    text = ONE_CONTAINER.replace("image: alpine", "command: [sh]")
    assert findings(text) == [(7, 'spec.templates[0].container: "image" is missing')]
    assert lint(text + "  templateDefaults: {container: {image: alpine}}\n") == []


def test_findings_of_every_kind_come_in_line_order() -> None:
    text = (
        HEAD.replace("main", "mian")
        + """\
  templates:
    - name: main
      steps:
        - - {name: a, template: nope}
    - name: other
      container:
        image: a
        workingDir: "{{workflow.parameters.rest_token}}"
        comand: [sh]
"""
    )
    assert [line for line, _ in findings(text)] == [4, 8, 12, 13]


def test_a_syntax_error_is_the_only_finding() -> None:
    assert [line for line, _ in findings(ONE_CONTAINER + "  a: [\n")] == [9]


def test_a_hostile_manifest_has_no_more_findings_than_people_read() -> None:
    tail = "  nodeSelector: {" + ",".join(f'k{i}: "{{{{workflow.parameters.rest_token}}}}"' for i in range(300)) + "}\n"
    assert len(lint(ONE_CONTAINER + tail, policies={})) == MAX_FINDINGS
    assert len(lint(ONE_CONTAINER + "".join(f"  zz{i}: 1\n" for i in range(300)))) == MAX_FINDINGS


def test_a_finding_repeats_little_of_the_manifest() -> None:
    (error,) = lint(ONE_CONTAINER + "  " + "k" * 900 + ": 1\n")
    assert len(str(error)) < 200


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: 1\nkind: Workflow\nspec: {entrypoint: [a], templates: {a: b}, arguments: [x], hooks: [y], onExit: {}}",
        ONE_CONTAINER
        + "    - {name: s, steps: [a, [b], {c: d}], inputs: x}\n    - {name: d, dag: [], inputs: {parameters: [1]}}\n",
        ONE_CONTAINER + "  arguments: {parameters: [x, {name: [1]}]}\n  hooks: {a: b, c: {arguments: 1}}\n",
        ONE_CONTAINER + "    - 3\n    - {name: {}, steps: [[{template: {}, inline: 3}]]}\n",
    ],
)
def test_malformed_shapes_are_findings_and_no_crash(text: str) -> None:
    assert lint(text)


def test_check_raises_the_first_finding() -> None:
    with pytest.raises(ManifestError) as caught:
        check(ONE_CONTAINER.replace("container:", "conatiner:") + "  zzz: 1\n")
    assert caught.value.line == 7


def test_check_returns_the_document_of_a_good_manifest() -> None:
    assert check(ONE_CONTAINER).spec["entrypoint"] == "main"


def test_a_value_that_the_manifests_enum_does_not_have_is_refused_by_name() -> None:
    document = check(
        """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
spec:
  entrypoint: main
  arguments: {parameters: [{name: size, value: small, enum: [small, large, 3]}, {name: free, value: x}]}
  templates: [{name: main, container: {image: a}}]
"""
    )
    check_launch(document, [("size", "large"), ("free", "anything")])
    check_launch(document, [("size", "3")])
    check_launch(document, [])
    with pytest.raises(InvalidRequest, match='parameter "size": huge is not one of small, large, 3'):
        check_launch(document, [("size", "huge")])


def test_a_field_that_differs_in_case_only_is_taken_for_argos_with_a_warning_as_in_tator() -> None:
    text = ONE_CONTAINER + "  ttlStrategy: {SecondsAfterSuccess: 600, secondsAfterFailure: 60}\n"
    (found,) = manifest.lint(text)
    assert (found.line, found.warning) == (9, True)
    assert "SecondsAfterSuccess: read as secondsAfterSuccess" in found.problem
    document = check(text)
    assert document.spec["ttlStrategy"] == {"secondsAfterSuccess": 600, "secondsAfterFailure": 60}
    assert [str(each) for each in manifest.warnings(document)] == [str(found)]


def test_a_field_that_is_there_in_both_cases_is_an_unknown_one() -> None:
    assert findings(ONE_CONTAINER + "  ttlStrategy: {SecondsAfterSuccess: 600, secondsAfterSuccess: 60}\n")


def test_a_workflow_of_a_workflow_template_needs_no_templates_of_its_own() -> None:
    text = HEAD.replace("  entrypoint: main\n", "") + "  workflowTemplateRef: {name: shared}\n"
    assert lint(text, policies={"north": Policy(templates=["shared"])}) == []
    (found,) = lint(text)
    assert "WorkflowTemplate" in found.problem
    assert findings(ONE_CONTAINER + "  workflowTemplateRef: {name: shared}\n")[0][0] == 5


def test_a_mistake_at_the_end_of_a_file_is_on_its_last_line() -> None:
    (found,) = lint(ONE_CONTAINER + "  volumes: [\n")
    assert found.line == 9


def test_in_a_folded_text_the_line_is_that_of_the_word() -> None:
    text = ONE_CONTAINER + "        workingDir: >-\n          /a\n          {{workflow.parameters.rest_token}}\n"
    assert [line for line, _ in findings(text)] == [11]


def test_a_warning_refuses_no_launch() -> None:
    text = ONE_CONTAINER + "  arguments: {parameters: [{name: unused, value: '{{item.a}}'}]}\n"
    (found,) = manifest.lint(text)
    assert found.warning
    check_launch(check(text), [])


def test_a_launch_without_a_parameter_that_the_manifest_uses_is_refused() -> None:
    text = ONE_CONTAINER + "        args: ['{{workflow.parameters.threshold}}']\n"
    check_launch(check(text), [("threshold", "1")])
    with pytest.raises(InvalidRequest, match="threshold"):
        check_launch(check(text), [])


def test_a_number_without_its_quotes_hides_no_other_mistake() -> None:
    env = "env: [{name: A, value: 3}, {name: B, value: '{{workflow.parameters.treshold}}'}]"
    arguments = "arguments: {parameters: [{name: threshold, value: '1'}]}"
    text = HEAD + (f"  {arguments}\n  templates: [{{name: main, container: {{image: a, {env}}}}}]")
    found = [str(each) for each in manifest.lint(text)]
    assert len(found) == 2
    assert "must be string, not 3: put it in quotes" in found[0]
    assert "treshold" in found[1]


@pytest.mark.parametrize(
    ("given", "advice"), [("16GB", "16Gi, or 16G"), ("100 kb", "100Ki, or 100k"), ("2MiB", "2Mi, or 2M")]
)
def test_bytes_as_people_write_them_are_answered_with_a_quantity(given: str, advice: str) -> None:
    resources = f"resources: {{limits: {{memory: {given}}}}}"
    text = HEAD + (f"  templates: [{{name: main, container: {{image: a, {resources}}}}}]")
    (found,) = manifest.lint(text)
    assert str(found).endswith(f"; write {advice}")


def test_many_warnings_hide_no_error() -> None:
    uses = ", ".join(f"'{{{{workflow.parameters.p{number}}}}}'" for number in range(MAX_FINDINGS + 50))
    parts = f"container: {{image: a, args: [{uses}], volumeMounts: [{{name: gone, mountPath: /a}}]}}"
    text = HEAD + f"  templates: [{{name: other, {parts}}}, {{name: main, {parts}}}]"
    assert len(lint(text)) == 2
