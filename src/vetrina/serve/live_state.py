"""Live state of a worker: loaded bundles, champions, candidates, recent events, catalogue changes.

Each worker follows the store: champion pointers, running rollouts and the product log are read by sequence number. What cannot
be read or opened is tried again, and stops nothing else. Nothing here knows HTTP or how an answer is computed.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from vetrina.bundle.bundles import BundleStore
from vetrina.core.columns import EVENT_WEIGHTS
from vetrina.core.delta_index import DeltaIndex
from vetrina.core.errors import NotFound, NotReady, OtherFormat, describe_cause
from vetrina.core.rollout_types import Rollout
from vetrina.scenarios import samples
from vetrina.scenarios.base import RankingBundle, find_scenario
from vetrina.serve.experiments.canary import CandidateClient, ShadowLogger
from vetrina.serve.spend_ledger import StoredSpendLedger
from vetrina.store import event_queries, products
from vetrina.store.leases import CONTROLLER_LEASE, read_heartbeat
from vetrina.store.products import Change
from vetrina.store.registry import Registry
from vetrina.store.rollouts import RolloutStore

POLL_SECONDS = 0.25
_FIRST_RETRY_SECONDS = 1.0  # after a version could not be opened; doubled each time
_MAX_RETRY_SECONDS = 300.0
_HEARTBEAT_SECONDS = 5.0  # between two readings of the controller's heartbeat
_PREVIOUS = "versions to go back to"
_LOG = logging.getLogger("vetrina.serve")


@dataclass(frozen=True)
class ServedVersion:
    """The name of a version and its loaded bundle."""

    version: str
    loaded_bundle: Any


@dataclass(frozen=True)
class _FailedOpening:
    """Why a version could not be opened, and when it is tried again by the monotonic clock."""

    error: Exception
    wait_seconds: float
    retry_at: float


class LoadedBundles:
    """Bundles that this worker has loaded, each once, whether a champion or a candidate uses it."""

    def __init__(self, bundles: BundleStore) -> None:
        self._bundles = bundles
        self._loaded: dict[str, Any] = {}
        self._failed: dict[str, _FailedOpening] = {}

    def get(self, scenario: str, version: str) -> Any | None:
        """The loaded bundle of a version, its parts and sample answers verified; None if it cannot be loaded now.

        A version that failed is tried again after a while, which doubles with every failure: the disk or the network may have
        been away for a moment.
        """
        if version in self._loaded:
            return self._loaded[version]
        failed = self._failed.get(version)
        if failed is not None and time.monotonic() < failed.retry_at:
            return None
        try:
            loaded_bundle = self._load(scenario, version)
        except Exception as error:  # noqa: BLE001 - libraries raise all kinds, and other versions must go on
            self._note_failure(version, error, failed)
            return None
        self._failed.pop(version, None)
        self._loaded = {**self._loaded, version: loaded_bundle}
        return loaded_bundle

    def _load(self, scenario: str, version: str) -> Any:
        bundle, folder = self._bundles.unpack(version, check_parts=True)
        samples.verify_samples(scenario, folder, bundle.record.samples)
        return find_scenario(scenario).load(folder)

    def _note_failure(self, version: str, error: Exception, earlier: _FailedOpening | None) -> None:
        wait_seconds = _FIRST_RETRY_SECONDS
        if earlier is not None:
            wait_seconds = min(2 * earlier.wait_seconds, _MAX_RETRY_SECONDS)
        error.__traceback__ = None  # its frames hold what was loaded so far
        self._failed[version] = _FailedOpening(error, wait_seconds, time.monotonic() + wait_seconds)
        text = "the bundle of version %s cannot be loaded (%s); the next attempt is in %.0f s"
        _LOG.error(text, version, describe_cause(error), wait_seconds)

    def fault(self, version: str) -> Exception | None:
        """The error with which a version failed to load the last time."""
        failed = self._failed.get(version)
        if failed is None:
            return None
        return failed.error

    def retain(self, versions: Set[str]) -> None:
        """Unload every other version."""
        self._loaded = {version: loaded for version, loaded in self._loaded.items() if version in versions}
        self._failed = {version: failed for version, failed in self._failed.items() if version in versions}


class Champions:
    """Served versions by scenario, replaced as a whole, so that a request sees one version from start to end.

    The version before it is loaded, too: a rollback is as quick as the change of the pointer.
    """

    def __init__(self, registry: Registry, loaded_bundles: LoadedBundles) -> None:
        self._registry = registry
        self._loaded_bundles = loaded_bundles
        # Other threads iterate over these, so each is replaced as a whole.
        self._serving: Mapping[str, ServedVersion] = {}
        self._pointers: Mapping[str, str] = {}  # versions that the champion pointers name
        self._previous_versions: dict[str, str] = {}
        self._history_read_for: dict[str, str] = {}  # the champion at which the version before it was looked up

    def refresh(self) -> None:
        """Follow the champion pointers. Where a version cannot be loaded, the previous one goes on serving."""
        self._pointers = self._registry.champions()
        for scenario, version in self._pointers.items():
            current = self._serving.get(scenario)
            if current and current.version == version:
                continue
            loaded_bundle = self._loaded_bundles.get(scenario, version)
            if loaded_bundle is None:
                continue
            self._serving = {**self._serving, scenario: ServedVersion(version, loaded_bundle)}
            if current:
                self._previous_versions[scenario] = current.version

    def load_previous(self) -> None:
        """Load the versions that a rollback goes back to, which this worker may never have served: it may be a new replica."""
        for scenario, version in self.all().items():
            if self._history_read_for.get(scenario) != version:
                previous = self._registry.serving_history(scenario).previous
                if previous is not None:
                    self._previous_versions[scenario] = previous
                self._history_read_for[scenario] = version
            previous = self._previous_versions.get(scenario)
            # Files that are gone, or were written by another Vetrina, do not come back.
            if previous is not None and not isinstance(self._loaded_bundles.fault(previous), NotFound | OtherFormat):
                self._loaded_bundles.get(scenario, previous)

    def get(self, scenario: str) -> ServedVersion:
        """The served version of a scenario.

        Raises:
            NotReady: no version of the scenario has been released yet.
            OtherFormat: the champion's bundle has the format of another Vetrina, and nothing else serves.
        """
        serving = self._serving.get(scenario)
        if serving is not None:
            return serving
        version = self._pointers.get(scenario)
        if version is None:
            raise NotReady(scenario, "has no released version yet", f"run `vetrina run {scenario}`")
        fault = self._loaded_bundles.fault(version)
        if isinstance(fault, OtherFormat):
            raise OtherFormat(fault.value, fault.rule, fault.way_out)
        raise NotReady(scenario, f"is served by {version}, which cannot be opened here yet", "it is tried again")

    def refused(self) -> dict[str, str]:
        """Error texts by scenario, where the champion's bundle has the format of another Vetrina and nothing else serves."""
        texts = {}
        for scenario, version in self._pointers.items():
            fault = self._loaded_bundles.fault(version)
            if scenario not in self._serving and isinstance(fault, OtherFormat):
                texts[scenario] = str(fault)
        return texts

    def stale(self) -> Mapping[str, bool]:
        """By scenario, whether this worker serves another version than the champion pointer names, or none."""
        serving = self.all()
        return {scenario: serving.get(scenario) != version for scenario, version in self._pointers.items()}

    def all(self) -> Mapping[str, str]:
        """Served versions by scenario."""
        return {scenario: serving.version for scenario, serving in self._serving.items()}

    def versions_in_use(self) -> set[str]:
        """Versions that must stay loaded: the champions, those before them, and those that the pointers name."""
        return {*self.all().values(), *self._previous_versions.values(), *self._pointers.values()}


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
                if current.loaded_bundle is None:
                    current.set_bundle(self._loaded_bundles.get(scenario, running.rollout.alternative_version))
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
        for event in event_queries.recent_events(self._engine, user, session, since, after_seq, as_of=self._as_of):
            weight = self._weights.get(event.type, 0.0)
            if weight > 0 and event.product_id:
                yield event.product_id, event.time, weight


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


