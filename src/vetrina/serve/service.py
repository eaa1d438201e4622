"""Shared state of the routes: loaded bundles, experiments, event log, Prometheus metrics.

``Service`` answers a request in seven steps, one function each, called in this order by ``Service.rank``: read the recent events,
choose the arm of the experiment, decide whether to explore, answer with the arm's version, log, count, build the response. It
knows nothing of HTTP.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from math import ceil
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from vetrina.core import clock
from vetrina.core.errors import NotReady, OtherFormat
from vetrina.core.exposures import Exposure, LoggedItem, logged_item
from vetrina.core.protocols import Context
from vetrina.core.rollout_types import CANARY, CHAMPION, HOLDBACK, INTERLEAVED, SHADOW, Rollout
from vetrina.core.types import Answer, Request
from vetrina.serve.experiments.canary import CandidateClient, is_valid_answer
from vetrina.serve.experiments.exploration import Exploration, may_explore
from vetrina.serve.experiments.interleaving import team_draft
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
from vetrina.serve.readiness import expected_ends
from vetrina.serve.recent_events import RecentEventsReader
from vetrina.serve.recorded_context import OMITTED, RecordingLedger
from vetrina.serve.routes.audience import RecipientList, find_recipients
from vetrina.serve.schemas import ItemOut, RankedOut
from vetrina.serve.spend_ledger import StoredSpendLedger
from vetrina.serve.store_reader import StoreAway, StoreReader
from vetrina.store.database import SERVING_STATEMENT_SECONDS, open_store
from vetrina.store.event_log import EventLog
from vetrina.store.registry import Registry
from vetrina.store.rollouts import RolloutStore
from vetrina.store.runs import RunStore
from vetrina.store.shop_folder import ShopFolder

_LOG = logging.getLogger("vetrina.serve")
_MAX_LOGGED_ROWS = 100  # rows of one predict request that are logged
_LATENCY_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_LOGGED_REQUEST_FIELDS = (
    "query",
    "product_ids",
    "placement",
    "filters",
    "sort",
    "offset",
    "limit",
    "personalise",
    "exclude_seen",
)
_LONG_REQUEST_FIELDS = ("product_ids", "filters")  # the others are short
_MAX_LOGGED_REQUEST_BYTES = 8_192
_LOGGED_AUDIENCE_FIELDS = ("product_id", "size", "segment", "channel")


@dataclass(frozen=True)
class AnswerRecord:
    """An answer that was given: by which version of which scenario, at which time, in how many seconds."""

    request_id: str
    scenario: str
    version: str
    time: float
    seconds: float


@dataclass(frozen=True)
class RankedAnswer:
    """The response to a ranking request, and whether it was computed without the store."""

    response: RankedOut
    is_degraded: bool


@dataclass(frozen=True)
class _Assignment:
    """The experiment that a request takes part in.

    ``rollout`` is the one of the moment when the request came: it stays the same until the answer is logged, whatever the
    follower of the store does meanwhile. ``arm`` is None outside of the experiment.
    """

    client: CandidateClient | None = None
    rollout: Rollout | None = None
    arm: str | None = None


@dataclass(frozen=True)
class _VersionAnswer:
    """The answer of a version, before exploration.

    Attributes:
        answer: Items in the version's own order, or interleaved.
        version: The version that answered.
        fault: Why the version of the arm did not, if another one had to.
        waited_seconds: Time that the event loop spent on other requests meanwhile.
        teams: Whose each item is, if interleaved.
    """

    answer: Answer
    version: str
    fault: str | None = None
    waited_seconds: float = 0.0
    teams: Sequence[str] = ()


@dataclass(frozen=True)
class _ChosenRanking:
    """The answer that is returned, with the propensity of each item and, if interleaved, the team of each item."""

    answer: Answer
    propensities: tuple[float, ...]
    version: str
    teams: Sequence[str] = ()


class Service:
    """Everything the routes share."""

    def __init__(self, shop: ShopFolder) -> None:
        self.folder = shop
        self.keys = shop.keys
        self.engine = open_store(shop.store_url, shop.keys, SERVING_STATEMENT_SECONDS)
        self.registry = Registry(self.engine, self.keys)
        loaded_bundles = LoadedBundles(shop.bundles)
        self.champions = Champions(self.registry, loaded_bundles)
        self.runs = RunStore(self.engine)
        self.rollouts = RolloutStore(self.engine, self.keys, self.registry)
        self.metrics_registry = CollectorRegistry()
        self.dropped_answer_counter = Counter(
            "vetrina_dropped_answers",
            "Answers given but not logged: the queue was full, or the store refused them",
            registry=self.metrics_registry,
        )
        self.event_log = EventLog(self.engine, self.keys, self.dropped_answer_counter.inc)
        candidate_timeout_seconds = shop.settings.release.candidate_timeout_ms / 1e3
        self.candidate_clients = CandidateClients(
            self.rollouts, loaded_bundles, candidate_timeout_seconds, self.event_log.log_shadow_answer
        )
        self.catalogue_changes = StoredChanges(self.engine)
        self.recent_events = StoredEvents(self.engine, shop.settings.weights)
        self.n_waiting_event_requests = 0
        self._store_reader = StoreReader()
        self._recent_events_reader = RecentEventsReader(self.recent_events, self._store_reader)
        self.ledger = StoredSpendLedger(self.engine)
        self._heartbeat = ControllerHeartbeat(self.engine)
        self.follower = StoreFollower(
            self.champions, self.candidate_clients, self.catalogue_changes, loaded_bundles, self.ledger, self._heartbeat
        )
        self._rng = np.random.default_rng()
        self.answer_counter = Counter(
            "vetrina_answers",
            "Answers given",
            ["scenario", "version"],
            registry=self.metrics_registry,
        )
        self.fault_counter = Counter(
            "vetrina_candidate_faults",
            "Requests that a candidate failed to answer",
            ["scenario", "fault"],
            registry=self.metrics_registry,
        )
        self.candidate_share_gauge = Gauge(
            "vetrina_candidate_share",
            "Share of users who are served by a candidate or a watched version",
            ["scenario"],
            registry=self.metrics_registry,
        )
        self.error_counter = Counter(
            "vetrina_errors",
            "Requests refused or failed",
            ["status"],
            registry=self.metrics_registry,
        )
        self.event_counter = Counter(
            "vetrina_events",
            "New events written to the event log",
            registry=self.metrics_registry,
        )
        self.refused_event_counter = Counter(
            "vetrina_refused_events",
            "Events refused, by the status of each: 400 breaks a rule, 409 has the id of another event of its user",
            ["status"],
            registry=self.metrics_registry,
        )
        self.degraded_counter = Counter(
            "vetrina_degraded_answers",
            "Answers given without the store: the user's recent events are those that this worker read last",
            ["scenario"],
            registry=self.metrics_registry,
        )
        self.stale_gauge = Gauge(
            "vetrina_version_stale",
            "1 where this worker serves another version than the champion, or none: it cannot open it",
            ["scenario"],
            registry=self.metrics_registry,
        )
        self.store_gauge = Gauge(
            "vetrina_store_away",
            "1 while this worker cannot read the store and serves from memory",
            registry=self.metrics_registry,
        )
        self.controller_gauge = Gauge(
            "vetrina_controller_silent_seconds",
            "Seconds since the shop's controller gave a sign of life, at most the age of this worker",
            registry=self.metrics_registry,
        )
        self.latency_histogram = Histogram(
            "vetrina_answer_seconds",
            "Time to answer",
            ["scenario"],
            registry=self.metrics_registry,
            buckets=_LATENCY_BUCKETS_SECONDS,
        )

    def start(self) -> None:
        """Load the bundles of the champions and candidates, then follow the store."""
        self.follower.start()

    def stop(self) -> None:
        """Write what is still queued for the event log and close the store."""
        self.event_log.close()  # first: the follower may be in the middle of opening a version
        self._store_reader.close()
        self.follower.stop()
        self.engine.dispose()

    def count_error(self, status: int) -> None:
        """Count a request that is refused or failed, by the status of its answer."""
        self.error_counter.labels(str(status)).inc()

    async def rank(self, scenario: str, request: Request) -> RankedAnswer:
        """Returns the ranked answer to a request and logs it with the propensity of every item.

        Only the waits for recent events and for a candidate give the event loop away; everything else is computed in it.

        Raises:
            NotReady: no version of the scenario serves.
            BadInput: the request asks for something that the scenario does not have.
        """
        serving = await self.serving(scenario)
        client = self.candidate_clients.get(scenario)
        bundles = [serving.loaded_bundle]
        if client is not None and client.loaded_bundle is not None:
            bundles.append(client.loaded_bundle)
        recent_events = await self._recent_events_reader.read(request.user, request.session, bundles)
        started = time.perf_counter()
        ledger = RecordingLedger(self.ledger)
        goals = self.folder.settings.goals.to_dict()
        context = Context(recent_events, self.catalogue_changes, clock.now(), ledger, goals)

        assignment = _assign_arm(client, serving.version, request)
        exploration = self._draw_exploration(client, request)
        given = await _answer_arm(serving, assignment, exploration.widened(request), request.limit, context, self._rng)
        ordered = exploration.order(given.answer, request.limit, self._rng)
        ranking = _ChosenRanking(ordered.answer, ordered.propensities, given.version, given.teams)
        seconds = time.perf_counter() - started - given.waited_seconds
        record = AnswerRecord(uuid4().hex, scenario, ranking.version, context.now, seconds)
        self._log_ranking(record, ranking, assignment, given.fault, request, ledger)
        if client is not None and assignment.rollout is not None and assignment.rollout.step == SHADOW:
            client.shadow(request, context, ranking.answer)
        self._count_answer(record, given.fault)
        if recent_events.is_degraded:
            self.degraded_counter.labels(scenario).inc()
        return RankedAnswer(_to_response(record, ranking.answer, request), recent_events.is_degraded)

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
            raise await self._with_expected_time(error, scenario) from None

    async def _with_expected_time(self, error: NotReady, scenario: str) -> NotReady:
        """The error with the time at which a version is expected; as it is where no run is queued or the store is away."""
        try:
            ready_at = await self._store_reader.read(lambda: self._expected_ready(scenario))
        except StoreAway:
            return error
        return _not_ready_until(error, ready_at)

    def _expected_ready(self, scenario: str) -> float | None:
        """When the next run of a scenario is expected to end, in seconds since 1970; None where none is queued."""
        budget_seconds = 60.0 * self.folder.settings.train.budget_minutes
        return expected_ends(self.runs, self.champions.all(), budget_seconds).get(scenario)

    async def answer_unlogged(self, scenario: str, request: Request) -> Answer:
        """The champion's answer to a person who inspects it: no exposure, no experiment, no metric.

        Args:
            scenario: a scenario that charges nobody, so that it needs no spend ledger.
            request: the request.

        Raises:
            NotReady: no version of the scenario serves.
            BadInput: the request asks for something that the scenario does not have.
        """
        serving = self.champions.get(scenario)
        bundle = serving.loaded_bundle
        recent_events = await self._recent_events_reader.read(request.user, request.session, [bundle])
        goals = self.folder.settings.goals.to_dict()
        context = Context(recent_events, self.catalogue_changes, clock.now(), goals=goals)
        return bundle.answer(request, context)

    def _draw_exploration(self, client: CandidateClient | None, request: Request) -> Exploration:
        """Whether this answer explores: never during a canary, and in both arms of a watch, so that they stay comparable."""
        share = self.folder.settings.serve.exploration_rate
        is_canary = client is not None and not client.rollout.is_watch
        if not share or is_canary or not may_explore(request):
            return Exploration()
        return Exploration(share, bool(self._rng.random() < share))

    def _log_ranking(
        self,
        record: AnswerRecord,
        ranking: _ChosenRanking,
        assignment: _Assignment,
        fault: str | None,
        request: Request,
        ledger: RecordingLedger,
    ) -> None:
        """Adds the ads to the spend ledger and the exposure to the event log.

        Args:
            record: version, time and duration of the answer.
            ranking: the items with their propensities and teams.
            assignment: the arm and the rollout that the exposure counts for.
            fault: why the version of the arm did not answer, if it did not.
            request: its parameters that differ from the defaults are logged.
            ledger: what the spend ledger answered is logged, so that the request can be replayed.
        """
        items = _logged_items(ranking, request.offset)
        if ranking.answer.offers:
            self.ledger.record_answer(record.request_id, request.user or request.session, ranking.answer, record.time)
        parameters = _request_parameters(request)
        recording = ledger.recording()
        if recording:
            parameters["ledger"] = recording
        rollout_id = None
        rollout_step = None
        if assignment.rollout is not None and assignment.arm is not None:
            rollout_id = assignment.rollout.id
            rollout_step = assignment.rollout.step
        self._log_exposure(
            record,
            parameters,
            items,
            arm=assignment.arm or CHAMPION,
            user=request.user,
            session=request.session,
            fault=fault,
            rollout=rollout_id,
            step=rollout_step,
        )

    def _count_answer(self, record: AnswerRecord, fault: str | None = None) -> None:
        """Updates the Prometheus metrics with one answer and the candidate's fault, if any."""
        self.latency_histogram.labels(record.scenario).observe(record.seconds)
        self.answer_counter.labels(record.scenario, record.version).inc()
        if fault:
            self.fault_counter.labels(record.scenario, fault).inc()

    async def predict(self, rows: Sequence[Any]) -> tuple[str, str, list[dict[str, Any]]]:
        """Request id, version and one prediction a row. Of the inputs only coarse bins are logged."""
        serving = await self.serving("predict")
        started = time.perf_counter()
        bundle = serving.loaded_bundle
        predictions = bundle.answer(rows)
        seconds = time.perf_counter() - started
        is_classification = bundle.encoding.number is None
        logged_items = []
        for position, prediction in enumerate(predictions[:_MAX_LOGGED_ROWS], start=1):
            if is_classification:
                logged_items.append(LoggedItem(position, probability=prediction["probability"]))
            else:
                logged_items.append(LoggedItem(position, prediction=prediction["prediction"]))
        record = AnswerRecord(uuid4().hex, "predict", serving.version, clock.now(), seconds)
        self._log_exposure(record, {"bins": bundle.bins(rows[:_MAX_LOGGED_ROWS])}, tuple(logged_items))
        self._count_answer(record)
        return record.request_id, record.version, predictions

    def audience(self, body: Mapping[str, Any]) -> tuple[str, str, RecipientList]:
        """Request id, version and the recipients of an audience, read from the store: runs in a thread.

        Their ids are not logged with the answer.
        """
        started = time.perf_counter()
        try:
            serving = self.champions.get("launch")
        except OtherFormat:
            raise
        except NotReady as error:
            raise _not_ready_until(error, self._expected_ready("launch")) from None
        context = Context(self.recent_events, self.catalogue_changes, clock.now())
        recipients = find_recipients(serving.loaded_bundle, self.engine, self.keys, context, **body)
        seconds = time.perf_counter() - started
        parameters = {name: body[name] for name in _LOGGED_AUDIENCE_FIELDS if body.get(name)}
        record = AnswerRecord(uuid4().hex, "launch", serving.version, context.now, seconds)
        self._log_exposure(record, parameters, ())
        self._count_answer(record)
        return record.request_id, record.version, recipients

    def _log_exposure(
        self,
        record: AnswerRecord,
        parameters: Mapping[str, Any],
        items: tuple[LoggedItem, ...],
        arm: str = CHAMPION,
        *,
        user: str | None = None,
        session: str | None = None,
        fault: str | None = None,
        rollout: str | None = None,
        step: int | None = None,
    ) -> None:
        """Writes one row to the log of exposures."""
        exposure = Exposure(
            request_id=record.request_id,
            scenario=record.scenario,
            version=record.version,
            time=record.time,
            seconds=record.seconds,
            arm=arm,
            user=user,
            session=session,
            fault=fault,
            rollout=rollout,
            step=step,
            request_json=msgspec.json.encode(parameters).decode(),
            items=items,
        )
        self.event_log.log_exposure(exposure)

    def update_gauges(self) -> None:
        """Set the metrics that say how this worker is now."""
        clients = {scenario: self.candidate_clients.get(scenario) for scenario in self.champions.all()}
        for scenario, client in clients.items():
            share = 0.0
            if client is not None:
                share = client.rollout.candidate_share
            self.candidate_share_gauge.labels(scenario).set(share)
        for scenario, is_stale in self.champions.stale().items():
            self.stale_gauge.labels(scenario).set(is_stale)
        self.controller_gauge.set(self._heartbeat.silent_seconds)
        self.store_gauge.set(self._store_reader.is_away or bool(self.follower.failing))

    def pseudonymise(self, user_id: str | None) -> str | None:
        """The pseudonym of a user, None for an anonymous visitor."""
        return None if user_id is None else self.keys.pseudonymise(user_id)

    def name_of_session(self, session_id: str | None) -> str | None:
        """The pseudonym of a session, None where there is no session."""
        return None if session_id is None else self.keys.name_of_session(session_id)


