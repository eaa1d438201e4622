"""The live side of an answer: which bundle serves, what users did since it was built, what the catalogue gained.

Each worker follows the store: the pointer, the product log and the newest events are all read by number.
"""

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from vetrina.core import plugins
from vetrina.core.columns import EVENT_WEIGHTS
from vetrina.core.delta import Delta
from vetrina.core.errors import NotReady, VetrinaError
from vetrina.security.keys import Keys
from vetrina.store import bundles, eventlog, products
from vetrina.store.registry import Registry

FOLLOW_SECONDS = 0.25
_LOG = logging.getLogger("vetrina.serve")


@dataclass(frozen=True)
class Serving:
    """One opened version."""

    version: str
    opened: Any


class Champions:
    """Opened bundles by scenario; swapped whole, so that a request sees one version from start to end."""

    def __init__(self, registry: Registry, folder: Path, keys: Keys) -> None:
        self._registry, self._folder, self._keys = registry, folder, keys
        self._serving: dict[str, Serving] = {}
        self._broken: set[str] = set()

    def refresh(self) -> None:
        """Follow the pointer. A version that does not open is left aside and the one before goes on."""
        for scenario, version in self._registry.champions().items():
            current = self._serving.get(scenario)
            if (current and current.version == version) or version in self._broken:
                continue
            try:
                self._serving[scenario] = Serving(version, self._open(scenario, version))
            except (VetrinaError, OSError, ValueError, KeyError) as error:
                self._broken.add(version)
                _LOG.error("%s does not open (%s); the version before it goes on", version, error)

    def get(self, scenario: str) -> Serving:
        """What serves. Raises NotReady."""
        found = self._serving.get(scenario)
        if found is None:
            raise NotReady(scenario, "has no released version yet", f"run `vetrina run {scenario}`")
        return found

    def all(self) -> Mapping[str, str]:
        """Versions by scenario."""
        return {scenario: serving.version for scenario, serving in self._serving.items()}

    def _open(self, scenario: str, version: str) -> Any:
        _, folder = bundles.unpack(version, self._folder, self._keys, check_parts=True)
        return plugins.part("scenarios", scenario, "online").open(folder)


class StoredEvents:
    """RecentEvents from the store."""

    def __init__(self, engine: Engine, weights: Mapping[str, float]) -> None:
        self._engine, self._weights = engine, {**EVENT_WEIGHTS, **weights}

    def of(
        self, user: str | None, session: str | None, until: float, logged: int
    ) -> Iterable[tuple[str, float, float]]:
        """(product_id, time, weight) of weighted events that a bundle does not know, oldest first."""
        for event in eventlog.recent(self._engine, user, session, until, logged):
            weight = self._weights.get(event["type"], 0.0)
            if weight > 0 and event.get("product_id"):
                yield event["product_id"], event["time"], weight


class StoredChanges:
    """CatalogueDelta from the product log."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._seq = engine, 0
        self._latest: dict[str, tuple[int, dict[str, Any] | None]] = {}
        self._views: dict[int, Delta] = {}

    def refresh(self) -> None:
        """Read what came after the last number seen."""
        while found := products.changes(self._engine, self._seq):
            self._latest = self._latest | {product_id: (seq, body) for seq, product_id, body in found}
            self._seq = found[-1][0]
            self._views = {}

    def after(self, logged: int) -> Delta:
        """What a bundle that holds the log up to number ``logged`` does not know. Deleted stays deleted for all."""
        views = self._views
        if logged not in views:
            latest = self._latest
            changed = {p: body for p, (seq, body) in latest.items() if body is not None and seq > logged}
            views[logged] = Delta(changed, frozenset(p for p, (_, body) in latest.items() if body is None))
        return views[logged]


class Follower:
    """One thread that refreshes both; every change is seen within FOLLOW_SECONDS and the time to open a bundle."""

    def __init__(self, champions: Champions, changes: StoredChanges) -> None:
        self._champions, self._changes = champions, changes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    def start(self) -> None:
        """Open what serves, then follow."""
        self.once()
        self._thread.start()

    def once(self) -> None:
        """One look at the store."""
        self._champions.refresh()
        self._changes.refresh()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stop.wait(FOLLOW_SECONDS):
            try:
                self.once()
            except Exception:  # noqa: BLE001 - a store that is away for a moment must not end the thread
                _LOG.exception("the store could not be read; the last state goes on")
