"""The search space: the keys of a configuration that vary, and their values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gls_lightning.arguments import alternatives
from gls_lightning.commands.comparability import check_variable
from gls_lightning.errors import ConfigurationError

if TYPE_CHECKING:
    from optuna import Trial

OPTIONS = ("values", "low", "high", "log", "only_if")


@dataclass(frozen=True)
class Variable:
    """A key that varies.

    Attributes:
        key: The option of ``gls fit``.
        values: All values, if it takes one of several.
        low: The smallest value otherwise.
        high: The largest value; whole numbers if both are.
        log: Whether the logarithm is searched evenly.
        only_if: Values that other variables must have; without them this one keeps the configuration's value.
    """

    key: str
    values: Sequence[Any] = ()
    low: float = 0
    high: float = 0
    log: bool = False
    only_if: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> Any:
        """The first of its values."""
        return self.values[0] if self.values else self.low

    def suggest(self, trial: "Trial") -> Any:
        """Asks the sampler for a value."""
        if self.values:  # Optuna's categories are plain, but a value may be a list or a section
            return json.loads(trial.suggest_categorical(self.key, [json.dumps(value) for value in self.values]))
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.key, self.low, self.high, log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class SearchSpace:
    """Variables, each behind those that it depends on."""

    variables: Sequence[Variable]

    def suggest(self, trial: "Trial") -> dict[str, Any]:
        """Asks the sampler for the values of a trial, by the key."""
        chosen: dict[str, Any] = {}
        for variable in self.variables:
            if all(key in chosen and chosen[key] == value for key, value in variable.only_if.items()):
                chosen[variable.key] = variable.suggest(trial)
        return chosen

    def first(self) -> dict[str, Any]:
        """Returns values with which no variable is left out for its first condition, to try the keys with."""
        chosen = {variable.key: variable.first for variable in self.variables}
        for variable in self.variables:
            chosen |= variable.only_if
        return chosen


def options_of_fit(values: Mapping[str, Any]) -> list[str]:
    """Writes values as options of ``gls fit``."""
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]


def read_space(content: Any, source: str) -> SearchSpace:
    """Reads a search space.

    Args:
        content: What the file holds.
        source: The file, for the message.

    Raises:
        ConfigurationError: It is no search space.
    """
    if not isinstance(content, dict) or not content:
        raise ConfigurationError(f"{source} must hold keys of a configuration, such as model.estimator.sigma")
    variables: list[Variable] = []
    for key, options in content.items():
        variables.append(_variable(str(key), options, f"{key} of {source}"))
        known = [variable.key for variable in variables[:-1]]
        for other in variables[-1].only_if:
            if other not in known:
                raise ConfigurationError(f"only_if of {key} of {source} names {other}, which must be a key above it")
    return SearchSpace(variables)


def _variable(key: str, options: Any, name: str) -> Variable:
    check_variable(key, name)
    right = "a range, such as {low: 1.0e-4, high: 0.1, log: true}, or {values: [...]}"
    if not isinstance(options, dict):
        raise ConfigurationError(f"{name} is {options!r}; it must be {right}")
    if unknown := [str(option) for option in options if option not in OPTIONS]:
        raise ConfigurationError(f"{name} has {unknown[0]}{alternatives(unknown[0], OPTIONS)}")
    if not isinstance(options.get("only_if", {}), dict):
        raise ConfigurationError(f"only_if of {name} is {options['only_if']!r}; it must be keys and their values")
    if ("values" in options) == ("low" in options or "high" in options) or ("values" in options and "log" in options):
        raise ConfigurationError(f"{name} is {options}; it must be {right}")
    variable = Variable(key, **options)
    _check_values(variable, name) if "values" in options else _check_range(options, name)
    return variable


def _check_values(variable: Variable, name: str) -> None:
    if not isinstance(variable.values, list) or not variable.values:
        raise ConfigurationError(f"values of {name} is {variable.values!r}; it must be a list that is not empty")


def _check_range(options: Mapping[str, Any], name: str) -> None:
    low, high, log = options.get("low"), options.get("high"), options.get("log", False)
    for side, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            hint = " (YAML reads 1e-4 as text; write 1.0e-4)" if isinstance(value, str) else ""
            raise ConfigurationError(f"{side} of {name} is {value!r}; it must be a number{hint}")
    if not isinstance(log, bool):
        raise ConfigurationError(f"log of {name} is {log!r}; it must be true or false")
    if not low < high:  # type: ignore[operator]
        raise ConfigurationError(f"low of {name} is {low}; it must be less than high, {high}")
    if log and not low > 0:  # type: ignore[operator]
        raise ConfigurationError(f"low of {name} is {low}; it must be positive with log")
