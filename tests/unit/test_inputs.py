"""What is kept of foreign text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidRequest
from argosy.inputs import clean, log_text, validated
from argosy.shapes.given import Policy


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07\x1b]8;;http://a\x1b\\link", "red link"),
        (b"10%\r20%\r\n30%\n", "10%\n20%\n30%\n"),
        (b"\x00\xff\xed\xa0\x80", "\ufffd" * 5),
        (b"Bearer s3cret!", "Bearer \u2026!"),
        (b"\x1b[", "["),
        (b"", ""),
    ],
)
def test_what_a_container_wrote_is_text_that_can_be_stored_and_shown(written: bytes, shown: str) -> None:
    assert log_text(written, 1000, ["s3cret"]) == shown


@given(st.binary(max_size=200), st.integers(0, 50))
def test_a_log_has_no_more_bytes_than_it_may_whatever_it_holds(data: bytes, limit: int) -> None:
    found = log_text(data, limit)
    assert len(found.encode()) <= limit
    assert "\x00" not in found
    assert "\x1b" not in found


def test_nul_and_lone_surrogates_become_replacement_characters() -> None:
    assert clean("a\x00b\udc80c") == "a\ufffdb\ufffdc"


def test_control_characters_go_but_tab_and_newline_stay() -> None:
    assert clean("\x1b[31ma\r\n\tb\x7f\x9f") == "[31ma\n\tb"


@pytest.mark.parametrize(
    "said",
    [
        "Illegal header value b'Token s3cret'",
        "s3cret",
        "s3cret and s3cret again",
        "s3\x07cret",  # spelt only once the bell is gone
    ],
)
def test_a_secret_is_struck(said: str) -> None:
    assert "s3cret" not in clean(said, ["s3cret"])


@pytest.mark.parametrize("secret", ["tok\nen", "token\r\n", "tokén", "to'ken", "to\\ken", "to\x00ken", "tok\ud800en"])
def test_a_secret_is_struck_as_a_library_shows_it(secret: str) -> None:
    raw = secret.encode("utf-8", "surrogatepass")
    for shown in (secret, f"{secret!r}", f"{raw!r}", repr(f"{raw!r}"), secret.strip()):
        assert "en" not in clean(f"Illegal header value {shown}!", [secret]).removeprefix("Illegal header value"), shown


def test_a_secret_within_another_leaves_no_rest_of_the_longer() -> None:
    assert clean("abcdef", ["abc", "abcdef"]) == "…"


def test_empty_secrets_strike_nothing() -> None:
    assert clean("as it is", ["", " "]) == "as it is"


def test_a_long_text_is_cut_after_its_secrets_are_struck() -> None:
    assert clean("x" * 8 + "s3cret", ["s3cret"], limit=10) == "x" * 8 + "…"
    assert clean("x" * 11, limit=10) == "x" * 9 + "…"


@given(st.text(st.characters(codec=None)), st.integers(1, 50))
def test_what_is_left_is_short_and_can_be_encoded(text: str, limit: int) -> None:
    cleaned = clean(text, limit=limit)
    assert len(cleaned) <= limit
    assert "\x00" not in cleaned
    cleaned.encode()


def test_all_that_is_wrong_with_fields_is_said_at_once_and_in_plain_words() -> None:
    fields = {"service_account": ["a"], "volume_claims": "models", "storage_classes": [], "profile": "Trusted"}
    with pytest.raises(InvalidRequest) as caught:
        validated(Policy, fields)
    assert str(caught.value).split("; ") == [
        "profile: must be 'restricted', 'baseline' or 'trusted'",
        "volume_claims: must be a list",
        "storage_classes: must be a mapping of names to values",
        "service_account: no such field",
        'did you mean "service_accounts"?',
    ]


def test_of_many_faults_the_first_are_said() -> None:
    with pytest.raises(InvalidRequest, match=r"; and 15 more$"):
        validated(Policy, {f"field{number}": 1 for number in range(20)})
