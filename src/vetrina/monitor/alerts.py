"""What of a health report needs a person, each with what it means; pure."""

from collections.abc import Iterator, Sequence

from vetrina.core.health_types import HealthReport
from vetrina.core.types import Reason
from vetrina.monitor.monitor import persistent_drift
from vetrina.retrain.retrain import MIN_CLICK_LOSS

SHOP_WIDE_PREFIX = "shop-"  # codes that begin so concern the whole shop, whichever scenario they were seen at
_MIN_ANSWERS = 200
_MIN_REPLAY_OVERLAP = 0.9
_CALIBRATION_RANGE = (0.8, 1.25)


def find_alerts(reports: Sequence[HealthReport]) -> tuple[Reason, ...]:
    """From the reports of the last three days, oldest first. Empty when all is well."""
    return tuple(_iter_alerts(reports)) if reports else ()


def _iter_alerts(reports: Sequence[HealthReport]) -> Iterator[Reason]:
    health = reports[-1]
    for name, drift in persistent_drift(reports).items():
        text = f"{name} drifted on two of three days (by {drift.moved:.2f} standard deviations of a shopper)"
        code = f"{SHOP_WIDE_PREFIX}drift:{name}" if name in health.shared else f"drift:{name}"
        yield Reason(code, False, text, {"moved": drift.moved, "p": drift.p})
    if health.answers >= _MIN_ANSWERS and not health.events:
        text = f"{health.answers:,} answers and not one event: the feed of events is dead"
        yield Reason(f"{SHOP_WIDE_PREFIX}dead-feed", False, text, {"answers": float(health.answers)})
    lost = health.estimated_loss
    if lost is not None and lost.low >= MIN_CLICK_LOSS:
        text = f"clicks per place looked at fell by {lost.point:.0%} (at least {lost.low:.0%})"
        yield Reason("loss", False, text, {"point": lost.point, "low": lost.low})
    fit = health.calibration
    if fit is not None and (fit.high < _CALIBRATION_RANGE[0] or fit.low > _CALIBRATION_RANGE[1]):
        text = f"{fit.point:.0%} of what scores led to expect happened (between {fit.low:.0%} and {fit.high:.0%})"
        yield Reason("calibration", False, text, {"point": fit.point, "low": fit.low, "high": fit.high})
    if health.replay_overlap is not None and health.replay_overlap < _MIN_REPLAY_OVERLAP:
        text = f"asked again, the version gives {health.replay_overlap:.0%} of the products that were served: serving is skewed"
        yield Reason("skew", False, text, {"overlap": health.replay_overlap})
