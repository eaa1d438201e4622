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
from vetrina.core.rollout import CANARY, CHAMPION, INTERLEAVED, SHADOW
from vetrina.core.types import Request as Asked
from vetrina.serve.audience import Found, find
from vetrina.serve.explore import Explored, drawn, kept, may_explore, widened
from vetrina.serve.interleave import team_draft
from vetrina.serve.ledger import Ledger
from vetrina.serve.live import Champions, Follower, Opened, StoredChanges, StoredEvents, Trials
from vetrina.serve.testimony import Heard
from vetrina.serve.trial import Tried
from vetrina.serve.wire import EventBody, ItemOut, RankedOut, past_moment
from vetrina.store.database import open_store
from vetrina.store.eventlog import Event, EventLog
from vetrina.store.folder import ShopFolder
from vetrina.store.registry import Registry
from vetrina.store.rollouts import Rollouts
from vetrina.store.runs import Runs

_ROWS_LOGGED = 100  # of a request to predict


@dataclass(frozen=True)
class Given:
    """An answer that was given: by which version of which scenario, at which time, in how many seconds."""

    request_id: str
    scenario: str
    version: str
    time: float
    seconds: float


class Service:
    """Everything the routes share."""

    def __init__(self, shop: ShopFolder) -> None:
        self.shop, self.keys = shop, shop.keys
        self.engine = open_store(shop.store_url, shop.keys)
        self.registry = Registry(self.engine, self.keys)
        opened = Opened(shop.bundles)
        self.champions = Champions(self.registry, opened)
        self.runs = Runs(self.engine)
        self.rollouts = Rollouts(self.engine, self.keys, self.registry)
        self.log = EventLog(self.engine, self.keys)
        self.trials = Trials(self.rollouts, opened, shop.settings.release.timeout_ms / 1e3, self.log.note_shadow)
        self.changes = StoredChanges(self.engine)
        self.events = StoredEvents(self.engine, shop.settings.weights)
        self.ledger = Ledger(self.engine)
        self.follower = Follower(self.champions, self.trials, self.changes, opened, self.ledger)
        self._rng = np.random.default_rng()
        self.metrics = CollectorRegistry()
        self.answers = Counter("vetrina_answers", "Answers given", ["scenario", "version"], registry=self.metrics)
        self.faults = Counter(
            "vetrina_candidate_faults",
            "Answers a candidate failed to give",
            ["scenario", "fault"],
            registry=self.metrics,
        )
        self.share = Gauge(
            "vetrina_candidate_share", "Share of shoppers that meet a candidate", ["scenario"], registry=self.metrics
        )
        self.errors = Counter("vetrina_errors", "Requests refused or failed", ["status"], registry=self.metrics)
        self.accepted = Counter("vetrina_events", "New events made durable", registry=self.metrics)
        buckets = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
        self.seconds = Histogram(
            "vetrina_answer_seconds", "Time to answer", ["scenario"], registry=self.metrics, buckets=buckets
        )

    def start(self) -> None:
        """Open what serves, then follow the store."""
        self.follower.start()

    def stop(self) -> None:
        """Write what waits and let go of the store."""
        self.follower.stop()
        self.log.close()
        self.engine.dispose()

    async def ranked(self, scenario: str, asked: Asked) -> RankedOut:
        """Answer, and log what is shown with the chance that each product had to stand at its place."""
        started = time.perf_counter()
        serving, trial = self.champions.get(scenario), self.trials.get(scenario)
        heard = Heard(self.ledger)
        context = Context(self.events, self.changes, clock.now(), heard, self.shop.settings.goals.of())
        rollout = trial.rollout if trial else None  # one step from start to end, whatever the follower does meanwhile
        arm = rollout.arm(asked.user, asked.session) if rollout else None
        if arm == INTERLEAVED and not may_explore(asked):
            arm = None  # a later page would repeat what a mixed first one showed
        tried = Tried(None, None)
        elsewhere = 0.0  # seconds that the event loop spent on others, which are not this answer's
        if trial and arm in (CANARY, INTERLEAVED):
            begun = time.perf_counter()
            tried = await trial.ask(asked, context)
            elsewhere = time.perf_counter() - begun - tried.seconds
        teams: Sequence[str] = ()
        if tried.answer and arm == INTERLEAVED:
            own = serving.opened.answer(asked, context)
            mixed = team_draft(own.items, tried.answer.items, asked.limit, self._rng)
            shown_now, teams = Explored(replace(own, items=mixed.items), (1.0,) * len(mixed.items)), mixed.teams
        elif tried.answer:
            shown_now = Explored(tried.answer, (1.0,) * len(tried.answer.items))
        else:
            shown_now = self._own(serving.opened, asked, context, trial is None)
        answer = shown_now.answer
        version = rollout.candidate if rollout and tried.answer and arm == CANARY else serving.version
        seconds, request_id = time.perf_counter() - started - elsewhere, uuid4().hex
        shown = [
            {"product_id": i.product_id, "position": asked.offset + at, "propensity": p, "score": round(i.score, 4)}
            | (asdict(i.ad) if i.ad else {})
            for at, (i, p) in enumerate(zip(answer.items, shown_now.propensities, strict=True), start=1)
        ]
        for row, team in zip(shown, teams, strict=False):
            row["team"] = team
        if answer.offers:
            self.ledger.note(request_id, asked.user or asked.session, answer, context.now)
        self._expose(
            Given(request_id, scenario, version, context.now, seconds),
            _context(asked) | ({"ledger": told} if (told := heard.told()) else {}),
            shown,
            arm=arm or CHAMPION,
            user=asked.user,
            session=asked.session,
            fault=tried.fault,
            rollout=rollout.id if rollout and arm else None,
            step=rollout.step if rollout and arm else None,
        )
        if trial and rollout and rollout.step == SHADOW:
            trial.shadow(asked, context, answer)
        self.seconds.labels(scenario).observe(seconds)
        self.answers.labels(scenario, version).inc()
        if tried.fault:
            self.faults.labels(scenario, tried.fault).inc()
        items = [
            ItemOut(
                i.product_id,
                i.title,
                round(i.score, 6),
                list(i.reasons) if asked.explain else [],
                i.ad.ad_id if i.ad else "",
            )
            for i in answer.items
        ]
        return RankedOut(request_id, version, items, answer.total, {k: dict(v) for k, v in answer.facets.items()})

    def _own(self, opened: Any, asked: Asked, context: Context, alone: bool) -> Explored:
        """The champion's answer; in a share of answers drawn more widely, unless a candidate is compared with it."""
        share = self.shop.settings.serve.explore
        if not share or not alone or not may_explore(asked):
            answer = opened.answer(asked, context)
            return Explored(answer, (1.0,) * len(answer.items))
        if self._rng.random() < share:
            return drawn(opened.answer(widened(asked), context), asked.limit, share, self._rng)
        return kept(opened.answer(asked, context), asked.limit, share)

    def predicted(self, rows: Sequence[Any]) -> tuple[str, str, list[dict[str, Any]]]:
        """Request id, version and one prediction a row. Of the inputs only coarse bins are logged."""
        started = time.perf_counter()
        serving = self.champions.get("predict")
        found = serving.opened.answer(rows)
        seconds, request_id = time.perf_counter() - started, uuid4().hex
        kept = "probability" if serving.opened.encoding.number is None else "prediction"
        logged = [{"position": n, kept: f[kept]} for n, f in enumerate(found[:_ROWS_LOGGED], start=1)]
        given = Given(request_id, "predict", serving.version, clock.now(), seconds)
        self._expose(given, {"bins": serving.opened.bins(rows[:_ROWS_LOGGED])}, logged)
        self.seconds.labels("predict").observe(seconds)
        self.answers.labels("predict", serving.version).inc()
        return request_id, serving.version, found

    def audience(self, call: Mapping[str, Any]) -> tuple[str, str, Found]:
        """Request id, version and the people of an audience. Who they are is not logged beside the answer."""
        started = time.perf_counter()
        serving = self.champions.get("launch")
        context = Context(self.events, self.changes, clock.now())
        found = find(serving.opened, self.engine, self.keys, context, **call)
        seconds, request_id = time.perf_counter() - started, uuid4().hex
        asked = {name: call[name] for name in ("product_id", "size", "segment", "channel") if call.get(name)}
        self._expose(Given(request_id, "launch", serving.version, context.now, seconds), asked, [])
        self.seconds.labels("launch").observe(seconds)
        self.answers.labels("launch", serving.version).inc()
        return request_id, serving.version, found

    def _expose(
        self, given: Given, request: Mapping[str, Any], items: Sequence[Any], arm: str = CHAMPION, **who: Any
    ) -> None:
        """Log an answer. ``who`` holds user, session, fault, rollout and step as far as there are any."""
        texts = {"request": msgspec.json.encode(request).decode(), "items": msgspec.json.encode(items).decode()}
        blank = dict.fromkeys(("user", "session", "fault", "rollout", "step"))
        self.log.expose({**asdict(given), **texts, "arm": arm, **blank, **who})

    def name_of(self, user_id: str | None) -> str | None:
        """Pseudonym, or None for nobody."""
        return None if user_id is None else self.keys.name_of(user_id)

    def name_of_session(self, session_id: str | None) -> str | None:
        """Pseudonym, or None where there is no session."""
        return None if session_id is None else self.keys.name_of_session(session_id)

    def event(self, body: EventBody) -> Event:
        """A checked event under pseudonyms. Raises BadInput."""
        moment = past_moment(body.timestamp)
        user = self.keys.name_of(body.user_id)
        content = self.keys.pseudonymised(msgspec.to_builtins(body))
        event_id = content.pop("event_id", None)
        for name in ("user_id", "timestamp"):
            content.pop(name, None)
        text = msgspec.json.encode(content, order="sorted").decode()
        # Without an id, equal content at an equal time is the same event; without a time, each is its own.
        if event_id is None:
            event_id = _digest(f"{user}{moment}{text}") if body.timestamp is not None else uuid4().hex
        return Event(event_id, user, content.get("session_id"), moment, text, self.keys.seal(body.user_id))


def _context(asked: Asked) -> dict[str, object]:
    """What was asked, without what was left at its default and without who asked."""
    unsaid = Asked()
    names = ("query", "product_ids", "placement", "filters", "sort", "offset", "limit", "personalise", "exclude_seen")
    return {n: getattr(asked, n) for n in names if getattr(asked, n) != getattr(unsaid, n)}


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()
