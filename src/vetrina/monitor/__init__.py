"""Says from the logs how a served scenario does."""

from vetrina.monitor.monitor import clicked, monitor

__all__ = ["clicked", "monitor"]