class ControllerHeartbeat:
    """How long the shop's controller has given no sign of life: the lease of the one that leads is renewed every two seconds.

    Only whether the lease changes counts, and this worker's monotonic clock: clocks of machines need not agree.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._heartbeat: float | None = None
        self._changed_at = time.monotonic()
        self._read_at: float | None = None

    @property
    def silent_seconds(self) -> float:
        """Seconds since the last sign of life, at most the age of this worker."""
        return time.monotonic() - self._changed_at

    def refresh(self) -> None:
        """Read the lease, every few seconds."""
        now = time.monotonic()
        if self._read_at is not None and now - self._read_at < _HEARTBEAT_SECONDS:
            return
        self._read_at = now
        heartbeat = read_heartbeat(self._engine, CONTROLLER_LEASE)
        if heartbeat != self._heartbeat:
            self._heartbeat = heartbeat
            self._changed_at = now


class StoreFollower:
    """Threads that follow the store: a change is seen within POLL_SECONDS and the time that loading a bundle takes.

    One thread loads versions, another one follows what changes beside them, so that a bundle that takes long to open does not
    hold products up; a third one does what no answer depends on. Each part is guarded on its own: what cannot be read or opened
    stops nothing else.
    """

    def __init__(
        self,
        champions: Champions,
        candidate_clients: CandidateClients,
        changes: StoredChanges,
        loaded_bundles: LoadedBundles,
        ledger: StoredSpendLedger,
        heartbeat: ControllerHeartbeat,
        slow_parts: Mapping[str, Callable[[], None]],
    ) -> None:
        self._champions = champions
        self._candidate_clients = candidate_clients
        self._loaded_bundles = loaded_bundles
        self._ledger = ledger
        version_parts = {
            "champions": champions.refresh,
            "releases": candidate_clients.refresh,
            _PREVIOUS: champions.load_previous,
            "unused versions": self._unload_unused,
        }
        data_parts = {
            "products": changes.refresh,
            "ad spend": self._refresh_ledger,
            "the controller's heartbeat": heartbeat.refresh,
        }
        self._parts: dict[str, Callable[[], None]] = {**version_parts, **data_parts, **slow_parts}
        self._failing: frozenset[str] = frozenset()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._follow, args=(tuple(names),), name="follower", daemon=True)
            for names in (version_parts, data_parts, slow_parts)
        ]

    def start(self) -> None:
        """Load the bundles that serve, then follow the store in the threads."""
        self.refresh()
        for thread in self._threads:
            thread.start()

    def refresh(self) -> None:
        """Read the store once: champions, candidates, product log, ad spend, heartbeat of the controller."""
        for name in self._parts:
            if name != _PREVIOUS:  # nobody waits for the start because of it
                self._run_part(name)

    def stop(self) -> None:
        """End the threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def failing(self) -> frozenset[str]:
        """The parts that failed the last time, by name."""
        return self._failing

    def _follow(self, names: tuple[str, ...]) -> None:
        while not self._stop.wait(POLL_SECONDS):
            for name in names:
                self._run_part(name)

    def _run_part(self, name: str) -> None:
        try:
            self._parts[name]()
        except Exception as error:  # noqa: BLE001 - whatever one part raises, the others go on and it is tried again
            if name not in self._failing:
                _LOG.error("cannot follow %s (%s); serving goes on with the last state", name, describe_cause(error))
            self._failing |= {name}
            return
        if name in self._failing:
            _LOG.warning("%s can be followed again", name)
            self._failing -= {name}

    def _unload_unused(self) -> None:
        self._loaded_bundles.retain(self._champions.versions_in_use() | self._candidate_clients.versions_in_use())

    def _refresh_ledger(self) -> None:
        daily_budgets: dict[str, float] = {}
        for scenario in self._champions.all():
            bundle = self._champions.get(scenario).loaded_bundle
            if isinstance(bundle, RankingBundle):
                daily_budgets.update(bundle.daily_budgets)
        self._ledger.refresh(daily_budgets)
