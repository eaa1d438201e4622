"""Durable steps of a run (DBOS): an interrupted run resumes after its last finished step.

The path knows only ``Journal``. DBOS stores the results of a run's steps in a database of its own, in the shop's folder or in a
schema of the same PostgreSQL. What is not a run (an ingest alone) is not recorded.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import make_url

from vetrina.core.version import VERSION

Result = TypeVar("Result")
_DATABASE_SCHEMA = "vetrina_runs"


class Journal(Protocol):
    """Executes each step of a run once."""

    def step(self, name: str, work: Callable[[], Result]) -> Result:
        """The result of ``work``; if an earlier attempt of the same run finished this step, its stored result."""
        ...


class DirectJournal:
    """No journal: every step is executed when it is called."""

    def step(self, name: str, work: Callable[[], Result]) -> Result:
        """The result of ``work``."""
        return work()


class DurableJournal:
    """Stores the results of steps with DBOS, inside a durable run."""

    def step(self, name: str, work: Callable[[], Result]) -> Result:
        """The result of ``work``, or the stored one of an earlier attempt."""
        from dbos import DBOS

        return DBOS.run_step({"name": name}, work)


def run_durably(run_id: str, work: Callable[[Journal], Result], folder: Path, store_url: str) -> Result:
    """Execute ``work`` as a durable run.

    Args:
        run_id: Name of the run. The same name again resumes it, or returns its result if it had ended.
        work: Function of a journal, whose steps are stored.
        folder: Where the journal's database lies unless the store is PostgreSQL.
        store_url: URL of the shop's store.

    Returns:
        The result of ``work``.

    Raises:
        Exception: Whatever ``work`` raises.
    """
    from dbos import DBOS, SetWorkflowID

    @DBOS.workflow(name="run")
    def workflow() -> Result:
        return work(DurableJournal())

    DBOS(
        config={
            "name": "vetrina",
            "system_database_url": _database_url(folder, store_url),
            "dbos_system_schema": _DATABASE_SCHEMA,
            "application_version": VERSION,
            "executor_id": run_id,  # at launch an executor resumes its own runs: exactly this one, and no other process does
            "log_level": "CRITICAL",  # errors are raised here and reported once, at the outer edge
        }
    )
    try:
        DBOS.launch()
        if DBOS.get_workflow_status(run_id) is not None:
            return DBOS.retrieve_workflow(run_id).get_result()
        with SetWorkflowID(run_id):
            return workflow()
    finally:
        DBOS.destroy(destroy_registry=True)


def _database_url(folder: Path, store_url: str) -> str:
    """URL of the journal's database: the shop's PostgreSQL, else a SQLite file in the folder."""
    url = make_url(store_url)
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql").render_as_string(hide_password=False)
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'runs.db'}"