def _not_ready_until(error: NotReady, ready_at: float | None) -> NotReady:
    """The error with the time at which a version is expected; as it is where none is."""
    if ready_at is None:
        return error
    seconds = max(1.0, ready_at - clock.now())
    at = time.strftime("%H:%M", time.localtime(ready_at))
    rule = f"is being trained and will be ready at about {at}, in {ceil(seconds / 60)} min"
    not_ready = NotReady(error.value, rule, "ask again then; vetrina runs shows how far it is")
    not_ready.ready_in_seconds = seconds
    return not_ready


def _assign_arm(client: CandidateClient | None, served_version: str, request: Request) -> _Assignment:
    """The arm of a request in the running rollout.

    There is none while this worker serves another version than the rollout expects: it has yet to follow the champion pointer, or
    could not load the version.
    """
    if client is None or client.rollout.served_version != served_version:
        return _Assignment()
    rollout = client.rollout
    arm = rollout.arm(request.user, request.session)
    if arm == INTERLEAVED and not may_explore(request):
        arm = None  # a later page would repeat products of the interleaved first page
    return _Assignment(client, rollout, arm)


async def _answer_arm(
    serving: ServedVersion,
    assignment: _Assignment,
    request: Request,
    limit: int,
    context: Context,
    rng: np.random.Generator,
) -> _VersionAnswer:
    """The answer of the arm's version; the champion's wherever the other version gives none.

    Args:
        serving: the champion.
        assignment: the arm of the request.
        request: what to answer, widened for exploration.
        limit: number of positions of the answer.
        context: recent events, catalogue changes and spend ledger at this moment.
        rng: source of the order in which interleaved versions draw.
    """
    client = assignment.client
    rollout = assignment.rollout
    if client is None or rollout is None:
        return _VersionAnswer(serving.loaded_bundle.answer(request, context), serving.version)
    if assignment.arm not in (CANARY, INTERLEAVED, HOLDBACK):
        if rollout.is_watch:
            return await _answer_watched(serving, client, request, context)
        return _VersionAnswer(serving.loaded_bundle.answer(request, context), serving.version)

    started = time.perf_counter()
    candidate = await client.answer(request, context)
    waited_seconds = time.perf_counter() - started - candidate.seconds
    if candidate.answer is None:
        champion_answer = serving.loaded_bundle.answer(request, context)
        return _VersionAnswer(champion_answer, serving.version, candidate.fault, waited_seconds)
    if assignment.arm == INTERLEAVED:
        champion_answer = serving.loaded_bundle.answer(request, context)
        mixed = team_draft(champion_answer.items, candidate.answer.items, limit, rng)
        answer = replace(champion_answer, items=mixed.items)
        return _VersionAnswer(answer, serving.version, None, waited_seconds, mixed.teams)
    return _VersionAnswer(candidate.answer, rollout.alternative_version, None, waited_seconds)


