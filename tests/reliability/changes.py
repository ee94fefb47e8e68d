"""Damage to files: bytes turned, removed, repeated or put in, and in texts numbers, words and brackets replaced by what they
are not expected to be."""

import re

from hypothesis import strategies as st

__all__ = ["CHANGES", "changed"]

RARE = [
    "", "0", "-1", "1e999", "-1e999", "nan", "NaN", "Infinity", "null", "~", "true", "[]", "{}", "[[[[]]]]", '"x"', "x",
    "99999999999999999999", "1e-300", "0.5", "1.5e3", "9" * 400, "'", '"', "\\", "\0", "\n", "é", "中", "\ud800", ": ",
    "- ", "&a", "*a", "!!python/object/apply:os.system [true]", "<<", "../../etc", "[" * 3000, "{" * 200, ",", "#",
    "1000000000000", "<", "\x1b[31m",
]  # fmt: skip
PLACE = st.integers(0, 2**24)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("turn"), PLACE, st.binary(min_size=1, max_size=4)),
        st.tuples(st.just("put in"), PLACE, st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("remove"), PLACE, st.integers(1, 64)),
        st.tuples(st.just("cut"), PLACE, st.none()),
        st.tuples(st.just("repeat"), PLACE, st.integers(1, 64)),
        st.tuples(st.just("word"), PLACE, st.sampled_from(RARE)),
    ),
    min_size=1,
    max_size=4,
)
WORDS = re.compile(rb"-?\d+(?:\.\d+)?|\w+|[\[\]{}:,\"]")


def changed(data: bytes, changes) -> bytes:
    """The file with its changes; those of words fall back on bytes where there are no words."""
    for kind, place, value in changes:
        words = list(WORDS.finditer(data)) if kind == "word" and len(data) < 20_000 else []
        at = place % (len(data) + 1)
        match kind:
            case "turn":
                data = data[:at] + value + data[at + len(value) :]
            case "put in":
                data = data[:at] + value + data[at:]
            case "remove":
                data = data[:at] + data[at + value :]
            case "cut":
                data = data[:at]
            case "repeat":
                data = data[: at + value] + data[at:]
            case "word" if words:
                word, new = words[place % len(words)], value.encode("utf-8", "surrogatepass")
                data = data[: word.start()] + new + data[word.end() :]
    return data
