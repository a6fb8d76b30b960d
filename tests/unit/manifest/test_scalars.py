"""Plain scalars as sigs.k8s.io/yaml v1.4.0 reads them; the table is what that library answered."""

import pytest

from argosy.manifest.scalars import Scalar, as_text, resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("on", True),
        ("Off", False),
        ("~", None),
        ("", None),
        ("1:30", "1:30"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01T10:00:00Z", "2024-01-01T10:00:00Z"),
        ("1e3", 1000),
        ("1.0", 1),
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("1e-7", 1e-7),
        ("010", 8),
        ("08", 8),
        ("00", 0),
        ("0x1F", 31),
        ("0o17", 15),
        ("-0b11", -3),
        ("1_000", 1000),
        ("+5", 5),
        ("18446744073709551615", 2**64 - 1),
        ("1e25", 1e25),
        ("1e999", "1e999"),
        ("1.2.3", "1.2.3"),
        ("-", "-"),
        ("=", "="),
    ],
)
def test_a_plain_scalar_is_what_argo_reads(text: str, value: Scalar) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["y", "Y", "n", "N"])
def test_y_and_n_stay_text_as_for_tator(text: str) -> None:
    assert resolve(text) == text


def test_integers_over_64_bits_are_floats_as_in_go() -> None:
    assert isinstance(resolve("99999999999999999999"), float)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (True, "true"),
        (False, "false"),
        (None, "null"),
        (3, "3"),
        (3.0, "3"),
        (0.5, "0.5"),
        (1e-7, "0.0000001"),
        (1.25e-9, "0.00000000125"),
        (-2.5, "-2.5"),
        (1e22, "10000000000000000000000"),
    ],
)
def test_a_scalar_becomes_the_text_that_argo_makes_of_it(value: Scalar, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_no_number_for_has_no_text(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        as_text(value)
