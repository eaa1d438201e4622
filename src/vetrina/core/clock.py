"""Current time, from one place that tests can replace."""

import time

DAY = 86_400.0  # seconds


def now() -> float:
    """Seconds since 1970-01-01 UTC."""
    return time.time()
