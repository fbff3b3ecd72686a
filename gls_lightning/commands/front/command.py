"""``gls front``: the search itself."""

import json
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from gls_lightning.arguments import require
from gls_lightning.command_line.first_stage import check_first_stage
from gls_lightning.command_line.parser import CommandParser
from gls_lightning.commands import description
from gls_lightning.commands.comparability import check_held_out
from gls_lightning.commands.front.search_space import SearchSpace, options_of_fit, read_space
from gls_lightning.configuration import compose, find_config
from gls_lightning.errors import ConfigurationError
from gls_lightning.executors import Execution, resolve
from gls_lightning.reports import flatten

FRONTS = Path("fronts")
PASSED = "options of gls fit may follow, such as --trainer.max_epochs=10; every trial gets them"


def front(words: list[str]) -> None:
    """Searches settings for the front of natural and certified accuracy.

    Args:
        words: The words behind the command.

    Raises:
        ConfigurationError: The configuration or the search space is wrong, no images are held out, or another search
            lies in the directory.
    """
    parser = _parser()
    own, passed = parser.divide(words)
    options = parser.parse_args(own)
    require(options.trials > 0, "trials", options.trials, "at least 1")
    require(options.seeds >= 0, "seeds", options.seeds, "at least 0")
    require(options.margin is None or 0 <= options.margin < 1, "margin", options.margin, "at least 0 and less than 1")
    require(0 <= options.patience <= 1, "patience", options.patience, "from 0 to 1")
    execution = Execution.of(options)
    if execution.executor == "slurm" and execution.jobs is None and options.sampler != "random":
        raise ConfigurationError(
            f"jobs is null, so all trials would start at once, and {options.sampler} would learn from none; say how "
            "many run at once, such as --jobs=4"
        )
    if find_spec("optuna") is None:
        raise ConfigurationError("gls front needs Optuna; python -m pip install optuna")
    space = read_space(compose(find_config(options.space)).content, options.space)
    config = find_config(options.config)
    fit = ["fit", "--config", str(config), *passed]
    resolved = _resolved(fit, space)
    check_first_stage(resolved.get("first_stage"), flatten(resolved).get("model.init_args.init_from"))
    check_held_out(resolved)
    if options.margin is not None and options.patience and resolved["trainer"].get("max_epochs") == -1:
        raise ConfigurationError("trainer.max_epochs is -1, so training has no last epoch; set it, or --patience=0")
    _search(options, execution, space, fit, resolved, options.output or FRONTS / config.stem)


def _parser() -> CommandParser:
    parser = CommandParser(prog="gls front", description=f"{description('front')} Behind them, {PASSED}.")
    parser.add_argument("config", metavar="CONFIG", help="The configuration.")
    parser.add_argument("--space", required=True, help="The search space, a YAML file.")
    parser.add_argument("--output", type=Path | None, default=None, help="Directory; fronts/CONFIG by default.")
    parser.add_argument("--trials", type=int, default=30, help="Trials, of all processes that share the directory.")
    parser.add_argument("--seeds", type=int, default=3, help="Further seeds for each point of the front.")
    sampler = Literal["tpe", "nsga2", "random"]
    parser.add_argument("--sampler", type=sampler, default="tpe", help="What chooses the values.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the sampler.")
    margin = "By how much a trial must be dominated after the ramp to be ended early; null for never."
    parser.add_argument("--margin", type=float | None, default=0.1, help=margin)
    patience = "The share of the epochs behind the ramp that a trial gets before it may be ended early."
    parser.add_argument("--patience", type=float, default=0.5, help=patience)
    parser.add_class_arguments(Execution)
    return parser


def _resolved(fit: Sequence[str], space: SearchSpace) -> dict[str, Any]:
    """Returns the whole configuration of a trial, which tries all keys before anything long starts.

    Raises:
        ConfigurationError: ``gls fit`` refuses it.
    """
    (plain,) = resolve([[*fit, *options_of_fit(space.first())]], "a trial")
    return {**plain, "fit": list(fit[3:])}


def _search(
    options: Any,
    execution: Execution,
    space: SearchSpace,
    fit: Sequence[str],
    resolved: Mapping[str, Any],
    directory: Path,
) -> None:
    from gls_lightning.commands.front.confirmation import Repetition, points, repeat  # take seconds
    from gls_lightning.commands.front.heartbeat import Heartbeat
    from gls_lightning.commands.front.outcome import front_file, log_outcome, write_outcome
    from gls_lightning.commands.front.search import Search
    from gls_lightning.commands.front.search_study import CHOSEN, SearchStudy

    about = _description(options, space, resolved)
    study = SearchStudy(directory, about, options.sampler, options.seed)
    search = Search(directory, fit, space, options.margin, options.patience)
    search.run(study, options.trials, execution)
    claim = Heartbeat(directory / "heartbeats" / "points")
    if elsewhere := study.running():
        print(f"{len(elsewhere)} trials run in other processes; the last process trains the points of the front")
        return
    if not claim.claim():
        print("another process trains the points of the front")
        return
    try:
        first = int(resolved.get("seed_everything") or 0)
        seeds = range(first + 1, first + 1 + options.seeds)
        best = study.front()
        repetitions = [Repetition(search, of.number, of.user_attrs[CHOSEN], seed) for of in best for seed in seeds]
        failed = repeat(repetitions, execution, claim)
        measured = points([of.number for of in best], repetitions)
        outcome = front_file(study, options.config, options.sampler, measured)
        for path in write_outcome(directory, outcome):
            print(path, flush=True)
        log_outcome(directory, outcome, resolved)
        if failed:
            sys.exit(f"gls: {len(failed)} jobs of the points failed: {', '.join(failed)}; the same command goes on")
    finally:
        claim.release()


def _description(options: Any, space: SearchSpace, resolved: Mapping[str, Any]) -> dict[str, Any]:
    variables = {f"{variable.key} of the search space": vars(variable) for variable in space.variables}
    settings = {"sampler": options.sampler, "margin": options.margin, "patience": options.patience}
    described = json.loads(json.dumps({**flatten(resolved), **variables, **settings}, default=str))
    return dict(described)
