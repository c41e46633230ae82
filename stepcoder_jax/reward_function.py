"""From the import path in a recipe to a reward function, and from its answer to numbers."""

import importlib
import inspect
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Float32, Int
from stepcoder_executor import Verdict

from stepcoder_jax.config import ConfigError, ExecutorSettings, RewardConfig
from stepcoder_jax.rewards import NEEDS_ALL_TESTS, Outcome, Reward, RewardFunction, Weight


class RewardError(ValueError):
    """A reward function's answer cannot be used; the message names both."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A recipe's reward function, ready to be called.

    Attributes:
        config: what the function is given, and the bound of every score.
    """

    function: RewardFunction
    config: RewardConfig

    def __call__(self, outcome: Outcome) -> Reward | None:
        """What a program is worth, within `reward.clip`; None drops its sample, never scored.

        What the executor could not judge is dropped before the function sees it.

        Raises:
            RewardError: an answer of another type, a score that is not finite, weights that are
                negative, not finite or outside the program.
        """
        if outcome.result.verdict is Verdict.EXECUTOR_ERROR:
            return None
        try:
            answer = self.function(outcome, self.config)
        except Exception as error:
            error.add_note(f"in {self._name}, of problem {outcome.problem.id!r}")
            raise
        if answer is None:
            return None
        found = answer if isinstance(answer, Reward) else Reward(score=self._number(answer))
        weights = tuple(found.weights)
        for weight in weights:
            self._check(weight, len(outcome.program))
        return Reward(score=self._clipped(self._number(found.score)), weights=weights)

    @property
    def _name(self) -> str:
        return f"reward.function = {self.config.function!r}"

    def _number(self, value: object) -> float:
        """A score as a float."""
        if isinstance(value, bool) or not isinstance(value, Real):
            wanted = "a Reward, a number or None"
            raise RewardError(f"{self._name} gave {value!r}: it must give {wanted}")
        if not math.isfinite(value):
            raise RewardError(f"{self._name} gave the score {value}: it must be finite")
        return float(value)

    def _clipped(self, score: float) -> float:
        clip = self.config.clip
        return score if clip is None else min(max(score, -clip), clip)

    def _check(self, weight: object, length: int) -> None:
        if not isinstance(weight, Weight):
            raise RewardError(f"{self._name} gave the weight {weight!r}: each must be a Weight")
        if not (_is_whole(weight.start) and _is_whole(weight.end)):
            raise RewardError(f"{self._name} gave {weight}: start and end must be whole numbers")
        if not 0 <= weight.start <= weight.end <= length:
            allowed = f"start <= end, within the program's 0 … {length}"
            raise RewardError(f"{self._name} gave {weight}: {allowed}")
        if not (math.isfinite(weight.value) and weight.value >= 0):
            raise RewardError(f"{self._name} gave {weight}: its value must be finite, at least 0")


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral)


def resolve_reward(reward: RewardConfig, executor: ExecutorSettings) -> Judge:
    """Imports the function that a recipe names, from the installed packages or from this folder.

    Args:
        reward: `function` is `module:function`.
        executor: must run every test where the function counts them.

    Raises:
        ConfigError: no such module, nothing of that name in it, or nothing that can be called with
            an outcome and the settings.
    """
    path = reward.function
    name, colon, attribute = path.partition(":")
    if not (name and colon and attribute):
        raise _unusable(path, "an import path looks like my_rewards:my_function")
    module = _import(name, path)
    if not hasattr(module, attribute):
        raise _unusable(path, f"module {name!r} ({module.__file__}) has no {attribute!r}")
    function = getattr(module, attribute)
    if not callable(function):
        raise _unusable(path, f"{attribute!r} is {type(function).__name__}, not a function")
    _require_two_arguments(function, path)
    if getattr(function, NEEDS_ALL_TESTS, False) and not executor.run_all:
        raise _unusable(path, "it counts the tests that pass: set executor.run_all = true")
    return Judge(function=function, config=reward)


def _require_two_arguments(function: RewardFunction, path: str) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:
        # Written in C: it does not say.
        return
    try:
        signature.bind(None, None)
    except TypeError as error:
        wanted = "it must take two arguments, the outcome and the recipe's reward"
        raise _unusable(path, f"{wanted}, and takes {signature} ({error})") from error


def _unusable(path: str, why: str) -> ConfigError:
    return ConfigError(f"reward.function = {path!r}: {why}")


def _import(name: str, path: str) -> ModuleType:
    """A module, which may be a file in the folder that the command was called in."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
        importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            why = f"there is no module {error.name!r} among the packages or in {here}"
            raise _unusable(path, why) from error
        raise _unusable(path, f"module {name!r} cannot be imported: {error}") from error
    except Exception as error:
        why = f"module {name!r} cannot be imported: {type(error).__name__}: {error}"
        raise _unusable(path, why) from error


def token_weights(
    weights: Sequence[Weight], length: int, token_spans: Int[np.ndarray, "R 2"]
) -> Float32[np.ndarray, " R"]:
    """What each response token counts in the policy loss: the mean over its characters.

    Args:
        weights: of a program's characters; the later one holds where two overlap, 1 where none is.
        length: of the program.
        token_spans: half-open code points that each token wrote. A token that wrote none of the
            program, as those that end the response, counts 1.
    """
    of_character = np.ones(length)
    for weight in weights:
        of_character[weight.start : weight.end] = weight.value
    total = np.append(0.0, np.cumsum(of_character))
    starts, ends = token_spans[:, 0], token_spans[:, 1]
    characters = ends - starts
    mean = (total[ends] - total[starts]) / np.maximum(characters, 1)
    return np.where(characters > 0, mean, 1.0).astype(np.float32)
