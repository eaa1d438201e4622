"""Release stage: turns a verdict into a release decision."""

from vetrina.release.decision_time import TrafficEstimate, days_to_decision
from vetrina.release.kind_of_change import VersionOrigin, kind_of_change
from vetrina.release.release import LiveTraffic, decide_release

__all__ = ["LiveTraffic", "TrafficEstimate", "VersionOrigin", "days_to_decision", "decide_release", "kind_of_change"]
