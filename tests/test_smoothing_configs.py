"""The rows of the study of smoothing differ in nothing but what they compare."""

from pathlib import Path

import pytest

from gls_lightning.configuration import SHIPPED, compose
from gls_lightning.reports import flatten

ROWS = sorted((SHIPPED / "smoothing").glob("*.yaml"))


def content(path: Path) -> dict[str, object]:
    return dict(flatten(compose(path).content))


def differences(row: Path) -> dict[str, tuple[object, object]]:
    """The keys in which a row differs from plain gradients with its data and relaxation: their values and its own."""
    data, _, rest = row.stem.partition("_")
    relaxation = next(name for name in ("crown_ibp", "ibp", "dp") if rest.startswith(name))
    plain, own = content(row.with_stem(f"{data}_{relaxation}_grad")), content(row)
    return {key: (plain.get(key), own.get(key)) for key in {*plain, *own} if plain.get(key) != own.get(key)}


def test_every_data_set_and_relaxation_has_the_same_rows() -> None:
    assert len(ROWS) == 2 * 3 * 9
    methods = {
        (data, relaxation): set[str]() for data in ("digits", "mnist") for relaxation in ("crown_ibp", "dp", "ibp")
    }
    for row in ROWS:
        data, _, rest = row.stem.partition("_")
        relaxation = next(name for name in ("crown_ibp", "ibp", "dp") if rest.startswith(name))
        methods[data, relaxation].add(rest.removeprefix(relaxation))
    assert len({frozenset(names) for names in methods.values()}) == 1


@pytest.mark.parametrize("row", [row for row in ROWS if "twice" not in row.stem], ids=lambda row: row.stem)
def test_methods_differ_in_the_estimator_alone(row: Path) -> None:
    found = differences(row)
    assert all(key.startswith(("model.init_args.estimator", "sigma_decay.")) for key in found)
    if "rgs" in row.stem:
        *_, sigma = row.stem.split("_")
        own = content(row)
        assert own["model.init_args.estimator.init_args.sigma"] == float(sigma)
        assert own.get("model.init_args.estimator.init_args.relative_sigma", False) == ("relative" in row.stem)
        assert own["sigma_decay.milestones"] == own["model.init_args.scheduler.init_args.milestones"]


@pytest.mark.parametrize("row", [row for row in ROWS if "twice" in row.stem], ids=lambda row: row.stem)
def test_twice_the_epochs_is_twice_the_schedule(row: Path) -> None:
    found = differences(row)
    assert set(found) == {
        "trainer.max_epochs",
        "epsilon_annealing.end_epoch",
        "model.init_args.scheduler.init_args.milestones",
    }
    for plain, own in found.values():
        assert own == ([2 * epoch for epoch in plain] if isinstance(plain, list) else 2 * plain)  # type: ignore[operator]


def test_the_relaxations_differ_in_nothing_else() -> None:
    for data in ("digits", "mnist"):
        for relaxation in ("crown_ibp", "dp"):
            ibp, other = (content(SHIPPED / f"smoothing/{data}_{name}_grad.yaml") for name in ("ibp", relaxation))
            differing = {key for key in {*ibp, *other} if ibp.get(key) != other.get(key)}
            assert differing <= {"model.init_args.relaxation", "trainer.float32_matmul_precision"}  # the GPU's