async def _answer_watched(
    serving: ServedVersion, client: CandidateClient, request: Request, context: Context
) -> _VersionAnswer:
    """The answer of a watched champion; that of the version before where the champion fails and the other does not.

    Args:
        serving: the watched champion.
        client: the client of the version before it.
        request: what to answer.
        context: recent events, catalogue changes and spend ledger at this moment.
    """
    try:
        answer = serving.loaded_bundle.answer(request, context)
    except Exception as error:
        instead = await _answer_before(client, request, context, "error")
        if instead is None:
            raise  # the request is to blame: the version before cannot answer it either
        _LOG.warning("the watched version %s failed: %r", serving.version, error)
        return instead
    if not is_valid_answer(answer, request):
        instead = await _answer_before(client, request, context, "shape")
        if instead is not None:
            _LOG.warning("the watched version %s gave an invalid answer", serving.version)
            return instead
    return _VersionAnswer(answer, serving.version)


async def _answer_before(
    client: CandidateClient, request: Request, context: Context, fault: str
) -> _VersionAnswer | None:
    """The answer of the version before a watched one, which failed with ``fault``; None if it has none either."""
    started = time.perf_counter()
    before = await client.answer(request, context)
    waited_seconds = time.perf_counter() - started - before.seconds
    if before.answer is None:
        return None
    return _VersionAnswer(before.answer, client.rollout.alternative_version, fault, waited_seconds)


