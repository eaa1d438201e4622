"""Live state of a worker: loaded bundles, champions, candidates, recent events, catalogue changes.

Each worker follows the store: champion pointers, running rollouts, the product log and the newest events are read by
sequence number. Nothing here knows HTTP or how an answer is computed.
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
from vetrina.core.rollout_types import Rollout
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
    """The name of a version and its loaded bundle."""

    version: str
    loaded_bundle: Any


class LoadedBundles:
    """Bundles that this worker has loaded, each once, whether a champion or a candidate uses it."""

    def __init__(self, bundles: BundleStore) -> None:
        self._bundles = bundles
        self._loaded: dict[str, Any] = {}
        self._failed_versions: dict[str, Exception] = {}

    def get(self, scenario: str, version: str) -> Any | None:
        """The loaded bundle of a version, its parts and sample answers verified; None if it cannot be loaded.

        A version that failed once is not tried again by this worker.
        """
        if version in self._failed_versions:
            return None
        if version not in self._loaded:
            try:
                self._loaded[version] = self._load(scenario, version)
            except (VetrinaError, OSError, ValueError, KeyError) as error:
                self._failed_versions[version] = error
                _LOG.error("the bundle of version %s cannot be loaded (%s)", version, error)
                return None
        return self._loaded[version]

    def _load(self, scenario: str, version: str) -> Any:
        bundle, folder = self._bundles.unpack(version, check_parts=True)
        samples.verify_samples(scenario, folder, bundle.notes.get("samples"))
        return plugins.load_module("scenarios", scenario, "online").load(folder)

    def fault(self, version: str) -> Exception | None:
        """The error with which a version failed to load, if it did."""
        return self._failed_versions.get(version)

    def retain(self, versions: Set[str]) -> None:
        """Unload every other version."""
        self._loaded = {version: loaded for version, loaded in self._loaded.items() if version in versions}


class Champions:
    """Served versions by scenario, replaced as a whole, so that a request sees one version from start to end.

    The previous champion stays loaded: a rollback is as quick as the change of the pointer.
    """

    def __init__(self, registry: Registry, loaded_bundles: LoadedBundles) -> None:
        self._registry = registry
        self._loaded_bundles = loaded_bundles
        self._serving: dict[str, ServedVersion] = {}
        self._previous_versions: dict[str, str] = {}
        self._faults: dict[str, Exception | None] = {}  # why the version of the champion pointer does not serve

    def refresh(self) -> None:
        """Follow the champion pointers. Where a version cannot be loaded, the previous one goes on serving."""
        for scenario, version in self._registry.champions().items():
            current = self._serving.get(scenario)
            if current and current.version == version:
                continue
            loaded_bundle = self._loaded_bundles.get(scenario, version)
            if loaded_bundle is None:
                self._faults[scenario] = self._loaded_bundles.fault(version)
                continue
            self._serving[scenario] = ServedVersion(version, loaded_bundle)
            if current:
                self._previous_versions[scenario] = current.version

    def get(self, scenario: str) -> ServedVersion:
        """The served version of a scenario.

        Raises:
            NotReady: no version of the scenario has been released yet.
            OtherFormat: the champion's bundle has the format of another Vetrina, and nothing else serves.
        """
        serving = self._serving.get(scenario)
        if serving is not None:
            return serving
        fault = self._faults.get(scenario)
        if isinstance(fault, OtherFormat):
            raise OtherFormat(fault.value, fault.rule, fault.way_out)
        raise NotReady(scenario, "has no released version yet", f"run `vetrina run {scenario}`")

    def refused(self) -> dict[str, str]:
        """Error texts by scenario, where the champion's bundle has the format of another Vetrina and nothing else serves."""
        texts = {}
        for scenario, fault in self._faults.items():
            if scenario not in self._serving and isinstance(fault, OtherFormat):
                texts[scenario] = str(fault)
        return texts

    def all(self) -> Mapping[str, str]:
        """Served versions by scenario."""
        return {scenario: serving.version for scenario, serving in self._serving.items()}

    def versions_in_use(self) -> set[str]:
        """Versions that must stay loaded: the champions and those before them."""
        return {*self.all().values(), *self._previous_versions.values()}


