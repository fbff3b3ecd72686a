"""Near names of misspelt words."""

import pytest

from gls_lightning.arguments.near_names import alternatives, near


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("epsilonn", ["epsilon"]),
        ("EPSILON", ["epsilon"]),
        ("eps", ["epsilon"]),
        ("size", ["batch_size"]),
        ("ize", []),
        ("relaxations", []),
        ("", []),
    ],
)
def test_nearest_first(word: str, found: list[str]) -> None:
    assert near(word, ["sigma", "epsilon", "batch_size"]) == found


def test_all_are_named_where_none_is_near_and_they_are_few() -> None:
    assert alternatives("x", ["b", "a"], "--") == "; there are --a, --b"
    assert alternatives("bb", ["b", "a"], "--", ".c") == "; near: --b.c"
    assert alternatives("x", [f"name{n}" for n in range(13)]) == ""
