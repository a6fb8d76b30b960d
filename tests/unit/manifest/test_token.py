"""Every way of the API token through a manifest: rewritten, or found with its line."""

from functools import partial
from typing import Any

import pytest

from argosy import manifest as manifests
from argosy.errors import ManifestError
from argosy.labels import SECRET_KEY, secret_name
from argosy.manifest import PLACEHOLDER, Renderer
from tests.unit.manifest.samples import HEAD, SECRET_ID, TATOR, TOKEN, frame, rendered

SECRET = {"secretKeyRef": {"name": secret_name(SECRET_ID), "key": SECRET_KEY}}
ENV = '[{name: T, value: "{{workflow.parameters.rest_token}}"}]'
USE = '[{name: T, value: "{{inputs.parameters.t}}"}]'
PASS = '{parameters: [{name: t, value: "{{workflow.parameters.rest_token}}"}]}'
PASS_ON = '{parameters: [{name: t, value: "{{inputs.parameters.t}}"}]}'
OTHER = "{parameters: [{name: t, value: other}]}"
WORK = f"    - {{name: work, inputs: {{parameters: [{{name: t}}]}}, container: {{image: a, env: {USE}}}}}\n"


lint = partial(manifests.lint, policies={})
"""Without a policy: what it refuses has tests of its own."""


def manifest(*templates: str, more: str = "") -> str:
    return HEAD + "  templates:\n" + "".join(templates) + more


def main(body: str) -> str:
    return f"    - {{name: main, {body}}}\n"


def env(workflow: dict[str, Any]) -> list[Any]:
    """Every env entry of a workflow."""
    found: list[Any] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            found.extend(value.get("env", []))
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(item)

    walk(workflow["spec"])
    return found


def assert_rewritten(text: str, entries: int = 1) -> None:
    assert [str(error) for error in lint(text)] == []
    assert env(rendered(text)) == [{"name": "T", "valueFrom": SECRET}] * entries


def assert_found(text: str, line: int, words: str = "API token") -> None:
    found = lint(text)
    assert [error.line for error in found] == [line]
    assert words in found[0].problem
    with pytest.raises(ManifestError):
        Renderer(frame(text))


@pytest.mark.parametrize(
    "body",
    [
        f"container: {{image: a, env: {ENV}}}",
        f"script: {{image: a, source: x, env: {ENV}}}",
        f"containerSet: {{containers: [{{name: main, image: a, env: {ENV}}}]}}",
        f"container: {{image: a}}, initContainers: [{{name: i, image: a, env: {ENV}}}]",
        f"container: {{image: a}}, sidecars: [{{name: i, image: a, env: {ENV}}}]",
        f"steps: [[{{name: s, inline: {{container: {{image: a, env: {ENV}}}}}}}]]",
    ],
)
def test_an_env_value_that_is_the_token_comes_from_the_secret_in_any_container(body: str) -> None:
    assert_rewritten(manifest(main(body)))


@pytest.mark.parametrize(
    "value", [TOKEN, "{{ workflow.parameters.rest_token }}", "{{workflow.parameters.rest_token\t}}"]
)
def test_spaces_inside_the_braces_do_not_matter(value: str) -> None:
    assert_rewritten(manifest(main(f"container: {{image: a, env: [{{name: T, value: '{value}'}}]}}")))


def test_an_env_value_in_the_template_defaults_comes_from_the_secret() -> None:
    assert_rewritten(
        manifest(main("container: {image: a}"), more=f"  templateDefaults: {{container: {{env: {ENV}}}}}\n")
    )


def test_the_parameter_itself_holds_a_placeholder() -> None:
    parameters = rendered(TATOR)["spec"]["arguments"]["parameters"]
    assert [p["value"] for p in parameters if p["name"] == "rest_token"] == [PLACEHOLDER]


def test_a_launch_whose_manifest_takes_no_token_needs_no_secret() -> None:
    assert not Renderer(frame()).uses_secret
    assert Renderer(frame(TATOR)).uses_secret


@pytest.mark.parametrize(
    "call",
    [
        f"steps: [[{{name: s, template: work, arguments: {PASS}}}]]",
        f"dag: {{tasks: [{{name: s, template: work, arguments: {PASS}}}]}}",
        f"steps: [[{{name: s, template: work, arguments: {PASS}}}, {{name: u, template: work, arguments: {PASS}}}]]",
        f"steps: [[{{name: s, template: work, withItems: [1, 2], arguments: {PASS}}}]]",
    ],
)
def test_an_input_that_every_call_passes_the_token_to_is_the_token(call: str) -> None:
    assert_rewritten(manifest(main(call), WORK))


