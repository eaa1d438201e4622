"""Cost of a version: time, memory, storage and estimated energy."""

from dataclasses import dataclass

from vetrina.core.errors import NotFound
from vetrina.core.files import size_of
from vetrina.pipeline.shop_context import ShopContext


@dataclass(frozen=True)
class Cost:
    """Cost of the run that made a version, and of storing it.

    Wall and CPU seconds, peak memory in megabytes, megabytes on disk (parts shared with other versions included), and watt-hours
    estimated from CPU seconds and ``[operate] watts``.
    """

    version: str
    seconds: float
    cpu_seconds: float
    peak_mb: float
    storage_mb: float
    watt_hours: float


def cost(shop_context: ShopContext, version: str) -> Cost | None:
    """The cost of a version; None where its run is not recorded. Raises NotFound for an unknown version."""
    run_id = shop_context.registry.get_version(version).run
    if not run_id:
        return None
    try:
        stages = shop_context.runs.get_run(run_id).stages
    except NotFound:
        return None
    if not stages:
        return None
    folder = shop_context.folder.bundles.folder / version
    storage_mb = 0.0
    if folder.exists():
        storage_mb = size_of(folder) / 1e6
    cpu_seconds = sum(stage.cpu_seconds or 0.0 for stage in stages)
    return Cost(
        version=version,
        seconds=sum(stage.seconds for stage in stages),
        cpu_seconds=cpu_seconds,
        peak_mb=max(stage.peak_mb for stage in stages),
        storage_mb=storage_mb,
        watt_hours=cpu_seconds * shop_context.folder.settings.operate.watts / 3_600.0,
    )
