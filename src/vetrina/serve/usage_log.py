"""Writes what this worker's answers cost to the store, every minute, so that all workers of a shop are counted."""

import logging
import time

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from vetrina.core.errors import describe_cause
from vetrina.core.serving_usage import ServingUsage
from vetrina.serve.answer_usage import AnswerUsage
from vetrina.store.serving_usage import add_usage

_WRITE_SECONDS = 60.0  # between two writes
_LOG = logging.getLogger("vetrina.serve")


class UsageLog:
    """Writes the usage that was not written yet. What cannot be written now is written later.

    Args:
        engine: the store.
        usage: counts the answers of this process.
    """

    def __init__(self, engine: Engine, usage: AnswerUsage) -> None:
        self._engine = engine
        self._usage = usage
        self._written: dict[str, ServingUsage] = {}
        self._due_at = time.monotonic() + _WRITE_SECONDS

    def refresh(self) -> None:
        """Write, every minute."""
        now = time.monotonic()
        if now >= self._due_at:
            self._write()
            self._due_at = now + _WRITE_SECONDS

    def close(self) -> None:
        """Write what the last minute took; a store that is away does not hold up the end of the process."""
        try:
            self._write()
        except SQLAlchemyError as error:
            _LOG.warning("what the last answers cost could not be written (%s)", describe_cause(error))

    def _write(self) -> None:
        totals = {version: usage for (_, version), usage in self._usage.total().items()}
        unwritten: dict[str, ServingUsage] = {}
        for version, usage in totals.items():
            difference = usage - self._written.get(version, ServingUsage())
            if difference.answers:
                unwritten[version] = difference
        if unwritten:
            add_usage(self._engine, unwritten)
            self._written = totals
