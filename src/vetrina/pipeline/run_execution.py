"""Execution of queued runs: resumed where they were interrupted, one at a time per scenario."""

from collections.abc import Callable

from vetrina.core.errors import Conflict, VetrinaError
from vetrina.core.files import exclusive_lock, shared_lock
from vetrina.core.snapshots import InputFiles
from vetrina.core.verdicts import ReleaseResult
from vetrina.pipeline.path import path
from vetrina.pipeline.shop_context import ShopContext
from vetrina.pipeline.steps import Journal, Result, StoredJournal
from vetrina.store.registry import Registry
from vetrina.store.run_steps import StepResultStore
from vetrina.store.runs import RunStore

_MAX_NOTE_LENGTH = 2_000  # characters of an unexpected error


class _CancellableJournal:
    """A journal that starts no further step of a cancelled run, so that nothing of it is released."""

    def __init__(self, journal: Journal, runs: RunStore, run_id: str) -> None:
        self._journal = journal
        self._runs = runs
        self._run_id = run_id

    def step(self, name: str, result_type: type[Result], work: Callable[[], Result]) -> Result:
        """The result of ``work``. Raises Conflict where the run was cancelled."""
        if self._runs.get_run(self._run_id).state == "cancelled":
            raise Conflict(self._run_id, "was cancelled", f"vetrina retry {self._run_id} queues it again")
        return self._journal.step(name, result_type, work)


def execute_run(shop_context: ShopContext, run_id: str) -> ReleaseResult | None:
    """Execute a queued run, or resume an interrupted one; returns what ``path`` returns.

    Raises what ``path`` raises, after the run is recorded as failed. Ctrl-C leaves the run running: the next execution resumes it
    after its last finished step.
    """
    runs = shop_context.runs
    shop = shop_context.folder
    scenario = runs.get_run(run_id).scenario
    work_folder = shop.work / scenario
    # Runs of different scenarios share the shop; nothing that they need is removed meanwhile.
    with shared_lock(shop.root), exclusive_lock(work_folder):
        runs.start(run_id)
        attempt = runs.get_run(run_id).attempts
        results = StepResultStore(shop_context.engine, shop.keys, run_id, attempt)
        journal_before = shop_context.journal
        shop_context.journal = _CancellableJournal(StoredJournal(results), runs, run_id)
        shop_context.run_id = run_id
        try:
            release = path(shop_context, InputFiles(), scenario)
        except Exception as error:
            runs.finish(run_id, "failed", _error_note(error))
            raise
        finally:
            shop_context.journal = journal_before
            shop_context.run_id = ""
        follow_up = ""
        if release is not None and release.is_quick:
            follow_up = "the full recipe, after the quick one"
        runs.finish(run_id, "done", _result_note(shop_context.registry, release), follow_up)
    return release


def _error_note(error: Exception) -> str:
    if isinstance(error, VetrinaError):
        return str(error)
    return repr(error)[:_MAX_NOTE_LENGTH]


def _result_note(registry: Registry, release: ReleaseResult | None) -> str:
    """The outcome in a line, with the comparison with the version before where the gate made one."""
    if release is None:
        return "nothing new to do"
    recipe = "quick recipe, " if release.is_quick else ""
    note = f"{release.version} {release.outcome}: {recipe}{release.note}"
    for reason in registry.get_verdict(release.verdict).reasons:
        if reason.reference is not None and reason.reference.kind == "champion":
            note += f"; {reason.text}"
    return note
