"""Rollouts: current state, evidence and the signed decision log.

One row per rollout holds its state and evidence; every decision is appended to a signed log. Nothing is decided here.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, case, delete, func, insert, select, update

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
_CHUNK_SIZE = 500  # units in one query


@dataclass(frozen=True)
class RunningRollout:
    """Current state of a rollout.

    Attributes:
        rollout: Step and arms.
        before: Statistics of the period before the rollout.
        seen: Evidence so far.
        rules: Settings when the rollout started.
        fence: A number that grows with every change, so that only one of two controllers can change the rollout.
    """

    rollout: Rollout
    before: PreReleaseStatistics
    seen: RolloutEvidence
    rules: ReleaseSettings
    fence: int = 1


@dataclass(frozen=True)
class DecisionRecord:
    """One decision with all its inputs, so that it can be reproduced.

    Attributes:
        rollout: Step and arms before the decision.
        before: Statistics of the period before the rollout.
        seen: Evidence at the time of the decision.
        rules: Settings when the rollout started.
        decision: The action and its reasons.
        now: Time of the decision in seconds since 1970.
    """

    rollout: Rollout
    before: PreReleaseStatistics
    seen: RolloutEvidence
    rules: ReleaseSettings
    decision: RolloutDecision
    now: float


_Record = TypeVar("_Record", RunningRollout, DecisionRecord)


class RolloutStore:
    """Rollouts of one shop."""

    def __init__(self, engine: Engine, keys: Keys, registry: Registry) -> None:
        self._engine = engine
        self._keys = keys
        self._registry = registry

    def start(self, running: RunningRollout, expected_outcomes: Mapping[str, tuple[float, float, float]]) -> None:
        """Start a rollout. Raises Conflict if the scenario has one already.

        ``expected_outcomes`` are (clicks, conversion, revenue) by unit that was active in the period before.
        """
        rollout = running.rollout
        running_query = select(rollouts.c.id).where(
            rollouts.c.scenario == rollout.scenario, rollouts.c.state == "running"
        )
        row = {
            "id": rollout.id,
            "scenario": rollout.scenario,
            "state": "running",
            "fence": 1,
            "created": rollout.started,
            "body": _encode(running),
        }
        expectation_rows = [
            {"rollout": rollout.id, "unit": unit, "clicks": clicks, "conversion": conversion, "revenue": revenue}
            for unit, (clicks, conversion, revenue) in expected_outcomes.items()
        ]
        with self._engine.begin() as connection:
            lock_log(connection, "releases")
            other = connection.execute(running_query).scalar()
            if other:
                raise Conflict(rollout.scenario, f"has release {other} under way", "wait for it, or vetrina rollback")
            connection.execute(insert(rollouts).values(**row))
            connection.execute(delete(expectations).where(expectations.c.rollout == rollout.id))
            if expectation_rows:
                connection.execute(insert(expectations), expectation_rows)

    def running(self) -> dict[str, RunningRollout]:
        """Running rollouts by scenario."""
        query = select(rollouts).where(rollouts.c.state == "running")
        with self._engine.connect().execution_options(read_only=True) as connection:
            rows = connection.execute(query).all()
        return {row.scenario: _decode_running(row.body, row.fence) for row in rows}

    def record_evidence(self, running: RunningRollout, evidence: RolloutEvidence) -> RunningRollout:
        """Store new evidence and return the new state. Raises Conflict if another controller changed the rollout."""
        updated = RunningRollout(running.rollout, running.before, evidence, running.rules)
        return self._write(running, updated, "running", None)

    def record_decision(
        self,
        running: RunningRollout,
        evidence: RolloutEvidence,
        decision: RolloutDecision,
        new_rollout: Rollout,
        state: RolloutState,
        now: float,
    ) -> RunningRollout:
        """Store evidence and decision, and promote the candidate if it wins, in one transaction.

        Args:
            running: The rollout as it was read.
            evidence: Evidence of the decision.
            decision: The action and its reasons.
            new_rollout: The rollout after the action.
            state: State after the action.
            now: Time of the decision in seconds since 1970.

        Returns:
            The new state of the rollout.

        Raises:
            Conflict: Another controller changed the rollout, or the champion has changed since it started.
        """
        record = DecisionRecord(running.rollout, running.before, evidence, running.rules, decision, now)
        updated = RunningRollout(new_rollout, running.before, evidence, running.rules)
        return self._write(running, updated, state, record)

    def abort(self, scenario: str) -> str | None:
        """Roll a scenario's candidate back on behalf of an operator. Returns the candidate, None without a rollout."""
        reason = Reason("by-hand", False, "an operator ended the rollout")
        decision = RolloutDecision("roll back", (reason,))
        while True:
            running = self.running().get(scenario)
            if running is None:
                return None
            # On a conflict with the controller, the state that it wrote is read again.
            with suppress(Conflict):
                self.record_decision(running, running.seen, decision, running.rollout, "rolled back", clock.now())
                return running.rollout.candidate

    def purge_ended(self) -> None:
        """Delete expectations of units and shadow answers of ended rollouts; decisions are kept."""
        ended = select(rollouts.c.id).where(rollouts.c.state != "running")
        with self._engine.begin() as connection:
            for table in (expectations, shadow_answers):
                connection.execute(delete(table).where(table.c.rollout.in_(ended)))

    def decision_log(self, rollout: str) -> list[DecisionRecord]:
        """Decisions of a rollout, oldest first. Raises BadSignature if a record was changed."""
        query = select(rollout_log).where(rollout_log.c.rollout == rollout).order_by(rollout_log.c.seq)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            self._keys.verify(row.body.encode(), row.signature)
        return [_decode(row.body, DecisionRecord) for row in rows]

    def list_rollouts(self, limit: int = 100) -> list[dict[str, Any]]:
        """Rollouts, newest first."""
        query = select(rollouts).order_by(rollouts.c.created.desc()).limit(limit)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        summaries: list[dict[str, Any]] = []
        for row in rows:
            rollout = _decode_running(row.body, row.fence).rollout
            summary = {
                "release": row.id,
                "scenario": row.scenario,
                "state": row.state,
                "share": rollout.canary_share,
                "candidate": rollout.candidate,
                "champion": rollout.champion,
                "started": row.created,
            }
            summaries.append(summary)
        return summaries

    def expected_outcomes(self, rollout: str, units: Sequence[str]) -> dict[str, tuple[float, float, float]]:
        """Expected (clicks, conversion, revenue) of those ``units`` that were active before the rollout."""
        outcomes: dict[str, tuple[float, float, float]] = {}
        with self._engine.connect().execution_options(read_only=True) as connection:
            for start in range(0, len(units), _CHUNK_SIZE):
                chunk = units[start : start + _CHUNK_SIZE]
                query = select(expectations).where(expectations.c.rollout == rollout, expectations.c.unit.in_(chunk))
                for row in connection.execute(query):
                    outcomes[row.unit] = (row.clicks, row.conversion, row.revenue)
        return outcomes

    def step_evidence(
        self, rollout: Rollout, limits: Sequence[GuardrailLimits], slow_seconds: float
    ) -> tuple[StepEvidence, ...]:
        """Units and answers of every canary step so far.

        Args:
            rollout: The rollout.
            limits: Guardrails of each step.
            slow_seconds: An answer that takes longer is slow.
        """
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
            rows = {(row.step, row.arm == CANARY): row for row in connection.execute(query)}
        return tuple(
            _step_evidence(rollout.shares[step], rows.get((step, False)), rows.get((step, True)), step_limits)
            for step, step_limits in enumerate(limits)
        )

    def interleaving_counts(self, rollout: str) -> tuple[int, int]:
        """Number of interleaved answers of a rollout, and of those in which the candidate failed."""
        query = select(func.count(), func.count(exposures.c.fault)).where(
            exposures.c.rollout == rollout, exposures.c.arm == INTERLEAVED
        )
        with self._engine.connect().execution_options(read_only=True) as connection:
            answers, faults = connection.execute(query).one()
        return answers, faults

    def shadow_evidence(self, rollout: str, slow_seconds: float) -> ShadowEvidence:
        """Evidence of shadow mode; an answer that takes longer than ``slow_seconds`` is slow."""
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
        self, current: RunningRollout, updated: RunningRollout, state: RolloutState, record: DecisionRecord | None
    ) -> RunningRollout:
        """Replace the stored state and append the record, in one transaction; returns the new state."""
        rollout = current.rollout
        fence = current.fence + 1
        updated = _with_fence(updated, fence)
        expected = (rollouts.c.id == rollout.id, rollouts.c.fence == current.fence, rollouts.c.state == "running")
        values = {"state": state, "fence": fence, "body": _encode(updated)}
        with self._engine.begin() as connection:
            result = connection.execute(update(rollouts).where(*expected).values(**values))
            if result.rowcount != 1:
                raise Conflict(rollout.id, "was moved on by another controller", "nothing to do: the other one goes on")
            if record is None:
                return updated
            text = _encode(record)
            row = {"rollout": rollout.id, "fence": fence, "body": text, "signature": self._keys.sign(text.encode())}
            connection.execute(insert(rollout_log).values(**row))
            if state == "promoted":
                self._promote_candidate(connection, rollout, record.decision)
        return updated

    def _promote_candidate(self, connection: Connection, rollout: Rollout, decision: RolloutDecision) -> None:
        current, fence = self._registry.champion_in(connection, rollout.scenario)
        if current != rollout.champion:
            raise Conflict(rollout.scenario, f"is served by {current} meanwhile", "the release has to be returned")
        reasons = "; ".join(reason.text for reason in decision.reasons)
        key = f"rollout:{rollout.id}"
        self._registry.promote_in(connection, rollout.scenario, rollout.candidate, (current, fence), key, reasons)


def _with_fence(running: RunningRollout, fence: int) -> RunningRollout:
    return RunningRollout(running.rollout, running.before, running.seen, running.rules, fence)


def _step_evidence(share: float, champion_row: Any, canary_row: Any, limits: GuardrailLimits) -> StepEvidence:
    def by_arm(name: str) -> tuple[int, int]:
        champion = getattr(champion_row, name, 0)
        canary = getattr(canary_row, name, 0)
        return int(champion or 0), int(canary or 0)

    counts = AnswerCounts(by_arm("answers"), by_arm("faults"), by_arm("slow"))
    return StepEvidence(share, by_arm("units"), counts, limits)


def _decode_running(body: str, fence: int) -> RunningRollout:
    return _with_fence(_decode(body, RunningRollout), fence)


def _decode(body: str, record_type: type[_Record]) -> _Record:
    """A stored record; settings that an earlier version stored get their names of today."""
    raw = msgspec.json.decode(body)
    raw["rules"] = with_current_names("release", raw["rules"])
    return msgspec.convert(raw, record_type)


def _encode(record: RunningRollout | DecisionRecord) -> str:
    return msgspec.json.encode(record, order="sorted").decode()
