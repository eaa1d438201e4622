"""Executes a run that was asked for: durably, one at a time in a shop, its outcome on record."""

from collections.abc import Callable

from vetrina.core.errors import Conflict, VetrinaError
from vetrina.core.files import exclusive_lock
from vetrina.core.types import InputFiles, ReleaseResult
from vetrina.pipeline.path import path
from vetrina.pipeline.shop_context import ShopContext
from vetrina.pipeline.steps import Journal, Result, run_durably
from vetrina.store.runs import RunStore


class _CancellableJournal:
    """A journal that begins no further step of a run that was cancelled: nothing of it is released any more."""

    def __init__(self, journal: Journal, runs: RunStore, run_id: str) -> None:
        self._journal = journal
        self._runs = runs
        self._run_id = run_id

    def step(self, name: str, work: Callable[[], Result]) -> Result:
        if self._runs.get_run(self._run_id)["state"] == "cancelled":
            raise Conflict(self._run_id, "was cancelled", f"vetrina retry {self._run_id} queues it again")
        return self._journal.step(name, work)


def execute_run(shop_context: ShopContext, run_id: str) -> ReleaseResult | None:
    """Do a queued run, or go on with one that was cut off. Raises what the path raises; the run is then failed.

    Ctrl-C leaves it running: whoever executes it next goes on after its last finished step.
    """
    runs = shop_context.runs
    shop = shop_context.folder
    with exclusive_lock(shop.root):
        asked = runs.get_run(run_id)
        if under_way := shop_context.rollouts.running().get(asked["scenario"]):
            known = under_way.rollout
            rule = f"has release {known.id} among shoppers at {known.canary_share:.0%}"
            raise Conflict(asked["scenario"], rule, f"wait until it ends, or vetrina rollback {asked['scenario']}")
        runs.start(run_id)

        def work(journal: Journal) -> ReleaseResult | None:
            shop_context.journal = _CancellableJournal(journal, runs, run_id)
            shop_context.run_id = run_id
            return path(shop_context, InputFiles(), asked["scenario"])

        kept = f"{run_id}-{asked['attempts']}"
        workshop_journal = shop_context.journal
        try:
            release = run_durably(kept, work, shop.root, shop.store_url)
        except Exception as error:
            runs.finish(run_id, "failed", str(error) if isinstance(error, VetrinaError) else repr(error)[:2_000])
            raise
        finally:
            shop_context.journal = workshop_journal
            shop_context.run_id = ""
        runs.finish(
            run_id, "done", f"{release.version} {release.outcome}: {release.note}" if release else "nothing new to do"
        )
    return release
