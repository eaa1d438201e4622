"""Says from the logs how a served scenario does."""

from vetrina.monitor.monitor import monitor

__all__ = ["monitor"]
