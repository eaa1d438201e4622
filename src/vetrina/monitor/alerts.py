"""Alerts from health reports: what needs a person, each with what it means. Pure."""

from collections.abc import Iterator, Sequence

from vetrina.core.evaluation_data import Interval
from vetrina.core.health_types import HealthReport
from vetrina.core.verdicts import Reason
from vetrina.monitor.monitor import persistent_drift
from vetrina.retrain.retrain import MIN_CLICK_LOSS

SHOP_WIDE_PREFIX = "shop-"  # codes that begin so concern the whole shop, whichever scenario's report they come from
_MIN_ANSWERS = 200  # of a day, before missing events mean something
_MIN_REPLAY_OVERLAP = 0.9  # share of the served products that a replay gives again
_MIN_CALIBRATION = 0.8  # outcomes over expected outcomes
_MAX_CALIBRATION = 1.25


def find_alerts(reports: Sequence[HealthReport]) -> tuple[Reason, ...]:
    """Alerts of a scenario, from the reports of its last three days, oldest first. Empty when all is well."""
    if not reports:
        return ()
    newest = reports[-1]
    return (
        *_drift_alerts(reports),
        *_missing_event_alerts(newest),
        *_loss_alerts(newest.estimated_loss),
        *_calibration_alerts(newest.calibration),
        *_skew_alerts(newest.replay_overlap),
    )


def _drift_alerts(reports: Sequence[HealthReport]) -> Iterator[Reason]:
    shared_features = reports[-1].shared
    for name, drift in persistent_drift(reports).items():
        code = f"drift:{name}"
        if name in shared_features:
            code = SHOP_WIDE_PREFIX + code
        text = f"{name} drifted on two of three days (by {drift.moved:.2f} standard deviations between users)"
        yield Reason(code, False, text, {"moved": drift.moved, "p": drift.p})


def _missing_event_alerts(report: HealthReport) -> Iterator[Reason]:
    if report.answers >= _MIN_ANSWERS and not report.events:
        text = f"{report.answers:,} answers and no events: the event feed is down"
        yield Reason(f"{SHOP_WIDE_PREFIX}dead-feed", False, text, {"answers": float(report.answers)})


def _loss_alerts(loss: Interval | None) -> Iterator[Reason]:
    if loss is not None and loss.low >= MIN_CLICK_LOSS:
        text = f"clicks per examined position fell by {loss.point:.0%} (at least {loss.low:.0%})"
        yield Reason("loss", False, text, {"point": loss.point, "low": loss.low})


def _calibration_alerts(calibration: Interval | None) -> Iterator[Reason]:
    if calibration is None:
        return
    if calibration.high < _MIN_CALIBRATION or calibration.low > _MAX_CALIBRATION:
        text = (
            f"outcomes are {calibration.point:.0%} of what the scores predict "
            f"(between {calibration.low:.0%} and {calibration.high:.0%})"
        )
        numbers = {"point": calibration.point, "low": calibration.low, "high": calibration.high}
        yield Reason("calibration", False, text, numbers)


def _skew_alerts(replay_overlap: float | None) -> Iterator[Reason]:
    if replay_overlap is not None and replay_overlap < _MIN_REPLAY_OVERLAP:
        text = f"a replay of logged requests gives {replay_overlap:.0%} of the products that were served: serving is skewed"
        yield Reason("skew", False, text, {"overlap": replay_overlap})
