"""Removes what nothing needs any more. Never what serves, served before, is among shoppers or may be gone back to."""

import shutil

from vetrina.core import clock
from vetrina.core.errors import Conflict
from vetrina.core.files import alone
from vetrina.pipeline.watch import MEMORY_DAYS, last_full_day
from vetrina.pipeline.workshop import Workshop
from vetrina.store import days
from vetrina.train.fitted import forget

_FITTED_KEPT = 2  # of each model and form: a warm start begins from the newest with a shorter past


def clean(workshop: Workshop) -> int:
    """Old versions' files, snapshots that no kept version was made from, and models fitted long ago. Returns the bytes set free.

    Raises Conflict while an ingest or a run is under way, or a run that was cut off is still to go on: its finished steps
    name bundles and a snapshot that are on no other record yet.
    """
    with alone(workshop.shop.root):
        waiting = workshop.runs.next()
        if waiting and workshop.runs.get(waiting)["state"] == "running":
            raise Conflict(waiting, "is not finished", f"let it go on, or vetrina cancel {waiting}")
        workshop.rollouts.forget_ended()
        days.forget(workshop.engine, last_full_day(clock.now()) - MEMORY_DAYS)
        keep = kept_versions(workshop)
        registry = workshop.registry
        shown = {v: registry.show(v) for v in keep}
        files = keep | {s["judged"] for s in shown.values()}
        snapshots = {s["snapshot"][:16] for s in shown.values()}
        freed = workshop.shop.bundles.collect(files)
        fitted = sum(forget(folder, _FITTED_KEPT) for folder in workshop.shop.work.glob("*/models"))
        return freed + fitted + _old_snapshots(workshop, snapshots)


def kept_versions(workshop: Workshop) -> set[str]:
    """Champions, every version that served in a scenario's last promotions, candidates, and the newest of each scenario."""
    registry, most = workshop.registry, workshop.shop.settings.operate.keep_versions
    keep = {k.rollout.candidate for k in workshop.rollouts.running().values()}
    newest: dict[str, int] = {}
    for row in registry.all():
        newest[row["scenario"]] = newest.get(row["scenario"], 0) + 1
        if row["serving"] or newest[row["scenario"]] <= most:
            keep.add(row["version"])
    for scenario in newest:
        for entry in registry.promotions(scenario)[-most:]:
            keep |= {v for v in (entry["from"], entry["to"]) if v}
    return keep


def _old_snapshots(workshop: Workshop, keep: set[str]) -> int:
    """The newest snapshot stays: the next run begins with it."""
    folders = [f for f in workshop.shop.snapshots.glob("*") if (f / "snapshot.json").exists()]
    newest = max(folders, key=lambda f: f.stat().st_mtime, default=None)
    freed = 0
    for folder in folders:
        if folder != newest and folder.name not in keep:
            freed += sum(f.stat().st_size for f in folder.iterdir() if f.stat().st_nlink == 1)
            (folder / "snapshot.json").unlink()  # first: what is half removed is no snapshot any more
            shutil.rmtree(folder)
    return freed
