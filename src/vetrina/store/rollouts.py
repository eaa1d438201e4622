"""Releases under way: state and evidence in one row each, every decision in an append-only signed log."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec
from sqlalchemy import Engine, case, delete, func, insert, select, update

from vetrina.core import clock
from vetrina.core.errors import Conflict
from vetrina.core.rollout_types import (
    CANARY,
    INTERLEAVED,
    AnswerCounts,
    GuardrailLimits,
    PreReleaseStatistics,
    Rollout,
    RolloutDecision,
    RolloutEvidence,
    ShadowEvidence,
    StepEvidence,
)
from vetrina.core.settings import ReleaseSettings, with_current_names
from vetrina.core.types import Reason
from vetrina.security.keys import Keys
from vetrina.store.database import lock_log
from vetrina.store.registry import Registry
from vetrina.store.tables import expectations, exposures, rollout_log, rollouts, shadow_answers

RolloutState = Literal["running", "promoted", "rolled back", "returned"]
_CHUNK_SIZE = 500


@dataclass(frozen=True)
class RunningRollout:
    """A release as it stands. ``fence`` grows with every change, so that of two controllers only one moves it on."""

    rollout: Rollout
    before: PreReleaseStatistics
    seen: RolloutEvidence
    rules: ReleaseSettings
    fence: int = 1


@dataclass(frozen=True)
class DecisionRecord:
    """One decision with everything it was made from: it can be taken again."""

    rollout: Rollout
    before: PreReleaseStatistics
    seen: RolloutEvidence
    rules: ReleaseSettings
    decision: RolloutDecision
    now: float


_Record = TypeVar("_Record", RunningRollout, DecisionRecord)


class RolloutStore:
    """All reads and writes about releases among shoppers."""

    def __init__(self, engine: Engine, keys: Keys, registry: Registry) -> None:
        self._engine = engine
        self._keys = keys
        self._registry = registry

    def start(self, running: RunningRollout, expected_outcomes: Mapping[str, tuple[float, float, float]]) -> None:
        """Start. ``expected`` gives (clicks, conversion, revenue) of units seen before. Raises Conflict if one runs."""
        rollout = running.rollout
        with self._engine.begin() as connection:
            lock_log(connection, "releases")
            query = select(rollouts.c.id).where(rollouts.c.scenario == rollout.scenario, rollouts.c.state == "running")
            if other := connection.execute(query).scalar():
                raise Conflict(rollout.scenario, f"has release {other} under way", "wait for it, or vetrina rollback")
            row = {"id": rollout.id, "scenario": rollout.scenario, "state": "running", "fence": 1}
            connection.execute(insert(rollouts).values(created=rollout.started, body=_encode(running), **row))
            connection.execute(delete(expectations).where(expectations.c.rollout == rollout.id))
            names = ("clicks", "conversion", "revenue")
            rows = [
                {"rollout": rollout.id, "unit": u, **dict(zip(names, m, strict=True))}
                for u, m in expected_outcomes.items()
            ]
            if rows:
                connection.execute(insert(expectations), rows)

    def running(self) -> dict[str, RunningRollout]:
        """Releases under way, by scenario."""
        query = select(rollouts).where(rollouts.c.state == "running")
        with self._engine.connect().execution_options(read_only=True) as connection:
            rows = connection.execute(query).all()
        return {r.scenario: _decode_running(r.body, r.fence) for r in rows}

    def record_evidence(self, running: RunningRollout, evidence: RolloutEvidence) -> RunningRollout:
        """Keep new evidence. Raises Conflict when another controller moved the release meanwhile."""
        return self._write(
            running, RunningRollout(running.rollout, running.before, evidence, running.rules), "running", None
        )

    def record_decision(
        self,
        running: RunningRollout,
        evidence: RolloutEvidence,
        decision: RolloutDecision,
        new_rollout: Rollout,
        state: RolloutState,
        now: float,
    ) -> RunningRollout:
        """Keep evidence and decision, move the release, and with a promotion the pointer: all or nothing."""
        logged = DecisionRecord(running.rollout, running.before, evidence, running.rules, decision, now)
        return self._write(running, RunningRollout(new_rollout, running.before, evidence, running.rules), state, logged)

    def abort(self, scenario: str) -> str | None:
        """End the release of a scenario because a person says so. The candidate, or None when there is no release."""
        decision = RolloutDecision("roll back", (Reason("by-hand", False, "a person took the candidate out"),))
        while (known := self.running().get(scenario)) is not None:
            with suppress(Conflict):  # the controller looked meanwhile: what it wrote is read, and ended all the same
                self.record_decision(known, known.seen, decision, known.rollout, "rolled back", clock.now())
                return known.rollout.candidate
        return None

    def purge_ended(self) -> None:
        """Remove what was kept of single units and shadow answers for releases that are over; decisions stay."""
        over = select(rollouts.c.id).where(rollouts.c.state != "running")
        with self._engine.begin() as connection:
            for table in (expectations, shadow_answers):
                connection.execute(delete(table).where(table.c.rollout.in_(over)))

    def decision_log(self, rollout: str) -> list[DecisionRecord]:
        """The decisions of a release, oldest first, every signature checked."""
        query = select(rollout_log).where(rollout_log.c.rollout == rollout).order_by(rollout_log.c.seq)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            self._keys.verify(row.body.encode(), row.signature)
        return [_decode(r.body, DecisionRecord) for r in rows]

    def list_rollouts(self, limit: int = 100) -> list[dict[str, Any]]:
        """Releases, newest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(rollouts).order_by(rollouts.c.created.desc()).limit(limit)).all()
        found = []
        for row in rows:
            rollout = _decode_running(row.body, row.fence).rollout
            found.append(
                {
                    "release": row.id,
                    "scenario": row.scenario,
                    "state": row.state,
                    "share": rollout.canary_share,
                    "candidate": rollout.candidate,
                    "champion": rollout.champion,
                    "started": row.created,
                }
            )
        return found

    def expected_outcomes(self, rollout: str, units: Sequence[str]) -> dict[str, tuple[float, float, float]]:
        """(clicks, conversion, revenue) expected of those units that were seen before."""
        found: dict[str, tuple[float, float, float]] = {}
        with self._engine.connect().execution_options(read_only=True) as connection:
            for start in range(0, len(units), _CHUNK_SIZE):
                chunk = units[start : start + _CHUNK_SIZE]
                query = select(expectations).where(expectations.c.rollout == rollout, expectations.c.unit.in_(chunk))
                found |= {r.unit: (r.clicks, r.conversion, r.revenue) for r in connection.execute(query)}
        return found

    def step_evidence(
        self, rollout: Rollout, limits: Sequence[GuardrailLimits], slow_seconds: float
    ) -> tuple[StepEvidence, ...]:
        """Units and answers of every step so far; ``limits`` were in force in each."""
        unit = func.coalesce(exposures.c.user, exposures.c.session)
        query = (
            select(
                exposures.c.step,
                exposures.c.arm,
                func.count(unit.distinct()).label("units"),
                func.count().label("answers"),
                func.count(exposures.c.fault).label("faults"),
                func.sum(case((exposures.c.seconds > slow_seconds, 1), else_=0)).label("slow"),
            )
            .where(
                exposures.c.scenario == rollout.scenario,
                exposures.c.time >= rollout.started,
                exposures.c.rollout == rollout.id,
            )
            .group_by(exposures.c.step, exposures.c.arm)
        )
        with self._engine.connect().execution_options(read_only=True) as connection:
            rows = {(r.step, r.arm == CANARY): r for r in connection.execute(query)}
        return tuple(
            _step_evidence(rollout.shares[at], rows.get((at, False)), rows.get((at, True)), limit)
            for at, limit in enumerate(limits)
        )

    def interleaving_counts(self, rollout: str) -> tuple[int, int]:
        """Mixed answers of a release, and those in which the candidate failed."""
        query = select(func.count(), func.count(exposures.c.fault)).where(
            exposures.c.rollout == rollout, exposures.c.arm == INTERLEAVED
        )
        with self._engine.connect().execution_options(read_only=True) as connection:
            answers, faults = connection.execute(query).one()
        return answers, faults

    def shadow_evidence(self, rollout: str, slow_seconds: float) -> ShadowEvidence:
        """What the candidate did unseen."""
        query = select(
            func.count(),
            func.count(shadow_answers.c.fault),
            func.coalesce(func.sum(case((shadow_answers.c.seconds > slow_seconds, 1), else_=0)), 0),
            func.coalesce(func.sum(shadow_answers.c.overlap), 0.0),
        ).where(shadow_answers.c.rollout == rollout)
        with self._engine.connect().execution_options(read_only=True) as connection:
            answers, faults, slow, overlap = connection.execute(query).one()
        return ShadowEvidence(answers, faults, int(slow), float(overlap))

    def _write(
        self, known: RunningRollout, after: RunningRollout, state: RolloutState, logged: DecisionRecord | None
    ) -> RunningRollout:
        rollout = known.rollout
        fence = known.fence + 1
        after = _with_fence(after, fence)
        here = (rollouts.c.id == rollout.id, rollouts.c.fence == known.fence, rollouts.c.state == "running")
        with self._engine.begin() as connection:
            values = {"state": state, "fence": fence, "body": _encode(after)}
            if connection.execute(update(rollouts).where(*here).values(**values)).rowcount != 1:
                raise Conflict(rollout.id, "was moved on by another controller", "nothing to do: the other one goes on")
            if logged is None:
                return after
            text = _encode(logged)
            row = {"rollout": rollout.id, "fence": fence, "body": text, "signature": self._keys.sign(text.encode())}
            connection.execute(insert(rollout_log).values(**row))
            if state == "promoted":
                current, pointer = self._registry.champion_in(connection, rollout.scenario)
                if current != rollout.champion:
                    raise Conflict(
                        rollout.scenario, f"is served by {current} meanwhile", "the release has to be returned"
                    )
                why = "; ".join(r.text for r in logged.decision.reasons)
                seen = (current, pointer)
                self._registry.promote_in(
                    connection, rollout.scenario, rollout.candidate, seen, f"rollout:{rollout.id}", why
                )
        return after


def _with_fence(found: RunningRollout, fence: int) -> RunningRollout:
    return RunningRollout(found.rollout, found.before, found.seen, found.rules, fence)


def _step_evidence(share: float, champion: Any, canary: Any, limits: GuardrailLimits) -> StepEvidence:
    def both(name: str) -> tuple[int, int]:
        return (int(getattr(champion, name, 0) or 0), int(getattr(canary, name, 0) or 0))

    return StepEvidence(share, both("units"), AnswerCounts(both("answers"), both("faults"), both("slow")), limits)


def _decode_running(body: str, fence: int) -> RunningRollout:
    return _with_fence(_decode(body, RunningRollout), fence)


def _decode(body: str, record_type: type[_Record]) -> _Record:
    """A stored record; one of an earlier version names some settings of the release otherwise."""
    raw = msgspec.json.decode(body)
    raw["rules"] = with_current_names("release", raw["rules"])
    return msgspec.convert(raw, record_type)


def _encode(found: RunningRollout | DecisionRecord) -> str:
    return msgspec.json.encode(found, order="sorted").decode()
