"""The shipped recipes hold what their names and first lines say."""

import re
from pathlib import Path

import pytest

from gls_lightning.configuration import SHIPPED, compose
from gls_lightning.reports import flatten

RECIPES = sorted((SHIPPED / "recipes").glob("*.yaml"))
STARTED = [recipe for recipe in RECIPES if "first_stage" in compose(recipe).content]
NAME = re.compile(r"(mnist_0\.[13]|digits)_(cnn3_tiny|cnn3|cnn5)_(ibp|crown_ibp|dp)_(grad|rgs)")
TITLES = {
    "ibp": "IBP",
    "crown_ibp": "CROWN-IBP",
    "dp": "DeepPoly",
    "cnn3": "CNN3",
    "cnn3_tiny": "CNN3Tiny",
    "cnn5": "CNN5",
}
CLASSES = {"ibp": "IBP", "crown_ibp": "CROWNIBP", "dp": "DeepPoly", "grad": "Backprop", "rgs": "RGS"}

each = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)


def components(recipe: Path) -> tuple[object, ...]:
    content = flatten(compose(recipe).content)
    model = [f"model.init_args.{key}" for key in ("network", "relaxation", "estimator")]
    named = [content.get(f"{key}.class_path", content.get(key)) for key in model]
    return content["data.class_path"], content["model.init_args.epsilon"], *named


@each
def test_a_recipe_holds_what_its_name_says(recipe: Path) -> None:
    match = NAME.fullmatch(recipe.stem)
    assert match is not None
    data, network, relaxation, estimator = match.groups()
    described = (TITLES[network], CLASSES[relaxation], CLASSES[estimator])
    assert components(recipe) == ("Digits" if data == "digits" else "MNIST", float(data[6:] or 0.1), *described)


@each
def test_the_first_lines_say_it_with_what_it_gives(recipe: Path) -> None:
    data, network, relaxation, estimator = NAME.fullmatch(recipe.stem).groups()  # type: ignore[union-attr]
    start = " from IBP" if recipe in STARTED else ""
    data = "Digits" if data == "digits" else f"MNIST {data[6:]}"
    first, second, *_ = recipe.read_text().splitlines()
    words = [data, TITLES[network], *(["epsilon 0.1"] if data == "Digits" else []), TITLES[relaxation]]
    found = re.fullmatch(r"# (.+): ([\d.]+) natural, ([\d.]+) certified", first)
    assert found is not None
    assert found[1] == f"{', '.join(words)}, {estimator.upper()}{start}"
    natural, certified = float(found[2]), float(found[3])
    assert certified <= natural <= 100
    if "with seed 0 alone, so without an interval" not in second:
        interval = re.search(r"interval of certified: ([\d.]+) to ([\d.]+\d)", second)
        assert interval is not None
        assert float(interval[1]) <= certified <= float(interval[2])


@pytest.mark.parametrize("recipe", STARTED, ids=lambda path: path.stem)
def test_the_network_to_start_from_is_a_recipe_for_the_same(recipe: Path) -> None:
    stage = compose(recipe).content["first_stage"]
    data, epsilon, network, *_ = components(recipe)
    assert components(SHIPPED / stage) == (data, epsilon, network, "IBP", "Backprop")
    assert f"train {stage} first, and add\n" in recipe.read_text()
    assert f"--model.init_from=runs/{Path(stage).stem}/version_0/checkpoints/last.ckpt" in recipe.read_text()
