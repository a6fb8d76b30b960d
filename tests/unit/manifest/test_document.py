"""From text to plain data that knows its lines."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import ManifestError
from argosy.manifest import parse
from argosy.manifest.document import MAX_BYTES, MAX_DEPTH, MAX_NODES, load
from tests.unit.manifest.samples import ONE_CONTAINER


def refusal(text: str) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        parse(text)
    return caught.value


def test_a_manifest_is_read_as_data() -> None:
    document = parse(ONE_CONTAINER)
    assert document.body["spec"]["templates"] == [{"name": "main", "container": {"image": "alpine"}}]


def test_json_is_a_manifest_too() -> None:
    text = '{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",\n "spec": {"entrypoint": "a", "templates": [{"name": "a"}]}}'
    assert parse(text).line(("spec", "entrypoint")) == (2, 11)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("spec",), (3, 1)),
        (("spec", "templates", 0), (6, 7)),
        (("spec", "templates", 0, "container", "image"), (8, 9)),
        (("spec", "templates", 0, "container", "imgae"), (7, 7)),
        (("spec", "templates", 9), (5, 3)),
        ((), None),
    ],
)
def test_a_node_knows_its_line_or_its_nearest_parents(
    path: tuple[str | int, ...], place: tuple[int, int] | None
) -> None:
    assert parse(ONE_CONTAINER).line(path) == place


def test_a_place_in_a_literal_block_has_its_own_line() -> None:
    text = ONE_CONTAINER + "        args:\n          - |\n            one\n            two\n"
    path = ("spec", "templates", 0, "container", "args", 0)
    assert parse(text).line(path, offset=5) == (12, 1)


def test_a_merged_key_has_the_line_where_it_is_written() -> None:
    document = load("base: &base\n  image: a\nmore:\n  <<: *base\n  name: b\n")
    assert document.body["more"] == {"image": "a", "name": "b"}
    assert document.line(("more", "image")) == (2, 3)


def test_a_key_of_the_mapping_itself_wins_over_a_merged_one() -> None:
    assert load("a: &a {x: 1, y: 1}\nb: {x: 2, <<: *a}").body["b"] == {"x": 2, "y": 1}


def test_the_first_of_several_merged_mappings_wins() -> None:
    assert load("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}").body["c"] == {"x": 1, "y": 2}


def test_fields_that_are_null_are_left_out() -> None:
    assert load("emptyDir:\nname: ~\nlist: [~]").body == {"list": [None]}


def test_numbers_among_parameters_and_resources_become_text() -> None:
    document = load(
        "arguments: {parameters: [{name: a, value: 3, default: true, enum: [1, x]}, {name: b, valueFrom: {default: 0.5}}]}\n"
        "resources: {limits: {cpu: 0.5}}\nother: {value: 3}"
    )
    assert document.body == {
        "arguments": {
            "parameters": [
                {"name": "a", "value": "3", "default": "true", "enum": ["1", "x"]},
                {"name": "b", "valueFrom": {"default": "0.5"}},
            ]
        },
        "resources": {"limits": {"cpu": "0.5"}},
        "other": {"value": 3},
    }


def test_empty_documents_around_the_manifest_do_not_count() -> None:
    parse("---\n" + ONE_CONTAINER + "---\n")


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: [b\nc: d", 2, 2, "syntax error"),
        ("a:\n\t- b", 2, 1, "syntax error"),
        ("a: *b", 1, 4, "undefined alias"),
        (ONE_CONTAINER + "---\na: b\n", 10, 1, "second document"),
        ("# nothing\n", 1, 1, "empty"),
        ("", 1, 1, "empty"),
        ("- a", 1, 1, "mapping"),
        ("text", 1, 1, "mapping"),
        (ONE_CONTAINER + "kind: Workflow\n", 9, 1, '"kind" is written twice'),
        ("a: 1\nb:\n  'x': 1\n  x: 2\n", 4, 3, '"x" is written twice'),
        ("a: b\0", 1, 5, "NUL"),
        ('a: b\nc: "\\0"', 2, 4, "NUL"),
        ("a: \x01", 1, 4, "does not allow"),
        ("a:\n  b: \ud800", 2, 6, "surrogate"),
        ("a: !!python/object:os.system x", 1, 4, "tag"),
        ("a: !!set {b}", 1, 4, "tag"),
        ("? [a]\n: b", 1, 3, "key must be text"),
        ("~: b", 1, 1, "key must be text"),
        ("a: .inf", 1, 4, "JSON"),
        ("a: {<<: [x]}", 1, 9, "<<"),
        ("a: &a [*a]", 1, 4, "contains itself"),
        ("a: &a {<<: *a}", 1, 4, "contains itself"),
    ],
)
def test_what_is_not_one_mapping_is_refused_with_line_and_column(text: str, line: int, column: int, words: str) -> None:
    error = refusal(text)
    assert (error.line, error.column) == (line, column)
    assert words in error.problem


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (ONE_CONTAINER.replace("kind: Workflow", "kind: CronWorkflow"), 2, "'CronWorkflow'"),
        (ONE_CONTAINER.replace("kind: Workflow\n", ""), None, "kind must be Workflow"),
        (ONE_CONTAINER.replace("v1alpha1", "v1"), 1, "apiVersion must be argoproj.io/v1alpha1"),
        ("apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n", None, "spec is missing"),
        (ONE_CONTAINER.replace("  entrypoint: main\n", ""), 3, "entrypoint is missing"),
        (ONE_CONTAINER.replace("entrypoint: main", "entrypoint: mian"), 4, 'no template "mian"'),
        (ONE_CONTAINER[: ONE_CONTAINER.index("  templates")] + "  templates: []\n", 5, "templates is missing"),
        (ONE_CONTAINER[: ONE_CONTAINER.index("  templates")], 3, "templates is missing"),
    ],
)
def test_what_is_not_a_workflow_with_an_entrypoint_is_refused(text: str, line: int | None, words: str) -> None:
    error = refusal(text)
    assert error.line == line
    assert words in error.problem


def test_a_manifest_over_the_size_limit_is_refused_before_it_is_parsed() -> None:
    assert f"at most {MAX_BYTES}" in refusal("[" * (MAX_BYTES + 1)).problem


def test_an_alias_bomb_is_refused_without_being_expanded() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 300))
    assert str(MAX_NODES) in refusal(bomb).problem


def test_an_alias_bomb_of_merges_is_refused() -> None:
    bomb = "a0: &a0 {x: 1}\n" + "".join(
        f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 300)
    )
    assert str(MAX_NODES) in refusal(bomb).problem


@pytest.mark.parametrize(
    "text",
    [
        "- " * 100_000,
        "[" * 200 + "]" * 200,
        "".join(f"a{i}: &a{i} {'[' * 40}{f'*a{i - 1}' if i else 'x'}{']' * 40}\n" for i in range(50)),
    ],
)
def test_deep_nesting_is_refused_also_where_aliases_make_it(text: str) -> None:
    assert f"more than {MAX_DEPTH} levels" in refusal(text).problem


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ManifestError):
        assert parse(text).spec


@given(st.lists(st.sampled_from(list("[]{}:,-&*!<?|> \n\t\"'#ab0.")), max_size=60).map("".join))
def test_any_yaml_like_text_is_read_or_refused(text: str) -> None:
    with suppress(ManifestError):
        assert isinstance(load(text).body, dict)
