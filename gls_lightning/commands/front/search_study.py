"""The study of a search: Optuna's, in a journal that any number of processes and machines share."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from gls_lightning.commands.front.heartbeat import SILENCE, Heartbeat
from gls_lightning.commands.front.search_space import SearchSpace
from gls_lightning.errors import ConfigurationError

JOURNAL, NAME, DESCRIPTION, ABANDONED, CHOSEN, PRUNED = (
    *("study.journal", "front", "description", "abandoned", "chosen", "pruned"),
)
GENERATION = 10
"""Population of NSGA-II: with Optuna's 50, the usual searches would end within the random first generation."""


class Outcome(NamedTuple):
    """The end of a trial.

    Attributes:
        accuracies: Natural and certified accuracy on the held-out images; None if it failed.
        pruned: Whether it was ended early.
    """

    accuracies: tuple[float, float] | None
    pruned: bool = False


class SearchStudy:
    """Trials of all processes that share a directory.

    Args:
        directory: The directory; a study that is there goes on.
        description: All that makes two trials comparable, as values of JSON.
        sampler: Who chooses values: ``tpe``, ``nsga2`` or ``random``.
        seed: Seed of the sampler.

    Raises:
        ConfigurationError: The study that is there has another description.
    """

    def __init__(self, directory: Path, description: Mapping[str, Any], sampler: str, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._sampler, self._seed = directory, sampler, seed
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(directory / JOURNAL))),
            study_name=NAME,
            directions=["maximize", "maximize"],
            load_if_exists=True,
        )
        self._own: dict[int, optuna.Trial] = {}
        before = self._study.user_attrs.get(DESCRIPTION)
        if before is None:
            self._study.set_user_attr(DESCRIPTION, dict(description))
        elif keys := sorted(key for key in {*before, *description} if before.get(key) != description.get(key)):
            raise ConfigurationError(
                f"output is {directory}, where a search is that differs in {', '.join(keys[:3])}: {keys[0]} is "
                f"{before.get(keys[0])!r} there and {description.get(keys[0])!r} here; give another --output"
            )

    def heartbeat(self, number: int) -> Heartbeat:
        """Returns the sign of life of a trial."""
        return Heartbeat(self._directory / "heartbeats" / f"trial_{number}")

    def begin(self, space: SearchSpace, limit: int) -> tuple[int, dict[str, Any]] | None:
        """Begins a trial, unless as many as the limit have begun; returns its number and its values.

        A trial whose process has died does not count. The next one repeats it.
        """
        self._give_up_dead_trials()
        if len(self._counted()) >= limit:
            return None
        # Seeds by number, so that no two processes draw the same values, and a search that goes on repeats none.
        self._study.sampler = self._seeded(len(self._study.get_trials(deepcopy=False)))
        trial = self._study.ask()
        self.heartbeat(trial.number).claim()
        if sum(other.number < trial.number for other in self._counted()) >= limit:  # another process was faster
            self._abandon(trial.number)
            return None
        self._study.sampler = self._seeded(trial.number)
        values = space.suggest(trial)
        trial.set_user_attr(CHOSEN, values)
        self._own[trial.number] = trial
        return trial.number, values

    def end(self, number: int, outcome: Outcome) -> None:
        """Records how a trial ended."""
        if outcome.accuracies is None:
            self._tell(number, state=TrialState.FAIL)
        else:
            # Not Optuna's PRUNED, which knows one objective only: what was measured is a valid point, a dominated one.
            with suppress(UpdateFinishedTrialError):  # another process held this one for dead
                self._own[number].set_user_attr(PRUNED, outcome.pruned)
            self._tell(number, values=outcome.accuracies)
        self.heartbeat(number).release()

    def abandon(self, number: int) -> None:
        """Gives a trial back that was interrupted, so that another one repeats it."""
        trial = self._study.get_trials(deepcopy=False)[number]
        if self._abandon(number) and trial.params:
            self._study.enqueue_trial(trial.params)
        self.heartbeat(number).release()

    def running(self) -> list[int]:
        """Returns the numbers of the trials that run in any process."""
        self._give_up_dead_trials()
        return [trial.number for trial in self._trials(TrialState.RUNNING)]

    def completed(self) -> list[FrozenTrial]:
        """Returns the trials with accuracies, in the order in which they ended."""
        return sorted(self._trials(TrialState.COMPLETE), key=lambda trial: trial.datetime_complete or datetime.max)

    def failures(self) -> int:
        """Returns how many trials failed, without those that were repeated."""
        return len(self._counted()) - len(self._trials(TrialState.COMPLETE, TrialState.RUNNING))

    def front(self) -> list[FrozenTrial]:
        """Returns the trials that no other one dominates, by increasing natural accuracy; the first of equal ones."""
        best = {tuple(trial.values): trial for trial in reversed(self._study.best_trials)} if self.completed() else {}
        return [best[accuracies] for accuracies in sorted(best)]

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states)

    def _counted(self) -> Sequence[FrozenTrial]:
        notes = self._study.user_attrs
        failed = [of for of in self._trials(TrialState.FAIL) if f"{ABANDONED} {of.number}" not in notes]
        return [*failed, *self._trials(TrialState.COMPLETE, TrialState.RUNNING)]

    def _give_up_dead_trials(self) -> None:
        for trial in self._trials(TrialState.RUNNING):
            begun = trial.datetime_start or datetime.min
            just_begun = (datetime.now() - begun).total_seconds() < SILENCE
            sign = self.heartbeat(trial.number)
            if not sign.is_alive() and (sign.path.exists() or not just_begun):
                self.abandon(trial.number)

    def _abandon(self, number: int) -> bool:
        self._study.set_user_attr(f"{ABANDONED} {number}", True)
        return self._tell(number, state=TrialState.FAIL)

    def _tell(self, number: int, **result: Any) -> bool:
        """Ends a trial; says whether no other process had done so."""
        with suppress(UpdateFinishedTrialError, ValueError):  # Optuna raises either, as the other was earlier or later
            self._study.tell(number, **result)
            return True
        return False

    def _seeded(self, number: int) -> BaseSampler:
        seed = crc32(f"{self._seed} {number}".encode())
        if self._sampler == "random":
            return RandomSampler(seed=seed)
        if self._sampler == "nsga2":
            return NSGAIISampler(seed=seed, population_size=GENERATION)
        return TPESampler(seed=seed, multivariate=False, constant_liar=True)
