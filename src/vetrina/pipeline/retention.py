"""Retention: deletes bundles, snapshots, cached models and statistics that are no longer needed.

It never deletes what serves, served recently, is being released, or can be rolled back to.
"""

import shutil
from pathlib import Path

from vetrina.core import clock
from vetrina.core.errors import Conflict
from vetrina.core.files import exclusive_lock
from vetrina.pipeline.daily_aggregation import RETENTION_DAYS, last_full_day
from vetrina.pipeline.shop_context import ShopContext
from vetrina.store import daily_statistics
from vetrina.store.run_steps import delete_step_results
from vetrina.train.model_cache import evict

_CACHED_FITS_KEPT = 2  # of each model and data split: a warm start continues the newest on a shorter past
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
        if run_id and shop_context.runs.get_run(run_id)["state"] == "running":
            raise Conflict(run_id, "is not finished", f"let it go on, or vetrina cancel {run_id}")
        shop_context.rollouts.purge_ended()
        daily_statistics.delete_before(shop_context.engine, last_full_day(clock.now()) - RETENTION_DAYS)
        delete_step_results(shop_context.engine, clock.now() - _STEP_RESULT_SECONDS)

        versions = versions_to_keep(shop_context)
        bundles = set(versions)
        snapshots = set()
        for version in versions:
            record = shop_context.registry.get_version(version)
            bundles.add(record["judged"])
            snapshots.add(record["snapshot"][:_SNAPSHOT_NAME_LENGTH])
        freed_bytes = shop_context.folder.bundles.collect_garbage(bundles)
        for cache_folder in shop_context.folder.work.glob("*/models"):
            freed_bytes += evict(cache_folder, _CACHED_FITS_KEPT)
        return freed_bytes + _remove_old_snapshots(shop_context, snapshots)


def versions_to_keep(shop_context: ShopContext) -> set[str]:
    """Champions, versions of each scenario's last promotions and of releases that run, and each scenario's newest versions."""
    registry = shop_context.registry
    n_kept = shop_context.folder.settings.operate.keep_versions
    versions: set[str] = set()
    for running in shop_context.rollouts.running().values():
        versions.update((running.rollout.candidate, running.rollout.champion))
    count_by_scenario: dict[str, int] = {}
    for record in registry.list_versions():  # newest first
        scenario = record["scenario"]
        count_by_scenario[scenario] = count_by_scenario.get(scenario, 0) + 1
        if record["serving"] or count_by_scenario[scenario] <= n_kept:
            versions.add(record["version"])
    for scenario in count_by_scenario:
        for promotion in registry.promotions(scenario)[-n_kept:]:
            versions.update(version for version in (promotion["from"], promotion["to"]) if version)
    return versions


def _remove_old_snapshots(shop_context: ShopContext, names_to_keep: set[str]) -> int:
    """Delete snapshots, except the newest, which the next run starts from; returns bytes freed."""
    folders = [folder for folder in shop_context.folder.snapshots.glob("*") if (folder / _SNAPSHOT_FILE).exists()]
    newest = max(folders, key=_modified_at, default=None)
    freed_bytes = 0
    for folder in folders:
        if folder != newest and folder.name not in names_to_keep:
            freed_bytes += _unshared_bytes(folder)
            (folder / _SNAPSHOT_FILE).unlink()  # first: a half removed folder is no snapshot any more
            shutil.rmtree(folder)
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
