"""Retention: deletes bundles, snapshots and cached models that are no longer needed, and data whose time is over.

It never deletes what serves, served recently, is being released, or can be rolled back to.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from vetrina.core import clock
from vetrina.core.errors import Conflict
from vetrina.core.files import exclusive_lock, remove_folder, remove_leftovers, waiting_lock
from vetrina.ingest.lake import QUARANTINE, last_seqs, load_index, prune_events
from vetrina.operate.backup import remove_abandoned_pins
from vetrina.operate.daily_aggregation import RETENTION_DAYS, last_full_day
from vetrina.pipeline.shop_context import ShopContext
from vetrina.scenarios.base import scenario_names
from vetrina.store import daily_statistics, expiry
from vetrina.store.contacts import FREQUENCY_WINDOW
from vetrina.store.run_steps import delete_step_results
from vetrina.train.model_cache import evict

_CACHED_FITS_KEPT = 2  # of each model and data split: a warm start continues the newest on a shorter past
EXPIRY_SECONDS = 60.0  # between two deletions of what has expired
_MAX_BATCHES = 20  # of each table in one of them, so that the controller is not held up
_STEP_RESULT_SECONDS = 7 * clock.DAY  # after the end of a run
_SNAPSHOT_FILE = "snapshot.json"
_SNAPSHOT_NAME_LENGTH = 16  # hex digits of the digest


def clean_up(shop_context: ShopContext) -> int:
    """Delete old versions' files, snapshots that no kept version was made from, and old cached models; returns bytes freed.

    Raises Conflict during an ingest or a run, or while an interrupted run waits to be resumed: its finished steps name
    bundles and a snapshot that no other record names yet.
    """
    with exclusive_lock(shop_context.folder.root):
        run_id = shop_context.runs.next_run()
        if run_id and shop_context.runs.get_run(run_id).state == "running":
            raise Conflict(run_id, "is not finished", f"let it go on, or vetrina cancel {run_id}")
        remove_abandoned_pins(shop_context.folder)
        _prune_lake(shop_context)
        daily_statistics.delete_before(shop_context.engine, last_full_day(clock.now()) - RETENTION_DAYS)
        delete_step_results(shop_context.engine, clock.now() - _STEP_RESULT_SECONDS)

        versions = versions_to_keep(shop_context)
        bundles = set(versions)
        snapshots = set()
        for version in versions:
            record = shop_context.registry.get_version(version)
            bundles.add(record.judged)
            snapshots.add(record.snapshot[:_SNAPSHOT_NAME_LENGTH])
        freed_bytes = shop_context.folder.bundles.collect_garbage(bundles)
        for cache_folder in shop_context.folder.work.glob("*/models"):
            freed_bytes += evict(cache_folder, _CACHED_FITS_KEPT)
        return freed_bytes + _remove_old_snapshots(shop_context, snapshots)


def delete_expired(shop_context: ShopContext) -> int:
    """Delete rows of the store whose time is over, up to a bound; returns how many. Repeat it while it deletes any."""
    engine = shop_context.engine
    keep = shop_context.folder.settings.keep
    now = clock.now()
    release_since = _release_reads_since(shop_context, now)
    events_before = min(now - keep.events_days * clock.DAY, release_since)
    answers_before = min(now - keep.answers_days * clock.DAY, release_since)
    messages_before = min(now - keep.answers_days * clock.DAY, now - FREQUENCY_WINDOW)
    up_to_seq = last_seqs(load_index(shop_context.folder.lake))["events"]
    deletions: list[Callable[[], int]] = [
        partial(expiry.delete_events, engine, events_before, up_to_seq),
        partial(expiry.delete_messages, engine, messages_before),
        partial(expiry.delete_sender_totals, engine, int(now // clock.DAY) - 1),  # a worker's clock may be behind
        partial(expiry.delete_of_ended_rollouts, engine),
    ]
    for scenario in scenario_names():
        deletions.append(partial(expiry.delete_answers, engine, scenario, answers_before))
    return sum(_repeat(deletion) for deletion in deletions)


def _release_reads_since(shop_context: ShopContext, now: float) -> float:
    """The time since which releases read answers and events: those stay, however short the settings are."""
    release = shop_context.folder.settings.release
    starts = [running.rollout.started for running in shop_context.rollouts.running().values()]
    return min([now - (release.pre_period_days + release.cap_days) * clock.DAY, *starts])


def _repeat(deletion: Callable[[], int]) -> int:
    """Delete batches until there are no more, at most ``_MAX_BATCHES``; returns the number of rows."""
    n_rows = 0
    for _ in range(_MAX_BATCHES):
        n_deleted = deletion()
        n_rows += n_deleted
        if not n_deleted:
            break
    return n_rows


def _prune_lake(shop_context: ShopContext) -> None:
    """Delete quarantined rows and, where the settings say so, old events of the lake."""
    keep = shop_context.folder.settings.keep
    lake = shop_context.folder.lake
    now = clock.now()
    for file in (lake / QUARANTINE).glob("*.csv"):
        if _modified_at(file) < now - keep.quarantine_days * clock.DAY:
            file.unlink()
    if keep.lake_days:
        with waiting_lock(lake):
            prune_events(lake, now - keep.lake_days * clock.DAY)


def versions_to_keep(shop_context: ShopContext) -> set[str]:
    """Champions, versions of each scenario's last promotions and of releases that run, and each scenario's newest versions."""
    registry = shop_context.registry
    n_kept = shop_context.folder.settings.operate.keep_versions
    versions: set[str] = set()
    for running in shop_context.rollouts.running().values():
        versions.update((running.rollout.candidate, running.rollout.champion))
    count_by_scenario: dict[str, int] = {}
    for record in registry.list_versions():  # newest first
        scenario = record.scenario
        count_by_scenario[scenario] = count_by_scenario.get(scenario, 0) + 1
        if record.serving or count_by_scenario[scenario] <= n_kept:
            versions.add(record.version)
    for scenario in count_by_scenario:
        for promotion in registry.promotions(scenario)[-n_kept:]:
            versions.add(promotion.new)
            if promotion.old is not None:
                versions.add(promotion.old)
    return versions


def _remove_old_snapshots(shop_context: ShopContext, names_to_keep: set[str]) -> int:
    """Delete snapshots, except the newest, which the next run starts from; returns bytes freed."""
    remove_leftovers(shop_context.folder.snapshots)
    folders = [folder for folder in shop_context.folder.snapshots.glob("*") if (folder / _SNAPSHOT_FILE).exists()]
    newest = max(folders, key=_modified_at, default=None)
    freed_bytes = 0
    for folder in folders:
        if folder != newest and folder.name not in names_to_keep:
            freed_bytes += _unshared_bytes(folder)
            remove_folder(folder)
    return freed_bytes


def _modified_at(folder: Path) -> float:
    return folder.stat().st_mtime


def _unshared_bytes(folder: Path) -> int:
    """Size of the files that no other folder links to: only these free space when they are removed."""
    total = 0
    for file in folder.iterdir():
        if file.stat().st_nlink == 1:
            total += file.stat().st_size
    return total
