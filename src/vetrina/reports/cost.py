"""Cost of a version: of making it, of storing it, and of a million of its answers."""

from dataclasses import dataclass

from vetrina.core.errors import NotFound
from vetrina.core.files import size_of
from vetrina.core.serving_usage import ServingUsage
from vetrina.core.settings import OperateSettings
from vetrina.pipeline.shop_context import ShopContext
from vetrina.store.serving_usage import usage_of

_MILLION = 1e6
_SECONDS_PER_HOUR = 3_600.0


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


@dataclass(frozen=True)
class ServingCost:
    """What a million answers of a version cost.

    Attributes:
        version: The version.
        answers: Number of its answers that were measured.
        cpu_seconds: CPU seconds that they took of the service.
        cpu_seconds_per_million: CPU seconds of a million answers.
        watt_hours_per_million: Their energy, estimated from ``[operate] watts``.
        price_per_million: Their price at ``[operate] price_per_cpu_hour``; None where that is not set.
    """

    version: str
    answers: int
    cpu_seconds: float
    cpu_seconds_per_million: float
    watt_hours_per_million: float
    price_per_million: float | None


def serving_cost(shop_context: ShopContext, version: str) -> ServingCost | None:
    """What a million answers of a version cost; None where no service has measured any."""
    usage = usage_of(shop_context.engine, version)
    return cost_of_usage(version, usage, shop_context.folder.settings.operate)


def cost_of_usage(version: str, usage: ServingUsage, settings: OperateSettings) -> ServingCost | None:
    """What a million answers cost, by those that were measured; None without any.

    Args:
        version: the version.
        usage: its answers and their CPU seconds.
        settings: watts and price of a core.
    """
    if not usage.answers:
        return None
    cpu_seconds_per_million = _MILLION * usage.cpu_seconds / usage.answers
    cpu_hours_per_million = cpu_seconds_per_million / _SECONDS_PER_HOUR
    price_per_million = None
    if settings.price_per_cpu_hour:
        price_per_million = cpu_hours_per_million * settings.price_per_cpu_hour
    return ServingCost(
        version=version,
        answers=usage.answers,
        cpu_seconds=usage.cpu_seconds,
        cpu_seconds_per_million=cpu_seconds_per_million,
        watt_hours_per_million=cpu_hours_per_million * settings.watts,
        price_per_million=price_per_million,
    )


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
        watt_hours=cpu_seconds * shop_context.folder.settings.operate.watts / _SECONDS_PER_HOUR,
    )
