"""What the routes share: the opened versions, the logs, the figures for Prometheus."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from vetrina.core import clock
from vetrina.core.protocols import Context
from vetrina.core.rollout_types import CANARY, CHAMPION, INTERLEAVED, SHADOW
from vetrina.core.types import Request as Asked
from vetrina.serve.audience import RecipientList, find_recipients
from vetrina.serve.canary import CandidateAnswer
from vetrina.serve.exploration import AnswerWithPropensities, keep_order, may_explore, sample_order, widen_request
from vetrina.serve.interleaving import team_draft
from vetrina.serve.live_state import (
    CandidateClients,
    Champions,
    LoadedBundles,
    StoredChanges,
    StoredEvents,
    StoreFollower,
)
from vetrina.serve.recorded_context import RecordingLedger
from vetrina.serve.schemas import EventBody, ItemOut, RankedOut, parse_past_time
from vetrina.serve.spend_ledger import StoredSpendLedger
from vetrina.store.database import open_store
from vetrina.store.event_log import Event, EventLog
from vetrina.store.registry import Registry
from vetrina.store.rollouts import RolloutStore
from vetrina.store.runs import RunStore
from vetrina.store.shop_folder import ShopFolder

_MAX_LOGGED_ROWS = 100  # of a request to predict


@dataclass(frozen=True)
class AnswerRecord:
    """An answer that was given: by which version of which scenario, at which time, in how many seconds."""

    request_id: str
    scenario: str
    version: str
    time: float
    seconds: float


class Service:
    """Everything the routes share."""

    def __init__(self, shop: ShopFolder) -> None:
        self.folder = shop
        self.keys = shop.keys
        self.engine = open_store(shop.store_url, shop.keys)
        self.registry = Registry(self.engine, self.keys)
        opened = LoadedBundles(shop.bundles)
        self.champions = Champions(self.registry, opened)
        self.runs = RunStore(self.engine)
        self.rollouts = RolloutStore(self.engine, self.keys, self.registry)
        self.event_log = EventLog(self.engine, self.keys)
        self.candidate_clients = CandidateClients(
            self.rollouts, opened, shop.settings.release.candidate_timeout_ms / 1e3, self.event_log.log_shadow_answer
        )
        self.catalogue_changes = StoredChanges(self.engine)
        self.recent_events = StoredEvents(self.engine, shop.settings.weights)
        self.ledger = StoredSpendLedger(self.engine)
        self.follower = StoreFollower(
            self.champions, self.candidate_clients, self.catalogue_changes, opened, self.ledger
        )
        self._rng = np.random.default_rng()
        self.metrics_registry = CollectorRegistry()
        self.answer_counter = Counter(
            "vetrina_answers", "Answers given", ["scenario", "version"], registry=self.metrics_registry
        )
        self.fault_counter = Counter(
            "vetrina_candidate_faults",
            "Answers a candidate failed to give",
            ["scenario", "fault"],
            registry=self.metrics_registry,
        )
        self.candidate_share_gauge = Gauge(
            "vetrina_candidate_share",
            "Share of shoppers that meet a candidate",
            ["scenario"],
            registry=self.metrics_registry,
        )
        self.error_counter = Counter(
            "vetrina_errors", "Requests refused or failed", ["status"], registry=self.metrics_registry
        )
        self.event_counter = Counter("vetrina_events", "New events made durable", registry=self.metrics_registry)
        buckets = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
        self.latency_histogram = Histogram(
            "vetrina_answer_seconds", "Time to answer", ["scenario"], registry=self.metrics_registry, buckets=buckets
        )

    def start(self) -> None:
        """Open what serves, then follow the store."""
        self.follower.start()

    def stop(self) -> None:
        """Write what waits and let go of the store."""
        self.follower.stop()
        self.event_log.close()
        self.engine.dispose()

    async def rank(self, scenario: str, request: Asked) -> RankedOut:
        """Answer, and log what is shown with the chance that each product had to stand at its place."""
        started = time.perf_counter()
        serving = self.champions.get(scenario)
        trial = self.candidate_clients.get(scenario)
        heard = RecordingLedger(self.ledger)
        context = Context(
            self.recent_events, self.catalogue_changes, clock.now(), heard, self.folder.settings.goals.to_dict()
        )
        rollout = trial.rollout if trial else None  # one step from start to end, whatever the follower does meanwhile
        arm = rollout.arm(request.user, request.session) if rollout else None
        if arm == INTERLEAVED and not may_explore(request):
            arm = None  # a later page would repeat what a mixed first one showed
        tried = CandidateAnswer(None, None)
        elsewhere = 0.0  # seconds that the event loop spent on others, which are not this answer's
        if trial and arm in (CANARY, INTERLEAVED):
            begun = time.perf_counter()
            tried = await trial.answer(request, context)
            elsewhere = time.perf_counter() - begun - tried.seconds
        teams: Sequence[str] = ()
        if tried.answer and arm == INTERLEAVED:
            own = serving.loaded_bundle.answer(request, context)
            mixed = team_draft(own.items, tried.answer.items, request.limit, self._rng)
            shown_now = AnswerWithPropensities(replace(own, items=mixed.items), (1.0,) * len(mixed.items))
            teams = mixed.teams
        elif tried.answer:
            shown_now = AnswerWithPropensities(tried.answer, (1.0,) * len(tried.answer.items))
        else:
            shown_now = self._champion_answer(serving.loaded_bundle, request, context, trial is None)
        answer = shown_now.answer
        version = rollout.candidate if rollout and tried.answer and arm == CANARY else serving.version
        seconds = time.perf_counter() - started - elsewhere
        request_id = uuid4().hex
        shown = [
            {"product_id": i.product_id, "position": request.offset + at, "propensity": p, "score": round(i.score, 4)}
            | (asdict(i.ad) if i.ad else {})
            for at, (i, p) in enumerate(zip(answer.items, shown_now.propensities, strict=True), start=1)
        ]
        for row, team in zip(shown, teams, strict=False):
            row["team"] = team
        if answer.offers:
            self.ledger.record_answer(request_id, request.user or request.session, answer, context.now)
        self._log_exposure(
            AnswerRecord(request_id, scenario, version, context.now, seconds),
            _request_parameters(request) | ({"ledger": told} if (told := heard.recording()) else {}),
            shown,
            arm=arm or CHAMPION,
            user=request.user,
            session=request.session,
            fault=tried.fault,
            rollout=rollout.id if rollout and arm else None,
            step=rollout.step if rollout and arm else None,
        )
        if trial and rollout and rollout.step == SHADOW:
            trial.shadow(request, context, answer)
        self.latency_histogram.labels(scenario).observe(seconds)
        self.answer_counter.labels(scenario, version).inc()
        if tried.fault:
            self.fault_counter.labels(scenario, tried.fault).inc()
        items = [
            ItemOut(
                i.product_id,
                i.title,
                round(i.score, 6),
                list(i.reasons) if request.explain else [],
                i.ad.ad_id if i.ad else "",
            )
            for i in answer.items
        ]
        return RankedOut(request_id, version, items, answer.total, {k: dict(v) for k, v in answer.facets.items()})

    def _champion_answer(
        self, loaded_bundle: Any, request: Asked, context: Context, without_candidate: bool
    ) -> AnswerWithPropensities:
        """The champion's answer; in a share of answers drawn more widely, unless a candidate is compared with it."""
        share = self.folder.settings.serve.exploration_rate
        if not share or not without_candidate or not may_explore(request):
            answer = loaded_bundle.answer(request, context)
            return AnswerWithPropensities(answer, (1.0,) * len(answer.items))
        if self._rng.random() < share:
            return sample_order(loaded_bundle.answer(widen_request(request), context), request.limit, share, self._rng)
        return keep_order(loaded_bundle.answer(request, context), request.limit, share)

    def predict(self, rows: Sequence[Any]) -> tuple[str, str, list[dict[str, Any]]]:
        """Request id, version and one prediction a row. Of the inputs only coarse bins are logged."""
        started = time.perf_counter()
        serving = self.champions.get("predict")
        found = serving.loaded_bundle.answer(rows)
        seconds = time.perf_counter() - started
        request_id = uuid4().hex
        kept = "probability" if serving.loaded_bundle.encoding.number is None else "prediction"
        logged = [{"position": n, kept: f[kept]} for n, f in enumerate(found[:_MAX_LOGGED_ROWS], start=1)]
        given = AnswerRecord(request_id, "predict", serving.version, clock.now(), seconds)
        self._log_exposure(given, {"bins": serving.loaded_bundle.bins(rows[:_MAX_LOGGED_ROWS])}, logged)
        self.latency_histogram.labels("predict").observe(seconds)
        self.answer_counter.labels("predict", serving.version).inc()
        return request_id, serving.version, found

    def audience(self, body: Mapping[str, Any]) -> tuple[str, str, RecipientList]:
        """Request id, version and the people of an audience. Who they are is not logged beside the answer."""
        started = time.perf_counter()
        serving = self.champions.get("launch")
        context = Context(self.recent_events, self.catalogue_changes, clock.now())
        found = find_recipients(serving.loaded_bundle, self.engine, self.keys, context, **body)
        seconds = time.perf_counter() - started
        request_id = uuid4().hex
        asked = {name: body[name] for name in ("product_id", "size", "segment", "channel") if body.get(name)}
        self._log_exposure(AnswerRecord(request_id, "launch", serving.version, context.now, seconds), asked, [])
        self.latency_histogram.labels("launch").observe(seconds)
        self.answer_counter.labels("launch", serving.version).inc()
        return request_id, serving.version, found

    def _log_exposure(
        self, record: AnswerRecord, request: Mapping[str, Any], items: Sequence[Any], arm: str = CHAMPION, **who: Any
    ) -> None:
        """Log an answer. ``who`` holds user, session, fault, rollout and step as far as there are any."""
        texts = {"request": msgspec.json.encode(request).decode(), "items": msgspec.json.encode(items).decode()}
        blank = dict.fromkeys(("user", "session", "fault", "rollout", "step"))
        self.event_log.log_exposure({**asdict(record), **texts, "arm": arm, **blank, **who})

    def pseudonymise(self, user_id: str | None) -> str | None:
        """Pseudonym, or None for nobody."""
        return None if user_id is None else self.keys.pseudonymise(user_id)

    def name_of_session(self, session_id: str | None) -> str | None:
        """Pseudonym, or None where there is no session."""
        return None if session_id is None else self.keys.name_of_session(session_id)

    def to_event(self, body: EventBody) -> Event:
        """A checked event under pseudonyms. Raises BadInput."""
        moment = parse_past_time(body.timestamp)
        user = self.keys.pseudonymise(body.user_id)
        content = self.keys.pseudonymised(msgspec.to_builtins(body))
        event_id = content.pop("event_id", None)
        for name in ("user_id", "timestamp"):
            content.pop(name, None)
        text = msgspec.json.encode(content, order="sorted").decode()
        # Without an id, equal content at an equal time is the same event; without a time, each is its own.
        if event_id is None:
            event_id = _digest(f"{user}{moment}{text}") if body.timestamp is not None else uuid4().hex
        return Event(event_id, user, content.get("session_id"), moment, text, self.keys.seal(body.user_id))


def _request_parameters(request: Asked) -> dict[str, object]:
    """What was asked, without what was left at its default and without who asked."""
    unsaid = Asked()
    names = ("query", "product_ids", "placement", "filters", "sort", "offset", "limit", "personalise", "exclude_seen")
    return {n: getattr(request, n) for n in names if getattr(request, n) != getattr(unsaid, n)}


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()