class CandidateClients:
    """Clients of the versions that answer beside the champions: candidates of canaries, and versions before watched ones."""

    def __init__(
        self, rollouts: RolloutStore, loaded_bundles: LoadedBundles, timeout_seconds: float, log_shadow: ShadowLogger
    ) -> None:
        self._rollouts = rollouts
        self._loaded_bundles = loaded_bundles
        self._timeout_seconds = timeout_seconds
        self._log_shadow = log_shadow
        self._clients: dict[str, CandidateClient] = {}

    def refresh(self) -> None:
        """Follow the running rollouts: their start, their steps, their end."""
        clients: dict[str, CandidateClient] = {}
        for scenario, running in self._rollouts.running().items():
            current = self._clients.get(scenario)
            if current is not None and current.rollout.id == running.rollout.id:
                clients[scenario] = current.set_rollout(running.rollout)
            else:
                clients[scenario] = self._new_client(scenario, running.rollout)
        ended = [client for scenario, client in self._clients.items() if clients.get(scenario) is not client]
        self._clients = clients
        for client in ended:
            client.close()

    def _new_client(self, scenario: str, rollout: Rollout) -> CandidateClient:
        loaded_bundle = self._loaded_bundles.get(scenario, rollout.alternative_version)
        return CandidateClient(rollout, loaded_bundle, self._timeout_seconds, self._log_shadow)

    def get(self, scenario: str) -> CandidateClient | None:
        """The client of a scenario's alternative version, None outside of an experiment."""
        return self._clients.get(scenario)

    def versions_in_use(self) -> set[str]:
        """Versions that must stay loaded: those that answer beside the champions."""
        return {client.rollout.alternative_version for client in self._clients.values()}


class StoredEvents:
    """``core.protocols.RecentEvents`` from the event log; ``as_of`` is the moment of the request when one is replayed."""

    def __init__(self, engine: Engine, weights: Mapping[str, float], as_of: float | None = None) -> None:
        self._engine = engine
        self._weights = {**EVENT_WEIGHTS, **weights}
        self._as_of = as_of

    def for_user(
        self, user: str | None, session: str | None, since: float, after_seq: int
    ) -> Iterable[tuple[str, float, float]]:
        """Weighted events that a bundle was not trained on, oldest first.

        Args:
            user: pseudonym of the user, None for an anonymous visitor.
            session: pseudonym of the session, None where there is none.
            since: seconds since 1970 at which the bundle's training data ends.
            after_seq: last sequence number of the event log in the bundle's training data.

        Yields:
            product_id, time in seconds since 1970, weight above 0.
        """
        for event in event_log.recent_events(self._engine, user, session, since, after_seq, as_of=self._as_of):
            weight = self._weights.get(event["type"], 0.0)
            if weight > 0 and event.get("product_id"):
                yield event["product_id"], event["time"], weight


class StoredChanges:
    """``core.protocols.CatalogueDelta`` from the product log, read up to sequence number ``seq``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.seq = 0
        self._latest: dict[str, Change] = {}
        self._views: dict[int, DeltaIndex] = {}

    def refresh(self) -> None:
        """Read the entries after ``seq``."""
        while changes := products.changes_after(self._engine, self.seq):
            latest = dict(self._latest)
            for change in changes:
                latest[change.product_id] = _with_seq_of_product(change, latest.get(change.product_id))
            self._latest = latest
            self.seq = changes[-1].seq
            self._views = {}

    def changes_after(self, after_seq: int) -> DeltaIndex:
        """The changes that a bundle trained on the product log up to ``after_seq`` does not know.

        A deleted product is deleted for every bundle, whatever the bundle was trained on.
        """
        views = self._views
        if after_seq not in views:
            latest = self._latest.values()
            deleted = frozenset(change.product_id for change in latest if change.product is None)
            newer = [change for change in latest if change.seq > after_seq]
            changed = {change.product_id: change.product for change in newer if change.product is not None}
            images = {change.product_id: change.image for change in newer if change.image is not None}
            views[after_seq] = DeltaIndex(changed, deleted, images)
        return views[after_seq]


def _with_seq_of_product(change: Change, previous: Change | None) -> Change:
    """The change; if it only adds an image vector, with the sequence number of the product entry that it repeats.

    A bundle that was trained on that entry knows all of the change but the vector.
    """
    if change.image is None or previous is None:
        return change
    return change._replace(seq=previous.seq)


class StoreFollower:
    """A thread that follows the store: a change is seen within POLL_SECONDS and the time that loading a bundle takes."""

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
        """Load the bundles that serve, then follow the store in the thread."""
        self.refresh()
        self._thread.start()

    def refresh(self) -> None:
        """Read the store once: champions, candidates, product log, ad spend."""
        self._champions.refresh()
        self._candidate_clients.refresh()
        self._loaded_bundles.retain(self._champions.versions_in_use() | self._candidate_clients.versions_in_use())
        self._changes.refresh()
        daily_budgets = {}
        if "ads" in self._champions.all():
            daily_budgets = self._champions.get("ads").loaded_bundle.daily_budgets
        self._ledger.refresh(daily_budgets)

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            try:
                self.refresh()
            except Exception:  # noqa: BLE001 - a store that is away for a moment must not end the thread
                _LOG.exception("the store cannot be read; serving goes on with the last state")