def _logged_items(ranking: _ChosenRanking, offset: int) -> tuple[LoggedItem, ...]:
    """The items as they are logged."""
    teams = ranking.teams or ("",) * len(ranking.answer.items)
    logged = []
    ranked = zip(ranking.answer.items, ranking.propensities, teams, strict=True)
    for position, (item, propensity, team) in enumerate(ranked, start=offset + 1):
        logged.append(logged_item(item, position, propensity, team))
    return tuple(logged)


def _request_parameters(request: Request) -> dict[str, object]:
    """The parameters that differ from their defaults, without user and session."""
    defaults = Request()
    parameters: dict[str, object] = {}
    for name in _LOGGED_REQUEST_FIELDS:
        value = getattr(request, name)
        if value != getattr(defaults, name):
            parameters[name] = value
    return _bounded(parameters)


def _bounded(parameters: dict[str, object]) -> dict[str, object]:
    """The parameters, the long ones replaced by their digest where the log would grow by more than its bound."""
    encoded = msgspec.json.encode(parameters)
    if len(encoded) <= _MAX_LOGGED_REQUEST_BYTES:
        return parameters
    bounded = {name: value for name, value in parameters.items() if name not in _LONG_REQUEST_FIELDS}
    bounded[OMITTED] = blake2b(encoded, digest_size=16).hexdigest()
    return bounded


def _to_response(record: AnswerRecord, answer: Answer, request: Request) -> RankedOut:
    """The answer as HTTP returns it; reasons only where the request asks for an explanation."""
    items = []
    for item in answer.items:
        reasons = list(item.reasons) if request.explain else []
        ad_id = item.ad.ad_id if item.ad is not None else ""
        items.append(ItemOut(item.product_id, item.title, round(item.score, 6), reasons, ad_id))
    facets = {name: dict(counts) for name, counts in answer.facets.items()}
    return RankedOut(record.request_id, record.version, items, answer.total, facets)
