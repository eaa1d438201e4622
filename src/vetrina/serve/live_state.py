"""The live side of an answer: which bundle serves, what users did since it was built, what the catalogue gained.

Each worker follows the store: the pointer, the product log and the newest events are all read by number.
"""

import logging
import threading
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from vetrina.core import plugins
from vetrina.core.columns import EVENT_WEIGHTS
from vetrina.core.delta_index import DeltaIndex
from vetrina.core.errors import NotReady, OtherFormat, VetrinaError
from vetrina.scenarios import samples
from vetrina.serve.canary import CandidateClient, ShadowLogger
from vetrina.serve.spend_ledger import StoredSpendLedger
from vetrina.store import event_log, products
from vetrina.store.bundles import BundleStore
from vetrina.store.products import Change
from vetrina.store.registry import Registry
from vetrina.store.rollouts import RolloutStore

POLL_SECONDS = 0.25
_LOG = logging.getLogger("vetrina.serve")


@dataclass(frozen=True)
class ServedVersion:
    """One opened version."""

    version: str
    loaded_bundle: Any


class LoadedBundles:
    """Versions that this worker has open, each once, whoever uses it."""

    def __init__(self, bundles: BundleStore) -> None:
        self._bundles = bundles
        self._loaded: dict[str, Any] = {}
        self._failed_versions: dict[str, Exception] = {}

    def get(self, scenario: str, version: str) -> Any | None:
        """The opened version, its parts checked; None if it does not open."""
        if version in self._failed_versions:
            return None
        if version not in self._loaded:
            try:
                bundle, folder = self._bundles.unpack(version, check_parts=True)
                samples.verify_samples(scenario, folder, bundle.notes.get("samples"))
                self._loaded[version] = plugins.load_module("scenarios", scenario, "online").load(folder)
            except (VetrinaError, OSError, ValueError, KeyError) as error:
                self._failed_versions[version] = error
                _LOG.error("%s does not open (%s)", version, error)
                return None
        return self._loaded[version]

    def fault(self, version: str) -> Exception | None:
        """Why a version did not open."""
        return self._failed_versions.get(version)

    def retain(self, versions: Set[str]) -> None:
        """Let go of all others."""
        self._loaded = {v: o for v, o in self._loaded.items() if v in versions}


class Champions:
    """What serves, by scenario; swapped whole, so that a request sees one version from start to end.

    The version before it stays open: going back is as quick as the pointer.
    """

    def __init__(self, registry: Registry, loaded_bundles: LoadedBundles) -> None:
        self._registry = registry
        self._loaded_bundles = loaded_bundles
        self._serving: dict[str, ServedVersion] = {}
        self._previous_versions: dict[str, str] = {}
        self._faults: dict[str, Exception | None] = {}  # why what the pointer says does not serve

    def refresh(self) -> None:
        """Follow the pointer. A version that does not open is left aside and the one before goes on."""
        for scenario, version in self._registry.champions().items():
            current = self._serving.get(scenario)
            if current and current.version == version:
                continue
            opened = self._loaded_bundles.get(scenario, version)
            if opened is None:
                self._faults[scenario] = self._loaded_bundles.fault(version)
                continue
            self._serving[scenario] = ServedVersion(version, opened)
            if current:
                self._previous_versions[scenario] = current.version

    def get(self, scenario: str) -> ServedVersion:
        """What serves. Raises NotReady."""
        found = self._serving.get(scenario)
        if found is not None:
            return found
        fault = self._faults.get(scenario)
        if isinstance(fault, OtherFormat):
            raise OtherFormat(fault.value, fault.rule, fault.way_out)
        raise NotReady(scenario, "has no released version yet", f"run `vetrina run {scenario}`")

    def refused(self) -> dict[str, str]:
        """By scenario, what is wrong and the way out where another Vetrina wrote the champion's bundle and nothing serves."""
        waiting = {scenario: fault for scenario, fault in self._faults.items() if scenario not in self._serving}
        return {scenario: str(fault) for scenario, fault in waiting.items() if isinstance(fault, OtherFormat)}

    def all(self) -> Mapping[str, str]:
        """Versions by scenario."""
        return {scenario: serving.version for scenario, serving in self._serving.items()}

    def versions_in_use(self) -> set[str]:
        """Versions that must stay open."""
        return {*self.all().values(), *self._previous_versions.values()}


