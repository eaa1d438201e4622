"""The durable journal of a run: each stage's result is kept, so that a run that was cut off goes on after the last one.

The path knows only ``Journal``. DBOS keeps the results of a run in a database of its own, in the shop's folder or in a schema
of the same PostgreSQL; what is no run (an ingest alone) goes straight.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import make_url

from vetrina.core.version import VERSION

Result = TypeVar("Result")
_DATABASE_SCHEMA = "vetrina_runs"


class Journal(Protocol):
    """Does a stage once."""

    def step(self, name: str, work: Callable[[], Result]) -> Result:
        """The result of ``work``; what an earlier attempt of the same run has kept is given back without working."""
        ...


class DirectJournal:
    """No journal: every stage is done when it is called."""

    def step(self, name: str, work: Callable[[], Result]) -> Result:
        """Just do it."""
        return work()


class DurableJournal:
    """Inside a durable run."""

    def step(self, name: str, work: Callable[[], Result]) -> Result:
        """A DBOS step."""
        from dbos import DBOS

        return DBOS.run_step({"name": name}, work)


def run_durably(run_id: str, work: Callable[[Journal], Result], root: Path, store_url: str) -> Result:
    """Do ``work`` as the durable run ``run``; the same id again goes on where it was cut off.

    Raises what ``work`` raises. A run that ended gives its result again.
    """
    from dbos import DBOS, SetWorkflowID

    @DBOS.workflow(name="run")
    def workflow() -> Result:
        return work(DurableJournal())

    DBOS(
        config={
            "name": "vetrina",
            "system_database_url": _database_url(root, store_url),
            "dbos_system_schema": _DATABASE_SCHEMA,
            "application_version": VERSION,
            "executor_id": run_id,  # at launch an executor takes up what it left: exactly this run, in no other process
            "log_level": "CRITICAL",  # what goes wrong is raised here and said once, at the outer edge
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


def _database_url(root: Path, store_url: str) -> str:
    url = make_url(store_url)
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql").render_as_string(hide_password=False)
    (root / "work").mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{root / 'work' / 'runs.db'}"
