"""Shared state of a serving process: keys, store, loaded bundles, experiments, event log, metrics.

It starts and stops what follows the store. How an answer is computed is in ``serve.answers``; it knows nothing of HTTP.
"""

import numpy as np

from vetrina.core import clock
from vetrina.core.errors import NotReady, OtherFormat
from vetrina.core.exposures import Exposure
from vetrina.core.protocols import Context, EmptySpendLedger, RecentEvents
from vetrina.core.rollout_types import CANARY, CHAMPION, HOLDBACK, INTERLEAVED, INTERLEAVING, SHADOW, Rollout
from vetrina.scenarios.base import charging_scenarios
from vetrina.serve.experiments.canary import FAULTS
from vetrina.serve.http.protocol import MAX_EVENT_REQUESTS, MAX_REQUESTS
from vetrina.serve.live_state import (
    CandidateClients,
    Champions,
    ControllerHeartbeat,
    LoadedBundles,
    ServedVersion,
    StoredChanges,
    StoredEvents,
    StoreFollower,
)
from vetrina.serve.metrics import ServiceMetrics
from vetrina.serve.readiness import expected_ends, with_ready_time
from vetrina.serve.recent_events import RecentEventsReader
from vetrina.serve.recorded_context import RecordingLedger
from vetrina.serve.shop_metrics import ShopMetrics
from vetrina.serve.spend_ledger import StoredSpendLedger
from vetrina.serve.store_reader import StoreAway, StoreReader
from vetrina.serve.usage_log import UsageLog
from vetrina.store.database import SERVING_STATEMENT_SECONDS, open_store
from vetrina.store.event_log import MAX_WAITING_ANSWERS, MAX_WAITING_EVENTS, EventLog
from vetrina.store.registry import Registry
from vetrina.store.rollouts import RolloutStore
from vetrina.store.runs import RunStore
from vetrina.store.shop_folder import ShopFolder

_SECONDS_PER_MINUTE = 60.0
_SHADOW_ARM = "shadow"  # of a candidate whose answers nobody sees


