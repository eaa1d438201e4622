"""The stage that says how a served scenario does, from its log."""

from vetrina.monitor.monitor import monitor, persistent_drift

__all__ = ["monitor", "persistent_drift"]
