"""Type hints in plain words."""

import re

_WORDS = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "str": "a string",
    "NoneType": "null",
    "None": "null",
    "list": "a list",
    "dict": "a mapping",
    "Radius": "a number such as 0.1 or a fraction such as 8/255",
    "Path": "a path",
    "timedelta": "a duration",
    "Any": "anything",
}
_LISTS = ("list", "Sequence", "Iterable", "tuple", "set")
_ITEMS = {"an integer": "integers", "a number": "numbers", "a string": "strings", "true or false": "booleans"}


def plain_type(hint: str) -> str:
    """Describes what a value must be, such as ``an integer or null`` for ``<class 'int'>, <class 'NoneType'>``.

    Args:
        hint: One type or several with commas between them, as jsonargparse writes them.
    """
    hints = _parts(re.sub(r"<class '([^']+)'>", r"\1", hint))
    choices = [choice for part in hints if "Literal[" in part.partition(",")[0] for choice in _choices(part)]
    kinds = dict.fromkeys(_one(part) for part in hints if "Literal[" not in part.partition(",")[0])
    if choices:
        kinds = {(choices[0] if len(choices) == 1 else f"one of {', '.join(dict.fromkeys(choices))}"): None, **kinds}
    return " or ".join(sorted(kinds, key=lambda kind: kind == "null"))


def _choices(literal: str) -> list[str]:
    return [choice.strip("'\"") for choice in _parts(literal.partition("[")[2].removesuffix("]"))]


def _one(hint: str) -> str:
    name, bracket, inside = hint.partition("[")
    name, inside = name.rpartition(".")[2], inside.removesuffix("]")
    if name in ("Union", "Optional"):
        return plain_type(f"{inside}, None" if name == "Optional" else inside)
    if name == "Callable":
        return "a class or a function"
    if name in _LISTS:
        return f"a list of {_many(_parts(inside)[0])}" if bracket else "a list"
    return _WORDS.get(name, f"a {name}")


def _many(hint: str) -> str:
    item = plain_type(hint)
    if hint.endswith("Radius"):
        return "numbers or fractions such as 8/255"
    if item.startswith("a list"):
        return item.replace("a list", "lists", 1)
    return _ITEMS.get(item, item.removeprefix("a ") + "s")


def _parts(hints: str) -> list[str]:
    """Splits at the commas that are outside of brackets."""
    parts, depth = [""], 0
    for character in hints:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
