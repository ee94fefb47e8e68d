import pytest

from selfsup3d.io.json_yaml import parse_json, parse_yaml


def test_plain_values():
    assert parse_json("[9223372036854775807, -9223372036854775808, 1e400]") == [2**63 - 1, -(2**63), float("inf")]
    assert parse_json(b'{"a": [1, null]}') == {"a": [1, None]}
    assert parse_yaml("a: [1e-4, 2., on, null]\nb: 'é'") == {"a": [1e-4, 2.0, True, None], "b": "é"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("{", "Expecting property name"),
        ("9" * 5000, "digits"),
        ("[1, -9223372036854775809]", "-9223372036854775809... is an integer of more than 64 bits"),
        ("9" * 400, "more than 64 bits"),
    ],
)
def test_what_is_no_json(text, told):
    with pytest.raises(ValueError, match=told):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("- " * 100_000, "nested too deeply"),
        ("a: &a [1]\nb: [*a, *a]", r"line 2, column 5: aliases \(\*name\) are not supported"),
        ("a: 1\na: 2", "line 2, column 1: key 'a' appears twice"),
        ("!!python/object/apply:os.system ['true']", "line 1, column 1: could not"),
        ("2001-99-99", "ValueError: month must be"),
        ("x" * 2**21, "2097152 characters are too many"),
    ],
)
def test_what_is_no_yaml(text, told):
    with pytest.raises(ValueError, match=told):
        parse_yaml(text)
