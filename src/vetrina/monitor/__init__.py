"""Monitoring stage: the health of a served scenario, from daily statistics of its log."""

from vetrina.monitor.monitor import monitor, persistent_drift

__all__ = ["monitor", "persistent_drift"]
