"""Steps of a run: an interrupted run resumes after its last finished step.

The path knows only ``Journal``. Results of steps are data of a known type: what is stored of a step is decoded into the type that
the step returns, or it is refused and the step is done again. What is not a run (an ingest alone) is not recorded.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np

from vetrina.core.errors import Conflict
from vetrina.core.keys import BadSignature
from vetrina.core.version import BUNDLE_FORMAT, VERSION
from vetrina.store.run_steps import StepResult, StepResultStore

Result = TypeVar("Result")
_LOG = logging.getLogger("vetrina.run")
# With the format, since the bundle that an earlier step packed has to be readable, too.
_CODE_VERSION = f"{VERSION} format {BUNDLE_FORMAT}"


class Journal(Protocol):
    """Executes each step of a run once."""

    def step(self, name: str, result_type: type[Result], work: Callable[[], Result]) -> Result:
        """The result of ``work``; if an earlier attempt of the same run finished this step, its stored result.

        Args:
            name: Name of the step, unique within the run.
            result_type: Type of the result: dataclasses, numbers and texts, as msgspec decodes them.
            work: What the step does.
        """
        ...


class DirectJournal:
    """No journal: every step is executed when it is called."""

    def step(self, name: str, result_type: type[Result], work: Callable[[], Result]) -> Result:
        """The result of ``work``."""
        return work()


class StoredJournal:
    """Stores the results of steps in the store.

    A step returns what a resumed run would read, so both go on with equal values.
    """

    def __init__(self, results: StepResultStore) -> None:
        self._results = results

    def step(self, name: str, result_type: type[Result], work: Callable[[], Result]) -> Result:
        """The stored result of the step; without one, that of ``work``, once it is stored."""
        try:
            stored = self._results.get(name)
            if stored is not None:
                return _decode(stored, result_type)
        except (BadSignature, msgspec.DecodeError) as error:
            _LOG.warning("step %s is done again: %s", name, error)
            self._results.remove(name)
        self._results.add(name, _encode(work()))
        stored = self._results.get(name)
        if stored is None:
            raise Conflict(f"step {name}", "lost its result to another process", "repeat the run")
        return _decode(stored, result_type)


def _encode(result: object) -> StepResult:
    return StepResult(_CODE_VERSION, msgspec.msgpack.encode(result, enc_hook=_to_plain_value))


def _decode(stored: StepResult, result_type: type[Result]) -> Result:
    """The result of a step. Raises ValidationError where another version stored it, or it is of another type."""
    if stored.code_version != _CODE_VERSION:
        raise msgspec.ValidationError(f"its result is from Vetrina {stored.code_version}")
    return msgspec.msgpack.decode(stored.content, type=result_type, dec_hook=_from_plain_value)


def _to_plain_value(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"a step cannot return {type(value)}")


def _from_plain_value(value_type: type, value: Any) -> object:
    if value_type is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"a step cannot return {value_type}")
