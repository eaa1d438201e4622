"""Where the real data lies."""

import os
from pathlib import Path


class MissingData(Exception):
    """The data set is not on this machine."""


def folder(name: str) -> Path:
    """A folder below VETRINA_BENCH_DATA. Raises MissingData."""
    root = os.environ.get("VETRINA_BENCH_DATA", "")
    path = Path(root) / name
    if not root or not path.exists():
        raise MissingData(f"{name} is not there; set VETRINA_BENCH_DATA to the folder that holds it")
    return path
