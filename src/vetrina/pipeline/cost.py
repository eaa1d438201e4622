"""What a version took to make and takes to keep."""

from dataclasses import dataclass

from vetrina.core.errors import NotFound
from vetrina.core.files import size_of
from vetrina.pipeline.shop_context import ShopContext


@dataclass(frozen=True)
class Cost:
    """Wall and processor seconds of the run that made it, its peak of memory, megabytes on disk (parts shared with other
    versions included), and watt-hours, estimated from processor seconds and ``[operate] watts``."""

    version: str
    seconds: float
    cpu_seconds: float
    peak_mb: float
    storage_mb: float
    watt_hours: float


def cost(shop_context: ShopContext, version: str) -> Cost | None:
    """None for a version whose run is not on record, one of an earlier Vetrina. Raises NotFound for an unknown version."""
    run = shop_context.registry.get_version(version)["notes"].get("run")
    try:
        stages = shop_context.runs.get_run(run)["stages"] if run else []
    except NotFound:
        return None
    if not stages:
        return None
    folder = shop_context.folder.bundles.folder / version
    worked = sum(s["cpu_seconds"] or 0.0 for s in stages)
    return Cost(
        version,
        sum(s["seconds"] for s in stages),
        worked,
        max(s["peak_mb"] for s in stages),
        size_of(folder) / 1e6 if folder.exists() else 0.0,
        worked * shop_context.folder.settings.operate.watts / 3_600.0,
    )