def test_an_inline_template_is_called_by_its_own_step() -> None:
    inline = f"{{inputs: {{parameters: [{{name: t}}]}}, container: {{image: a, env: {USE}}}}}"
    assert_rewritten(manifest(main(f"steps: [[{{name: s, arguments: {PASS}, inline: {inline}}}]]")))


def test_the_token_may_pass_through_several_templates() -> None:
    assert_rewritten(
        manifest(
            main(f"steps: [[{{name: s, template: middle, arguments: {PASS}}}]]"),
            f"    - {{name: middle, inputs: {{parameters: [{{name: t}}]}}, "
            f"dag: {{tasks: [{{name: s, template: work, arguments: {PASS_ON}}}]}}}}\n",
            WORK,
        )
    )


def test_a_template_may_pass_the_token_to_itself() -> None:
    again = f"steps: [[{{name: s, template: loop, arguments: {PASS_ON}}}, {{name: w, template: work, arguments: {PASS_ON}}}]]"
    assert_rewritten(
        manifest(
            main(f"steps: [[{{name: s, template: loop, arguments: {PASS}}}]]"),
            f"    - {{name: loop, inputs: {{parameters: [{{name: t}}]}}, {again}}}\n",
            WORK,
        )
    )


@pytest.mark.parametrize("key", ["value", "default"])
def test_a_default_that_is_the_token_counts_where_a_call_passes_nothing(key: str) -> None:
    work = WORK.replace("{name: t}", f'{{name: t, {key}: "{TOKEN}"}}')
    assert_rewritten(manifest(main("steps: [[{name: s, template: work}]]"), work))
    assert_found(manifest(main(f"steps: [[{{name: s, template: work, arguments: {OTHER}}}]]"), work), 6, "elsewhere")


@pytest.mark.parametrize("key", ["entrypoint", "onExit"])
def test_entrypoint_and_exit_handler_receive_the_workflows_parameters_by_name(key: str) -> None:
    use = '[{name: T, value: "{{inputs.parameters.rest_token}}"}]'
    work = (
        f"    - {{name: work, inputs: {{parameters: [{{name: rest_token}}]}}, container: {{image: a, env: {use}}}}}\n"
    )
    text = manifest(main("container: {image: a}"), work)
    assert_rewritten(
        text.replace("entrypoint: main", "entrypoint: work") if key == "entrypoint" else text + "  onExit: work\n"
    )


@pytest.mark.parametrize(
    "handler",
    ["onExit: work", "hooks: {exit: {template: work}}", "hooks: {exit: {template: work, arguments: {}}}"],
)
def test_a_steps_exit_handler_without_arguments_receives_the_workflows(handler: str) -> None:
    work = WORK.replace("name: t}", "name: rest_token}").replace("parameters.t}", "parameters.rest_token}")
    assert_rewritten(
        manifest(
            main(f"steps: [[{{name: s, template: leaf, {handler}}}]]"),
            work,
            "    - {name: leaf, suspend: {duration: '1'}}\n",
        )
    )


@pytest.mark.parametrize("event", ["exit", "running"])
def test_a_hook_with_arguments_passes_just_those(event: str) -> None:
    hook = f"{{{event}: {{template: work, expression: 'true', arguments: {PASS}}}}}"
    leaf = "    - {name: leaf, suspend: {duration: '1'}}\n"
    assert_rewritten(manifest(main(f"steps: [[{{name: s, template: leaf, hooks: {hook}}}]]"), WORK, leaf))
    assert_rewritten(manifest(main("container: {image: a}"), WORK, more=f"  hooks: {hook}\n"))


@pytest.mark.parametrize(
    "other",
    [
        f"{{name: u, template: work, arguments: {OTHER}}}",
        '{name: u, template: work, arguments: {parameters: [{name: t, value: "Token {{workflow.parameters.gid}}"}]}}',
        "{name: u, template: work, arguments: {parameters: [{name: t, valueFrom: {configMapKeyRef: {name: a, key: b}}}]}}",
        f"{{name: u, template: leaf, hooks: {{exit: {{template: work, arguments: {OTHER}}}}}}}",
        f"{{name: u, inline: {{steps: [[{{name: v, template: work, arguments: {OTHER}}}]]}}}}",
    ],
)
def test_one_call_that_passes_something_else_is_found(other: str) -> None:
    calls = f"    - name: main\n      steps:\n        - - {{name: s, template: work, arguments: {PASS}}}\n          - {other}\n"
    assert_found(manifest(calls, WORK, "    - {name: leaf, suspend: {duration: '1'}}\n"), 9, 'parameter "t"')


