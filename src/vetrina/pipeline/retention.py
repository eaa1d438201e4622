"""Removes what nothing needs any more. Never what serves, served before, is among shoppers or may be gone back to."""

import shutil

from vetrina.core import clock
from vetrina.core.errors import Conflict
from vetrina.core.files import exclusive_lock
from vetrina.pipeline.daily_aggregation import RETENTION_DAYS, last_full_day
from vetrina.pipeline.shop_context import ShopContext
from vetrina.store import daily_statistics
from vetrina.train.model_cache import evict

_CACHED_FITS_KEPT = 2  # of each model and form: a warm start begins from the newest with a shorter past


def clean_up(shop_context: ShopContext) -> int:
    """Old versions' files, snapshots that no kept version was made from, and models fitted long ago. Returns the bytes set free.

    Raises Conflict while an ingest or a run is under way, or a run that was cut off is still to go on: its finished steps
    name bundles and a snapshot that are on no other record yet.
    """
    with exclusive_lock(shop_context.folder.root):
        waiting = shop_context.runs.next_run()
        if waiting and shop_context.runs.get_run(waiting)["state"] == "running":
            raise Conflict(waiting, "is not finished", f"let it go on, or vetrina cancel {waiting}")
        shop_context.rollouts.purge_ended()
        daily_statistics.delete_before(shop_context.engine, last_full_day(clock.now()) - RETENTION_DAYS)
        keep = versions_to_keep(shop_context)
        registry = shop_context.registry
        shown = {v: registry.get_version(v) for v in keep}
        files = keep | {s["judged"] for s in shown.values()}
        snapshots = {s["snapshot"][:16] for s in shown.values()}
        freed = shop_context.folder.bundles.collect_garbage(files)
        fitted = sum(evict(folder, _CACHED_FITS_KEPT) for folder in shop_context.folder.work.glob("*/models"))
        return freed + fitted + _remove_old_snapshots(shop_context, snapshots)


def versions_to_keep(shop_context: ShopContext) -> set[str]:
    """Champions, every version that served in a scenario's last promotions, candidates, and the newest of each scenario."""
    registry = shop_context.registry
    most = shop_context.folder.settings.operate.keep_versions
    keep = {k.rollout.candidate for k in shop_context.rollouts.running().values()}
    newest: dict[str, int] = {}
    for row in registry.list_versions():
        newest[row["scenario"]] = newest.get(row["scenario"], 0) + 1
        if row["serving"] or newest[row["scenario"]] <= most:
            keep.add(row["version"])
    for scenario in newest:
        for entry in registry.promotions(scenario)[-most:]:
            keep |= {v for v in (entry["from"], entry["to"]) if v}
    return keep


def _remove_old_snapshots(shop_context: ShopContext, keep: set[str]) -> int:
    """The newest snapshot stays: the next run begins with it."""
    folders = [f for f in shop_context.folder.snapshots.glob("*") if (f / "snapshot.json").exists()]
    newest = max(folders, key=lambda f: f.stat().st_mtime, default=None)
    freed = 0
    for folder in folders:
        if folder != newest and folder.name not in keep:
            freed += sum(f.stat().st_size for f in folder.iterdir() if f.stat().st_nlink == 1)
            (folder / "snapshot.json").unlink()  # first: what is half removed is no snapshot any more
            shutil.rmtree(folder)
    return freed