class CandidateClients:
    """Candidates among shoppers, by scenario, as the store says."""

    def __init__(
        self, rollouts: RolloutStore, loaded_bundles: LoadedBundles, timeout_seconds: float, log_shadow: ShadowLogger
    ) -> None:
        self._rollouts = rollouts
        self._loaded_bundles = loaded_bundles
        self._timeout_seconds = timeout_seconds
        self._log_shadow = log_shadow
        self._clients: dict[str, CandidateClient] = {}

    def refresh(self) -> None:
        """Follow the releases under way: their start, their steps, their end."""
        found: dict[str, CandidateClient] = {}
        for scenario, known in self._rollouts.running().items():
            current = self._clients.get(scenario)
            if current is not None and current.rollout.id == known.rollout.id:
                found[scenario] = current.set_rollout(known.rollout)
            else:
                candidate = self._loaded_bundles.get(scenario, known.rollout.candidate)
                found[scenario] = CandidateClient(known.rollout, candidate, self._timeout_seconds, self._log_shadow)
        ended = [t for s, t in self._clients.items() if found.get(s) is not t]
        self._clients = found
        for trial in ended:
            trial.close()

    def get(self, scenario: str) -> CandidateClient | None:
        """The candidate of a scenario, if one is among shoppers."""
        return self._clients.get(scenario)

    def versions_in_use(self) -> set[str]:
        """Versions that must stay open."""
        return {t.rollout.candidate for t in self._clients.values()}


class StoredEvents:
    """RecentEvents from the store; ``as_of`` a moment when something is asked again."""

    def __init__(self, engine: Engine, weights: Mapping[str, float], as_of: float | None = None) -> None:
        self._engine = engine
        self._weights = {**EVENT_WEIGHTS, **weights}
        self._as_of = as_of

    def for_user(
        self, user: str | None, session: str | None, since: float, after_seq: int
    ) -> Iterable[tuple[str, float, float]]:
        """(product_id, time, weight) of weighted events that a bundle does not know, oldest first."""
        for event in event_log.recent_events(self._engine, user, session, since, after_seq, as_of=self._as_of):
            weight = self._weights.get(event["type"], 0.0)
            if weight > 0 and event.get("product_id"):
                yield event["product_id"], event["time"], weight


class StoredChanges:
    """CatalogueDelta from the product log, read up to number ``seq``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.seq = 0
        self._latest: dict[str, Change] = {}
        self._views: dict[int, DeltaIndex] = {}

    def refresh(self) -> None:
        """Read what came after the last number seen."""
        while found := products.changes_after(self._engine, self.seq):
            latest = dict(self._latest)
            for change in found:
                latest[change.product_id] = _with_number_of_statement(change, latest.get(change.product_id))
            self._latest = latest
            self.seq = found[-1].seq
            self._views = {}

    def changes_after(self, after_seq: int) -> DeltaIndex:
        """What a bundle that holds the log up to number ``logged`` does not know. Deleted stays deleted for all."""
        views = self._views
        if after_seq not in views:
            latest = self._latest.values()
            deleted = frozenset(c.product_id for c in latest if c.product is None)
            since = [c for c in latest if c.seq > after_seq]
            changed = {c.product_id: c.product for c in since if c.product is not None}
            images = {c.product_id: c.image for c in since if c.image is not None}
            views[after_seq] = DeltaIndex(changed, deleted, images)
        return views[after_seq]


def _with_number_of_statement(change: Change, before: Change | None) -> Change:
    """An entry that only adds a vector is as old as the statement that it repeats: a bundle that holds that one knows it all."""
    if change.image is None or before is None:
        return change
    return change._replace(seq=before.seq)


class StoreFollower:
    """One thread that follows the store; every change is seen within FOLLOW_SECONDS and the time to open a bundle."""

    def __init__(
        self,
        champions: Champions,
        candidate_clients: CandidateClients,
        changes: StoredChanges,
        loaded_bundles: LoadedBundles,
        ledger: StoredSpendLedger,
    ) -> None:
        self._champions = champions
        self._candidate_clients = candidate_clients
        self._changes = changes
        self._loaded_bundles = loaded_bundles
        self._ledger = ledger
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    def start(self) -> None:
        """Open what serves, then follow."""
        self.refresh()
        self._thread.start()

    def refresh(self) -> None:
        """One look at the store."""
        self._champions.refresh()
        self._candidate_clients.refresh()
        self._loaded_bundles.retain(self._champions.versions_in_use() | self._candidate_clients.versions_in_use())
        self._changes.refresh()
        ads = self._champions.get("ads").loaded_bundle if "ads" in self._champions.all() else None
        self._ledger.refresh(ads.daily_budgets if ads else {})

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            try:
                self.refresh()
            except Exception:  # noqa: BLE001 - a store that is away for a moment must not end the thread
                _LOG.exception("the store could not be read; the last state goes on")