def test_a_call_without_the_argument_is_found_where_the_default_is_something_else() -> None:
    calls = f"    - name: main\n      steps:\n        - - {{name: s, template: work, arguments: {PASS}}}\n"
    text = manifest(
        calls + "          - {name: u, template: work}\n", WORK.replace("{name: t}", "{name: t, default: x}")
    )
    assert_found(text, 9, 'parameter "t"')


def test_a_launchs_own_parameter_of_an_entrypoints_name_is_found_when_it_is_rendered() -> None:
    text = manifest(WORK.replace("name: work", "name: main").replace("{name: t}", f'{{name: t, default: "{TOKEN}"}}'))
    assert_rewritten(text)
    with pytest.raises(ManifestError, match='parameter "t"'):
        Renderer(frame(text, parameters=[("t", "mine")]))


@pytest.mark.parametrize(
    "field",
    [
        'args: ["{{=workflow.parameters.rest_token}}"]',
        'args: ["{{workflow.parameters.rest_token}} {{=workflow.parameters.rest_token}}"]',
        'env: [{name: T, value: "Token {{workflow.parameters.rest_token}}"}]',
        'env: [{name: T, value: "{{workflow.parameters.rest_token}}{{workflow.parameters.gid}}"}]',
        'env: [{name: "{{workflow.parameters.rest_token}}", value: x}]',
        'env: [{name: T, value: "{{=workflow.parameters.rest_token}}"}]',
        "env: [{name: T, value: \"{{= workflow.parameters['rest_token'] }}\"}]",
        'env: [{name: T, value: "{{inputs.parameters.{{workflow.parameters.rest_token}}}}"}]',
        'workingDir: "/{{workflow.parameters.rest_token}}"',
    ],
)
def test_any_other_use_in_a_container_is_found(field: str) -> None:
    assert_found(manifest(f"    - name: main\n      container:\n        image: a\n        {field}\n"), 9)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ('args: ["{{workflow.parameters.rest_token}}", x]', {"args": ["$(ARGOSY_TOKEN)", "x"]}),
        ('args: ["--token={{ workflow.parameters.rest_token }}"]', {"args": ["--token=$(ARGOSY_TOKEN)"]}),
        ('command: [curl, "{{workflow.parameters.rest_token}}"]', {"command": ["curl", "$(ARGOSY_TOKEN)"]}),
        (
            'args: ["{{workflow.parameters.gid}} {{workflow.parameters.rest_token}}"], env: [{name: A, value: b}]',
            {"args": ["{{workflow.parameters.gid}} $(ARGOSY_TOKEN)"]},
        ),
    ],
)
def test_on_a_command_line_the_token_is_a_variable_that_kubernetes_fills_in(field: str, words: dict[str, Any]) -> None:
    text = manifest(main(f"container: {{image: a, {field}}}"))
    assert lint(text) == []
    container = rendered(text)["spec"]["templates"][0]["container"]
    assert {part: container[part] for part in words} == words
    assert container["env"][0] == {"name": "ARGOSY_TOKEN", "valueFrom": SECRET}
    assert Renderer(frame(text)).uses_secret


@pytest.mark.parametrize(
    "all_", ["{{workflow.parameters}}", "{{workflow.parameters.json}}", "{{=toJson(workflow.parameters)}}"]
)
def test_all_parameters_together_hold_the_placeholder_and_no_token(all_: str) -> None:
    (found,) = lint(manifest(main(f"container: {{image: a, args: ['{all_}']}}")))
    assert found.warning
    assert "placeholder in place of the API token" in str(found)


def test_a_variable_of_the_manifests_that_the_tokens_own_replaces_is_a_warning() -> None:
    env = "env: [{name: A, value: a}, {name: ARGOSY_TOKEN, value: mine}]"
    text = manifest(main(f"container: {{image: a, {env}, args: ['{{{{workflow.parameters.rest_token}}}}']}}"))
    (found,) = lint(text)
    assert found.warning
    assert str(found).endswith(
        "spec.templates[0].container.env[1]: ARGOSY_TOKEN is argosy's own name for the token on a command line, "
        "and takes this one's place"
    )
    names = [entry["name"] for entry in rendered(text)["spec"]["templates"][0]["container"]["env"]]
    assert names == ["ARGOSY_TOKEN", "A"]


def test_many_warnings_hide_no_use_of_the_token_that_cannot_be_served() -> None:
    words = ", ".join(["'{{workflow.parameters}}'"] * 200)
    text = manifest(main(f"container: {{image: '{{{{workflow.parameters.rest_token}}}}', args: [{words}]}}"))
    assert [each for each in lint(text) if not each.warning]


