"""Results of the finished steps of runs, signed with the shop's key.

A result is bytes here: what they mean is up to ``pipeline``.
"""

from dataclasses import dataclass

import msgspec
from sqlalchemy import ColumnElement, Engine, delete, insert, select
from sqlalchemy.exc import IntegrityError

from vetrina.core import clock
from vetrina.core.keys import BadSignature, Keys
from vetrina.store.database import read
from vetrina.store.tables import run_steps, runs


@dataclass(frozen=True)
class StepResult:
    """The result of a step, and the version of Vetrina that computed it."""

    code_version: str
    content: bytes


class StepResultStore:
    """Results of the steps of one attempt of a run. A result is written as a whole, and the first one of a step stays.

    Args:
        engine: The store.
        keys: Keys that results are signed with.
        run: Id of the run.
        attempt: Number of the attempt, which ``retry`` raises.
    """

    def __init__(self, engine: Engine, keys: Keys, run: str, attempt: int) -> None:
        self._engine = engine
        self._keys = keys
        self._run = run
        self._attempt = attempt

    def get(self, step: str) -> StepResult | None:
        """The result of a step; None if it was not finished. Raises BadSignature if it was changed."""
        query = select(run_steps).where(*self._is_step(step))
        with read(self._engine) as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        try:
            self._keys.verify(self._signed_content(step, row.code_version, row.result), row.signature)
        except BadSignature:
            raise BadSignature(f"the stored result of step {step!r} of run {self._run} was changed") from None
        return StepResult(row.code_version, row.result)

    def add(self, step: str, result: StepResult) -> None:
        """Store the result of a finished step, unless another process was first."""
        content = self._signed_content(step, result.code_version, result.content)
        row = {
            "run": self._run,
            "attempt": self._attempt,
            "step": step,
            "time": clock.now(),
            "code_version": result.code_version,
            "result": result.content,
            "signature": self._keys.sign(content),
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(run_steps).values(**row))
        except IntegrityError:
            return

    def remove(self, step: str) -> None:
        """Forget the result of a step, so that the step is done again."""
        with self._engine.begin() as connection:
            connection.execute(delete(run_steps).where(*self._is_step(step)))

    def _is_step(self, step: str) -> tuple[ColumnElement[bool], ...]:
        return (run_steps.c.run == self._run, run_steps.c.attempt == self._attempt, run_steps.c.step == step)

    def _signed_content(self, step: str, code_version: str, content: bytes) -> bytes:
        """What is signed: the result with its place, so that no row can stand for another."""
        return msgspec.msgpack.encode((self._run, self._attempt, step, code_version, content))


def delete_step_results(engine: Engine, before: float) -> None:
    """Delete the step results of runs that ended before a time.

    Args:
        engine: The store.
        before: Seconds since 1970.
    """
    ended_runs = select(runs.c.id).where(runs.c.ended < before)
    with engine.begin() as connection:
        connection.execute(delete(run_steps).where(run_steps.c.run.in_(ended_runs)))
