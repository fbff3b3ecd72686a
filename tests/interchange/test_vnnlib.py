"""Properties in VNN-LIB, read and written."""

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gls_lightning.bounds import Box
from gls_lightning.errors import ConfigurationError
from gls_lightning.interchange.robustness_property import robustness_property
from gls_lightning.interchange.vnnlib_property import VnnlibProperty, read_property

Holds = Callable[[str, dict[str, Fraction]], bool]
NUMBERS = st.sampled_from(["-2", "-0.5", "0", "0.25", "1", "1.5", "2.", ".5", "25e-2", "+3", "(- 1)"])


def both(*strategies: st.SearchStrategy[str], form: str) -> st.SearchStrategy[str]:
    return st.tuples(*strategies).map(lambda parts: form.format(*parts))


OUTPUTS = st.recursive(
    NUMBERS | st.sampled_from(["Y_0", "Y_1", "Y_2"]),
    lambda terms: (
        st.lists(terms, min_size=1, max_size=3).map(lambda parts: f"(+ {' '.join(parts)})")
        | st.lists(terms, min_size=1, max_size=3).map(lambda parts: f"(- {' '.join(parts)})")
        | both(NUMBERS, terms, form="(* {} {})")
        | both(terms, NUMBERS, form="(* {} {} 2)")
    ),
    max_leaves=4,
)
INPUT_BOUNDS = (
    both(st.sampled_from(["<=", ">="]), st.sampled_from(["X_0", "X_1"]), NUMBERS, form="({} {} {})")
    | both(st.sampled_from(["<=", ">="]), NUMBERS, st.sampled_from(["X_0", "X_1"]), form="({} {} {})")
    | both(st.sampled_from(["<=", ">="]), NUMBERS, form="({} (- (* -2 X_0) 1) {})")
)
FORMULAS = st.recursive(
    INPUT_BOUNDS | both(st.sampled_from(["<=", ">="]), OUTPUTS, OUTPUTS, form="({} {} {})"),
    lambda parts: both(
        st.sampled_from(["and", "or"]), st.lists(parts, min_size=1, max_size=3).map(" ".join), form="({} {})"
    ),
    max_leaves=6,
)
DECLARED = "".join(f"(declare-const {name} Real)\n" for name in ("X_0", "Y_2", "X_1", "Y_0", "Y_1"))
BOUNDED = "".join(f"(assert (>= X_{i} -2)) ; at least\n(assert (<= X_{i} 2))\n" for i in (0, 1))
GRID = [-2, -0.5, 0, 0.25, 1, 1.5, 2]


def read(text: str, folder: Path) -> VnnlibProperty:
    (folder / "a.vnnlib").write_text(text)
    return read_property(folder / "a.vnnlib")


def describes(prop: VnnlibProperty, inputs: torch.Tensor, outputs: torch.Tensor) -> bool:
    """Whether some question of the property is about these inputs, and says yes to these outputs."""
    return any(
        bool(((q.box.lower <= inputs) & (inputs <= q.box.upper)).all())
        and bool((q.rows @ outputs + q.offsets <= 0).all(1).any())
        for q in (region.question for region in prop.regions)
    )


