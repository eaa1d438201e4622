"""Bundles: what is served."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bundle:
    """A signed manifest of content-addressed parts with everything that a scenario needs for serving.

    Attributes:
        digest: SHA-256 of the manifest.
        parts: SHA-256 of each file, by its path within the bundle.
        notes: Facts of the training run for reports and serving.
    """

    digest: str
    scenario: str
    parts: Mapping[str, str]
    notes: Mapping[str, Any]

    @property
    def version(self) -> str:
        """Name of the version: the scenario and the first digits of the digest."""
        return f"{self.scenario}-{self.digest[:12]}"