class Service:
    """Everything the routes share."""

    def __init__(self, shop: ShopFolder) -> None:
        self.folder = shop
        self.keys = shop.keys
        self.engine = open_store(shop.store_url, shop.keys, SERVING_STATEMENT_SECONDS)
        self.metrics = ServiceMetrics()
        self.event_log = EventLog(self.engine, self.keys, self.metrics.dropped_answers.inc)
        self.n_waiting_event_requests = 0

        self.registry = Registry(self.engine, self.keys)
        self.runs = RunStore(self.engine)
        self.rollouts = RolloutStore(self.engine, self.keys, self.registry)
        loaded_bundles = LoadedBundles(shop.bundles)
        self.champions = Champions(self.registry, loaded_bundles)
        candidate_timeout_seconds = shop.settings.release.candidate_timeout_ms / 1e3
        self.candidate_clients = CandidateClients(
            self.rollouts, loaded_bundles, candidate_timeout_seconds, self.event_log.log_shadow_answer
        )

        self.catalogue_changes = StoredChanges(self.engine)
        self.stored_events = StoredEvents(self.engine, shop.settings.weights)
        self._store_reader = StoreReader()
        self.recent_events_reader = RecentEventsReader(self.stored_events, self._store_reader)
        self.charging_scenarios = charging_scenarios()
        self.ledger = StoredSpendLedger(self.engine)
        self.rng = np.random.default_rng()
        self._goals = shop.settings.goals.to_dict()

        self._heartbeat = ControllerHeartbeat(self.engine)
        shop_metrics = ShopMetrics(self.engine, self.registry, self.rollouts, self.runs)
        self.metrics.registry.register(shop_metrics)
        self._usage_log = UsageLog(self.engine, self.metrics.usage)
        self._show_settings()
        self.follower = StoreFollower(
            self.champions,
            self.candidate_clients,
            self.catalogue_changes,
            loaded_bundles,
            self.ledger,
            self._heartbeat,
            {"the shop's figures": shop_metrics.refresh, "what answers cost": self._usage_log.refresh},
        )

    def start(self) -> None:
        """Load the bundles of the champions and candidates, then follow the store."""
        self.follower.start()
        self.metrics.usage.begin()

    def stop(self) -> None:
        """Write what is still queued for the event log and close the store."""
        self.event_log.close()  # first: the follower may be in the middle of opening a version
        self._store_reader.close()
        self.follower.stop()
        self._usage_log.close()
        self.engine.dispose()

    def _show_settings(self) -> None:
        """Set the metrics that never change while the process runs."""
        operate = self.folder.settings.operate
        self.metrics.watts_per_core.set(operate.watts)
        self.metrics.price_per_cpu_hour.set(operate.price_per_cpu_hour)
        self.metrics.show_limits(
            {
                "requests in flight": MAX_REQUESTS,
                "requests with events": MAX_EVENT_REQUESTS,
                "events": MAX_WAITING_EVENTS,
                "answers": MAX_WAITING_ANSWERS,
            }
        )

    async def serving(self, scenario: str) -> ServedVersion:
        """The served version of a scenario.

        Raises:
            NotReady: no version of the scenario serves; says when one is expected where a run of it is queued or under way.
        """
        try:
            return self.champions.get(scenario)
        except OtherFormat:
            raise
        except NotReady as error:
            not_ready = error
        try:
            ready_at = await self._store_reader.read(lambda: self._expected_ready(scenario))
        except StoreAway:
            raise not_ready from None
        raise with_ready_time(not_ready, ready_at) from None

    def serving_in_thread(self, scenario: str) -> ServedVersion:
        """The same for a request that is answered in a thread, where it may wait for the store."""
        try:
            return self.champions.get(scenario)
        except OtherFormat:
            raise
        except NotReady as error:
            raise with_ready_time(error, self._expected_ready(scenario)) from None

    def _expected_ready(self, scenario: str) -> float | None:
        """When the next run of a scenario is expected to end, in seconds since 1970; None where none is queued."""
        budget_seconds = _SECONDS_PER_MINUTE * self.folder.settings.train.budget_minutes
        return expected_ends(self.runs, self.champions.all(), budget_seconds).get(scenario)

    def context(self, recent_events: RecentEvents, recorder: RecordingLedger | None = None) -> Context:
        """What an answer depends on besides the request, at this moment.

        Args:
            recent_events: recent events of the user or session.
            recorder: the spend ledger, None for a scenario that charges nobody.
        """
        ledger = recorder or EmptySpendLedger()
        return Context(recent_events, self.catalogue_changes, clock.now(), ledger, self._goals)

    def ledger_recorder(self, scenario: str) -> RecordingLedger | None:
        """The spend ledger of an answer, which records its outputs; None for a scenario that charges nobody."""
        if scenario not in self.charging_scenarios:
            return None
        return RecordingLedger(self.ledger)

    def record(self, exposure: Exposure) -> None:
        """Log and count an answer that is given now."""
        self.event_log.log_exposure(exposure)
        self.metrics.count_answer(exposure)

    def update_gauges(self) -> None:
        """Set the metrics that say how this worker is now."""
        served: list[tuple[str, str, str]] = []
        for scenario, version in self.champions.all().items():
            served.append((scenario, version, CHAMPION))
            client = self.candidate_clients.get(scenario)
            share = 0.0
            faults: tuple[str, ...] = ()
            if client is not None:
                faults = FAULTS
                share = client.rollout.candidate_share
                served.append((scenario, client.rollout.alternative_version, _arm_of(client.rollout)))
            self.metrics.candidate_share.labels(scenario).set(share)
            self.metrics.show_scenario(scenario, faults)
        self.metrics.show_versions(served)
        self.metrics.show_waiting(
            {
                "requests with events": self.n_waiting_event_requests,
                "events": self.event_log.n_waiting_events,
                "answers": self.event_log.n_waiting_answers,
            }
        )
        for scenario, is_stale in self.champions.stale().items():
            self.metrics.version_stale.labels(scenario).set(is_stale)
        self.metrics.controller_silent_seconds.set(self._heartbeat.silent_seconds)
        self.metrics.store_away.set(self._store_reader.is_away or bool(self.follower.failing))


def _arm_of(rollout: Rollout) -> str:
    """The arm that the version beside the served one has in the present step."""
    if rollout.is_watch:
        return HOLDBACK
    if rollout.step == SHADOW:
        return _SHADOW_ARM
    if rollout.step == INTERLEAVING:
        return INTERLEAVED
    return CANARY