@settings(max_examples=300, deadline=None)
@given(formulas=st.lists(FORMULAS, min_size=1, max_size=3), seed=st.integers(0, 2**31))
def test_questions_say_what_the_text_says(
    formulas: list[str], seed: int, holds: Holds, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = DECLARED + BOUNDED + "".join(f"(assert {formula})\n" for formula in formulas)
    prop = read(text, tmp_path_factory.getbasetemp())
    choices = torch.randint(len(GRID), (20, 5), generator=torch.Generator().manual_seed(seed))
    for values in torch.tensor(GRID, dtype=torch.float64)[choices]:
        named = dict(zip(("X_0", "X_1", "Y_0", "Y_1", "Y_2"), map(Fraction, values.tolist()), strict=True))
        assert describes(prop, values[:2], values[2:]) == holds(text, named)


def test_cases_with_one_box_are_groups_of_one_question(tmp_path: Path) -> None:
    text = DECLARED + BOUNDED + "(assert (or (and (>= Y_0 Y_1) (<= Y_2 3)) (>= Y_1 Y_2)))"
    (region,) = read(text, tmp_path).regions
    question = region.question
    assert question.rows.tolist() == [[[-1, 1, 0], [0, 0, 1]], [[0, -1, 1], [0, -1, 1]]]
    assert question.offsets.tolist() == [[0, -3], [0, 0]]
    assert [side.tolist() for side in question.box] == [[[-2, -2]], [[2, 2]]]


def test_boxes_give_questions_and_empty_ones_none(tmp_path: Path) -> None:
    boxes = "(and (<= X_0 0) (>= Y_0 1)) (and (>= X_0 1) (>= Y_1 1)) (and (>= X_0 3) (>= Y_1 1))"
    first, second = (r.question for r in read(DECLARED + BOUNDED + f"(assert (or {boxes}))", tmp_path).regions)
    assert [side.tolist() for side in first.box] == [[[-2, -2]], [[0, 2]]]
    assert [side.tolist() for side in second.box] == [[[1, -2]], [[2, 2]]]
    assert read(DECLARED + BOUNDED + "(assert (<= X_1 -3))", tmp_path).regions == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(vnnlib-version <2.0>)", r"\(vnnlib-version <2.0>\) is not supported"),
        ("(assert (< X_0 1))", r"\(< X_0 1\) is not supported: expected \(and"),
        ("(assert (<= (* Y_0 Y_1) 1))", r"may have one factor that is not constant"),
        ("(assert (<= (/ Y_0 2) 1))", r"\(/ Y_0 2\) is not supported: expected a number"),
        ("(assert (<= Y_0 1e400))", "1e400 is not supported: expected a number"),
        ("(assert (<= Y_0 1_0))", "1_0 is not supported: expected a number"),
        ("(assert (<= Y_0 nan))", "nan is not supported"),
        ("(assert (<= Y_3 1))", "Y_3 is not declared"),
        ("(assert (<= Y_0 X_0))", "an assertion is about X_0 and Y_0; supported are"),
        ("(assert (<= (+ X_1 X_0) 1))", "an assertion is about X_0 and X_1"),
        ("(assert (<= Y_0 1)", "a bracket is not closed"),
        ("(assert (<= Y_0 1)))", "a bracket is closed that was not opened"),
        ("(declare-const X_0 Real)", "X_0 Real.* each name once"),
        ("(declare-const Z Real)", "Z Real.* is not supported"),
        ("(declare-const Y_4 Real)", "variables Y_0, Y_1 and so on must be declared, none left out"),
        ("(assert (or))", r"\(or\) is not supported"),
        ("(assert (or (<= Y_0 1) (>= Y_0 2)))" * 17, "the property has 131072 cases; at most 100000"),
    ],
)
def test_what_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"a\.vnnlib: .*{message}"):
        read(DECLARED + BOUNDED + text, tmp_path)


def test_every_input_needs_bounds(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="X_1 must have a lower and an upper bound"):
        read(DECLARED + "(assert (>= X_1 0)) (assert (and (<= X_0 1) (>= X_0 0)))", tmp_path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.vnnlib cannot be read"):
        read_property(tmp_path / "nowhere.vnnlib")


def test_written_robustness_is_read_back_exactly(tmp_path: Path, holds: Holds) -> None:
    image = torch.tensor([0.1, 1e-7, 1 / 3, 0.999]).double()[None]
    box = Box.around(image, 1 / 700)
    text = robustness_property(box, 1, 3, "an image")
    prop = read(text, tmp_path)
    question = prop.regions[0].question
    assert torch.equal(question.box.lower, box.lower)
    assert torch.equal(question.box.upper, box.upper)
    assert (prop.num_inputs, prop.num_outputs) == (4, 3)
    inputs = {f"X_{i}": Fraction(value) for i, value in enumerate(image[0].tolist())}
    for logits in product([0, 1, 2], repeat=3):
        wrong = logits[0] >= logits[1] or logits[2] >= logits[1]
        assert holds(text, inputs | {f"Y_{j}": Fraction(value) for j, value in enumerate(logits)}) == wrong
        assert describes(prop, image[0], torch.tensor(logits).double()) == wrong
