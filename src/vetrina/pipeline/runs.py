"""Executes a run that was asked for: durably, one at a time in a shop, its outcome on record."""

from collections.abc import Callable

from vetrina.core.errors import Conflict, VetrinaError
from vetrina.core.files import alone
from vetrina.core.types import Release, Source
from vetrina.pipeline.journal import Journal, Result, durably
from vetrina.pipeline.path import path
from vetrina.pipeline.workshop import Workshop
from vetrina.store.runs import Runs


class _Cancellable:
    """A journal that begins no further step of a run that was cancelled: nothing of it is released any more."""

    def __init__(self, journal: Journal, runs: Runs, run: str) -> None:
        self._journal, self._runs, self._run = journal, runs, run

    def step(self, name: str, work: Callable[[], Result]) -> Result:
        if self._runs.get(self._run)["state"] == "cancelled":
            raise Conflict(self._run, "was cancelled", f"vetrina retry {self._run} queues it again")
        return self._journal.step(name, work)


def execute(workshop: Workshop, run: str) -> Release | None:
    """Do a queued run, or go on with one that was cut off. Raises what the path raises; the run is then failed.

    Ctrl-C leaves it running: whoever executes it next goes on after its last finished step.
    """
    runs, shop = workshop.runs, workshop.shop
    with alone(shop.root):
        asked = runs.get(run)
        if under_way := workshop.rollouts.running().get(asked["scenario"]):
            known = under_way.rollout
            rule = f"has release {known.id} among shoppers at {known.share:.0%}"
            raise Conflict(asked["scenario"], rule, f"wait until it ends, or vetrina rollback {asked['scenario']}")
        runs.begin(run)

        def work(journal: Journal) -> Release | None:
            workshop.journal, workshop.run = _Cancellable(journal, runs, run), run
            return path(workshop, Source(), asked["scenario"])

        kept, workshop_journal = f"{run}-{asked['attempts']}", workshop.journal
        try:
            release = durably(kept, work, shop.root, shop.store_url)
        except Exception as error:
            runs.end(run, "failed", str(error) if isinstance(error, VetrinaError) else repr(error)[:2_000])
            raise
        finally:
            workshop.journal, workshop.run = workshop_journal, ""
        runs.end(
            run, "done", f"{release.version} {release.outcome}: {release.note}" if release else "nothing new to do"
        )
    return release
