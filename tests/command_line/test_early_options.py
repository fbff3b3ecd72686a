"""The options that are read before the others."""

import pytest

from gls_lightning.command_line.early_options import read_early_options
from gls_lightning.errors import ConfigurationError


def test_values_are_found_in_each_way_of_writing() -> None:
    words = "test --config a --config=b -c c -cd --ckpt_path=x.ckpt --ckpt_path y.ckpt --trust_run"
    options = read_early_options([*words.split(), "--imports=[m]", "--imports+=n", "--import_paths", "[p]"])
    assert (options.config, options.ckpt_path, options.trust_run) == (["a", "b", "c", "d"], "y.ckpt", True)
    assert (options.imports, options.import_paths) == (["[m]", "n"], ["[p]"])


def test_other_options_are_passed_over() -> None:
    words = ["fit", "--model.epsilon", "0.1", "--trainer.logger=false", "--conf=a", "--trust", "-x", "--imports.a=b"]
    options = read_early_options(words)
    assert (options.config, options.ckpt_path, options.trust_run, options.imports) == ([], None, False, [])


def test_words_that_are_values_are_no_options() -> None:
    options = read_early_options(["test", "--ckpt_path", "config", "--data.root=--trust_run", "--", "--trust_run"])
    assert (options.ckpt_path, options.config, options.trust_run) == ("config", [], False)


@pytest.mark.parametrize(
    ("words", "pickles"),
    [
        ([], False),
        (["--weights_only=false"], True),
        (["--weights_only", "False"], True),
        (["--weights_only=no"], True),
        (["--weights_only=false", "--weights_only=true"], False),
        (["--weights_only=true", "--weights_only=false"], True),
        (["--weights_only=null"], False),
        (["--weights_only=0"], False),
        (["--weights_only={"], False),
        (["--data.root", "--weights_only=false"], True),
        (["--weights_onl=false"], False),
    ],
)
def test_only_a_plain_false_lets_objects_be_unpickled(words: list[str], pickles: bool) -> None:
    assert read_early_options(words).pickles is pickles


@pytest.mark.parametrize("words", [["--config"], ["-c", "--ckpt_path=x"], ["--trust_run=yes"]])
def test_a_value_that_is_missing_or_too_many(words: list[str]) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^(-c/--config: expected one argument|--trust_run: ignored explicit)"
    ):
        read_early_options(words)