@pytest.mark.parametrize(
    ("kind", "use"),
    [
        ("suspend: {duration: '1'}", '      outputs: {parameters: [{name: o, value: "TOKEN"}]}'),
        ("steps:", '        - - {name: a, template: main, when: "TOKEN != 1"}'),
        ("steps:", '        - - {name: a, template: main, withParam: "TOKEN"}'),
        ("steps:", '        - - {name: a, template: main, withItems: ["TOKEN"]}'),
        ("dag:", f"        tasks: [{{name: a, templateRef: {{name: x, template: y}}, arguments: {PASS}}}]"),
        (
            "steps:",
            f"        - - {{name: a, templateRef: {{name: x, template: y}}, arguments: {PASS}}}",
        ),
        ("suspend: {duration: '1'}", '  arguments: {parameters: [{name: mine, value: "TOKEN"}]}'),
        ("suspend: {duration: '1'}", '  nodeSelector: {"TOKEN": x}'),
        ("suspend: {duration: '1'}", '  podSpecPatch: "TOKEN"'),
        (
            "suspend: {duration: '1'}",
            "  hooks: {x: {template: main, expression: workflow.parameters.rest_token == '1'}}",
        ),
        ("suspend: {duration: '1'}", "      retryStrategy: {expression: \"workflow.parameters['rest_token'] == '1'\"}"),
    ],
)
def test_any_other_use_outside_of_containers_is_found(kind: str, use: str) -> None:
    assert_found(manifest(f"    - name: main\n      {kind}\n", use.replace("TOKEN", TOKEN) + "\n"), 8)


def test_a_use_in_a_script_is_found_in_its_own_line() -> None:
    script = "    - name: main\n      script:\n        image: a\n        source: |\n          import os\n"
    assert_found(manifest(script, "          print('{{workflow.parameters.rest_token}}')\n"), 11)


@pytest.mark.parametrize(
    "args",
    ["{{inputs.parameters}}", "{{=inputs.parameters.t}}", "{{=inputs.parameters['t']}}"],
)
def test_an_input_that_holds_the_token_may_not_be_evaluated_either(args: str) -> None:
    work = f'    - name: work\n      inputs: {{parameters: [{{name: t}}]}}\n      container: {{image: a, args: ["{args}"]}}\n'
    assert_found(manifest(main(f"steps: [[{{name: s, template: work, arguments: {PASS}}}]]"), work), 9)
    assert lint(manifest(main(f"steps: [[{{name: s, template: work, arguments: {OTHER}}}]]"), work)) == []


def test_the_template_defaults_cannot_use_an_input_that_holds_the_token() -> None:
    calls = main(f"steps: [[{{name: s, template: work, arguments: {PASS}}}]]")
    assert_found(manifest(calls, WORK, more=f"  templateDefaults: {{container: {{env: {USE}}}}}\n"), 8)


@pytest.mark.parametrize(
    "args",
    [
        "workflow.parameters.rest_token",
        "$REST_TOKEN",
        "{{workflow.parameters.rest_url}}",
        "{{=workflow.parameters.gid}}",
        "{{=workflow.parameters['gid'] + 'rest_token'}}",
        "{{inputs.parameters.x}}",
    ],
)
def test_what_only_looks_like_the_token_is_left_alone(args: str) -> None:
    text = manifest(
        main(f'inputs: {{parameters: [{{name: x, default: y}}]}}, container: {{image: a, args: ["{args}"]}}')
    )
    assert lint(text) == []
    assert rendered(text)["spec"]["templates"][0]["container"]["args"] == [args]


def test_the_tenants_own_rest_token_parameter_is_not_a_use() -> None:
    text = manifest(
        main("suspend: {duration: '1'}"),
        more=f'  arguments: {{parameters: [{{name: rest_token, value: "{TOKEN}"}}]}}\n',
    )
    assert lint(text) == []


def test_braces_that_are_never_closed_are_read_in_linear_time() -> None:
    text = manifest(main("suspend: {duration: '1'}"), more="  podSpecPatch: '" + "{{" * 200_000 + "'\n")
    assert lint(text) == []


def test_where_the_policy_allows_the_token_in_clear_nothing_is_rewritten_or_found() -> None:
    text = manifest(main(f'container: {{image: a, env: {ENV}, workingDir: "{TOKEN}"}}'))
    assert lint(text)
    assert lint(text, token_in_clear=True) == []
    renderer = Renderer(frame(text, token="secret"))
    workflow = rendered(text, token="secret")
    assert not renderer.uses_secret
    assert env(workflow) == [{"name": "T", "value": TOKEN}]
    assert {"name": "rest_token", "value": "secret"} in workflow["spec"]["arguments"]["parameters"]
