"""Names that are near a misspelt one."""

from collections.abc import Iterable
from difflib import get_close_matches

FEW = 12
"""As many names can stand in a line."""


def near(word: str, names: Iterable[str]) -> list[str]:
    """Finds at most three names that the word may have meant, the nearest first, whatever the case of the letters."""
    by_lower, lower = {name.lower(): name for name in sorted(names)}, word.lower()
    close = get_close_matches(lower, by_lower, n=3, cutoff=0.6)
    longer = [name for name in by_lower if lower and (name.startswith(lower) or (len(lower) > 3 and lower in name))]
    return [by_lower[name] for name in list(dict.fromkeys([*close, *longer]))[:3]]


def alternatives(word: str, names: Iterable[str], before: str = "", behind: str = "") -> str:
    """Ends the message that a word is none of the names: with those near it, or with all if they are few.

    Args:
        word: The word.
        names: The names.
        before: What is put before each of them.
        behind: What is put behind those that are near.
    """
    known = sorted(set(names))
    if found := near(word, known):
        return f"; near: {', '.join(f'{before}{name}{behind}' for name in found)}"
    return f"; there are {', '.join(before + name for name in known)}" if 0 < len(known) <= FEW else ""
