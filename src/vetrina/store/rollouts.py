"""Rollouts: current state, evidence and the signed decision log.

One row per rollout holds its state and evidence; every decision is appended to a signed log. Nothing is decided here.
A row is written only if it can be read again. One that cannot be read, whoever wrote it, is set aside: the scenario is served
without an experiment, and an operator ends the rollout.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, Row, case, delete, func, insert, select, update

from vetrina.core import clock
from vetrina.core.errors import BadInput, Conflict
from vetrina.core.keys import Keys
from vetrina.core.rollout_types import (
    INTERLEAVED,
    AnswerCounts,
    GuardrailLimits,
    PreReleaseStatistics,
    Rollout,
    RolloutDecision,
    RolloutEvidence,
    RolloutKind,
    ShadowEvidence,
    StepEvidence,
)
from vetrina.core.settings import ReleaseSettings, with_current_names
from vetrina.core.verdicts import Reason
from vetrina.store.database import lock_log, read
from vetrina.store.registry import ROLLBACK, Registry, VersionRegistration
from vetrina.store.tables import expectations, exposures, rollout_log, rollouts, shadow_answers

RolloutState = Literal["running", "promoted", "rolled back", "returned"]
_CHUNK_SIZE = 500  # units in one query
_UNKNOWN = "(unknown)"  # version of a rollout that cannot be read
# What a stored record raises that cannot be read: a null where a number belongs, a field that is missing, no JSON at all.
_UNREADABLE = (ValueError, TypeError, LookupError)
_LOG = logging.getLogger("vetrina.store")


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


@dataclass(frozen=True)
class RolloutSummary:
    """A rollout in a list of all.

    Attributes:
        release: Id of the rollout.
        scenario: The scenario.
        kind: "canary" of a candidate, or "watch" of a version that was promoted before.
        state: Where it stands; "unreadable" for a running one that cannot be read.
        share: Share of units that the candidate answers.
        candidate: The newer version, which is tested or watched.
        champion: The version that it is compared with.
        started: Start in seconds since 1970.
    """

    release: str
    scenario: str
    kind: RolloutKind
    state: RolloutState | Literal["unreadable"]
    share: float
    candidate: str
    champion: str
    started: float


@dataclass(frozen=True)
class NewRollout:
    """A rollout to start.

    Attributes:
        running: Its first state.
        expected_outcomes: (clicks, conversion, revenue) by unit that was active in the period before.
    """

    running: RunningRollout
    expected_outcomes: Mapping[str, tuple[float, float, float]]


_Record = TypeVar("_Record", RunningRollout, DecisionRecord)


class RolloutStore:
    """Rollouts of one shop."""

    def __init__(self, engine: Engine, keys: Keys, registry: Registry) -> None:
        self._engine = engine
        self._keys = keys
        self._registry = registry
        self._reported: frozenset[str] = frozenset()  # unreadable rollouts that the log of this process names already

    def start(self, new: NewRollout) -> None:
        """Start a rollout. Raises Conflict if the scenario has one already."""
        scenario = new.running.rollout.scenario
        with self._engine.begin() as connection:
            lock_log(connection, "releases")
            other = self._running_in(connection, scenario)
            if other is not None:
                rule = f"has release {other.rollout.id} under way"
                raise Conflict(scenario, rule, "wait for it, or vetrina rollback")
            self._insert(connection, new)

    def release_version(self, registration: VersionRegistration, new: NewRollout | None, now: float) -> None:
        """Record a version, promote it if the release says so, and start its rollout, in one transaction.

        A rollout that is running ends with it, unless the version was returned: the newer candidate replaces an undecided one,
        and a watched version stays promoted. Repeating all of this changes nothing.

        Args:
            registration: The version and the outcome of its release.
            new: Canary or watch of the version; None for neither.
            now: Time of the release in seconds since 1970.

        Raises:
            Conflict: The champion has changed since the release was decided.
        """
        scenario = registration.bundle.scenario
        with self._registry.transaction(scenario) as connection:
            lock_log(connection, "releases")
            if self._registry.is_registered_in(connection, registration):
                return
            if registration.release.outcome != "returned":
                self._end_replaced(connection, scenario, registration.bundle.version, now)
            self._registry.register_version_in(connection, registration)
            if new is not None:
                self._insert(connection, new)

    def _insert(self, connection: Connection, new: NewRollout) -> None:
        """Insert a rollout with the expected outcomes of its units."""
        rollout = new.running.rollout
        row = {
            "id": rollout.id,
            "scenario": rollout.scenario,
            "state": "running",
            "fence": 1,
            "created": rollout.started,
            "body": _encode(new.running),
        }
        connection.execute(insert(rollouts).values(**row))
        connection.execute(delete(expectations).where(expectations.c.rollout == rollout.id))
        units = iter(new.expected_outcomes.items())
        while chunk := list(islice(units, _CHUNK_SIZE)):
            rows = [
                {"rollout": rollout.id, "unit": unit, "clicks": clicks, "conversion": conversion, "revenue": revenue}
                for unit, (clicks, conversion, revenue) in chunk
            ]
            connection.execute(insert(expectations), rows)

    def _end_replaced(self, connection: Connection, scenario: str, version: str, now: float) -> None:
        """End the running rollout of a scenario, if any, because ``version`` replaces its candidate."""
        running = self._running_in(connection, scenario)
        if running is None:
            return
        rollout = running.rollout
        champion, _ = self._registry.champion_in(connection, scenario)
        is_kept = rollout.is_watch and champion == rollout.candidate
        if is_kept:
            reason = Reason("replaced", True, f"replaced by {version}: not shown to be worse until then")
            decision = RolloutDecision("promote", (reason,))
            state: RolloutState = "promoted"
        else:
            reason = Reason("replaced", False, f"replaced by {version}: {rollout.candidate} is not called worse")
            decision = RolloutDecision("return", (reason,))
            state = "returned"
        record = DecisionRecord(rollout, running.before, running.seen, running.rules, decision, now)
        self._write_in(connection, running, running, state, record)

    def _running_in(self, connection: Connection, scenario: str) -> RunningRollout | None:
        """The running rollout of a scenario, locked until the transaction ends; what is readable of an unreadable one."""
        query = select(rollouts).where(rollouts.c.scenario == scenario, rollouts.c.state == "running").with_for_update()
        row = connection.execute(query).first()
        if row is None:
            return None
        running = _decode_running(row)
        if running is None:
            return _salvage(row)
        return running

    def running(self) -> dict[str, RunningRollout]:
        """Running rollouts by scenario. Those that cannot be read are left out and reported once in the log."""
        decoded = {row: _decode_running(row) for row in self._running_rows()}
        unreadable = frozenset(row.id for row, running in decoded.items() if running is None)
        for rollout in unreadable - self._reported:
            _LOG.error("release %s cannot be read and is not followed; vetrina rollback ends it", rollout)
        self._reported = unreadable
        return {row.scenario: running for row, running in decoded.items() if running is not None}

    def unreadable(self) -> dict[str, RunningRollout]:
        """What can still be read of the running rollouts that ``running`` leaves out, by scenario."""
        return {row.scenario: _salvage(row) for row in self._running_rows() if _decode_running(row) is None}

    def _running_rows(self) -> Sequence[Row[Any]]:
        query = select(rollouts).where(rollouts.c.state == "running")
        with read(self._engine) as connection:
            return connection.execute(query).all()

    def record_evidence(self, running: RunningRollout, evidence: RolloutEvidence) -> RunningRollout:
        """Store new evidence and return the new state.

        Raises:
            Conflict: Another controller changed the rollout.
            BadInput: The evidence could not be read again.
        """
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
        """Store evidence and decision, and move the champion pointer where the decision asks for it, in one transaction.

        The candidate of a canary is promoted if it wins; a watched version that is rolled back gives way to the version before.

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
            BadInput: Evidence or decision could not be read again.
        """
        record = DecisionRecord(running.rollout, running.before, evidence, running.rules, decision, now)
        updated = RunningRollout(new_rollout, running.before, evidence, running.rules)
        return self._write(running, updated, state, record)

    def running_or_unreadable(self, scenario: str) -> RunningRollout | None:
        """The running rollout of a scenario, or what can be read of it; None without one."""
        return (self.unreadable() | self.running()).get(scenario)

    def abort(self, scenario: str, candidate: str | None = None) -> str | None:
        """Roll a scenario's candidate back on behalf of an operator.

        A watched version gives way to the version before.

        Args:
            scenario: The scenario.
            candidate: The candidate to roll back; None for whichever there is.

        Returns:
            The candidate. None without such a rollout, and where another champion has ended it already.
        """
        reason = Reason("by-hand", False, "an operator ended the rollout")
        decision = RolloutDecision("roll back", (reason,))
        while True:
            running = self.running_or_unreadable(scenario)
            if running is None:
                return None
            rollout = running.rollout
            if candidate is not None and rollout.candidate != candidate:
                return None
            champion, _ = self._registry.champion(scenario)
            # On a conflict with the controller, the state that it wrote is read again.
            with suppress(Conflict):
                if rollout.is_watch and champion != rollout.candidate:
                    self.end_overtaken(running, champion, clock.now())
                    return None
                self.record_decision(running, running.seen, decision, rollout, "rolled back", clock.now())
                return rollout.candidate

    def end_overtaken(self, running: RunningRollout, champion: str | None, now: float) -> RolloutDecision:
        """End a rollout whose served version is not the champion any more; returns the recorded decision.

        Args:
            running: The rollout as it was read.
            champion: The version that serves instead.
            now: Time of the decision in seconds since 1970.

        Raises:
            Conflict: Another controller changed the rollout.
        """
        rollout = running.rollout
        text = f"{champion} serves {rollout.scenario} now: {rollout.served_version}, the champion of this release, does not"
        decision = RolloutDecision("return", (Reason("champion-changed", False, text),))
        self.record_decision(running, running.seen, decision, rollout, "returned", now)
        return decision

    def decision_log(self, rollout: str) -> list[DecisionRecord]:
        """Decisions of a rollout, oldest first. Raises BadSignature if a record was changed."""
        query = select(rollout_log).where(rollout_log.c.rollout == rollout).order_by(rollout_log.c.seq)
        with read(self._engine) as connection:
            rows = connection.execute(query).all()
        for row in rows:
            self._keys.verify(row.body.encode(), row.signature)
        try:
            return [_decode(row.body, DecisionRecord) for row in rows]
        except _UNREADABLE:
            rule = "has a decision on record that cannot be read"
            raise BadInput(f"release {rollout}", rule, "vetrina releases lists the others") from None

    def list_rollouts(self, limit: int = 100) -> list[RolloutSummary]:
        """Rollouts, newest first; the state of a running one that cannot be read is ``unreadable``."""
        query = select(rollouts).order_by(rollouts.c.created.desc()).limit(limit)
        with read(self._engine) as connection:
            rows = connection.execute(query).all()
        return [_summarise(row) for row in rows]

    def expected_outcomes(self, rollout: str, units: Sequence[str]) -> dict[str, tuple[float, float, float]]:
        """Expected (clicks, conversion, revenue) of those ``units`` that were active before the rollout."""
        outcomes: dict[str, tuple[float, float, float]] = {}
        with read(self._engine) as connection:
            for start in range(0, len(units), _CHUNK_SIZE):
                chunk = units[start : start + _CHUNK_SIZE]
                query = select(expectations).where(expectations.c.rollout == rollout, expectations.c.unit.in_(chunk))
                for row in connection.execute(query):
                    outcomes[row.unit] = (row.clicks, row.conversion, row.revenue)
        return outcomes

    def step_evidence(
        self, rollout: Rollout, limits: Sequence[GuardrailLimits], slow_seconds: float
    ) -> tuple[StepEvidence, ...]:
        """Units and answers of every step so far.

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
            .where(exposures.c.rollout == rollout.id)  # alone, so that no database reads by time instead
            .group_by(exposures.c.step, exposures.c.arm)
        )
        with read(self._engine) as connection:
            rows = {(row.step, row.arm == rollout.candidate_arm): row for row in connection.execute(query)}
        return tuple(
            _step_evidence(rollout.shares[step], rows.get((step, False)), rows.get((step, True)), step_limits)
            for step, step_limits in enumerate(limits)
        )

    def interleaving_counts(self, rollout: str) -> tuple[int, int]:
        """Number of interleaved answers of a rollout, and of those in which the candidate failed."""
        query = select(func.count(), func.count(exposures.c.fault)).where(
            exposures.c.rollout == rollout, exposures.c.arm == INTERLEAVED
        )
        with read(self._engine) as connection:
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
        with read(self._engine) as connection:
            answers, faults, slow, overlap = connection.execute(query).one()
        return ShadowEvidence(answers, faults, int(slow), float(overlap))

    def _write(
        self, current: RunningRollout, updated: RunningRollout, state: RolloutState, record: DecisionRecord | None
    ) -> RunningRollout:
        """Replace the stored state and append the record, in one transaction; returns the new state."""
        with self._engine.begin() as connection:
            return self._write_in(connection, current, updated, state, record)

    def _write_in(
        self,
        connection: Connection,
        current: RunningRollout,
        updated: RunningRollout,
        state: RolloutState,
        record: DecisionRecord | None,
    ) -> RunningRollout:
        """The same as ``_write``, within a transaction that changes other rows, too."""
        rollout = current.rollout
        fence = current.fence + 1
        updated = _with_fence(updated, fence)
        expected = (rollouts.c.id == rollout.id, rollouts.c.fence == current.fence, rollouts.c.state == "running")
        values = {"state": state, "fence": fence, "body": _encode(updated)}
        result = connection.execute(update(rollouts).where(*expected).values(**values))
        if result.rowcount != 1:
            raise Conflict(rollout.id, "was moved on by another controller", "nothing to do: the other one goes on")
        if record is None:
            return updated
        text = _encode(record)
        row = {"rollout": rollout.id, "fence": fence, "body": text, "signature": self._keys.sign(text.encode())}
        connection.execute(insert(rollout_log).values(**row))
        if state == "promoted" and not rollout.is_watch:
            self._move_champion(connection, rollout, rollout.candidate, "canary:", record.decision)
        if state == "rolled back" and rollout.is_watch:
            self._move_champion(connection, rollout, rollout.champion, ROLLBACK, record.decision)
        return updated

    def _move_champion(
        self, connection: Connection, rollout: Rollout, version: str, key_prefix: str, decision: RolloutDecision
    ) -> None:
        """Move the champion pointer from the version that the rollout found there.

        Args:
            connection: Connection of the transaction.
            rollout: The rollout, which ends.
            version: The new champion.
            key_prefix: Beginning of the decision's key.
            decision: Its reasons are logged.

        Raises:
            Conflict: The pointer was moved meanwhile.
        """
        current, fence = self._registry.champion_in(connection, rollout.scenario)
        if current != rollout.served_version:
            raise Conflict(rollout.scenario, f"is served by {current} meanwhile", "the release has to be returned")
        reasons = "; ".join(reason.text for reason in decision.reasons)
        key = key_prefix + rollout.id
        self._registry.promote_in(connection, rollout.scenario, version, (current, fence), key, reasons)


def _with_fence(running: RunningRollout, fence: int) -> RunningRollout:
    return RunningRollout(running.rollout, running.before, running.seen, running.rules, fence)


def _step_evidence(share: float, champion_row: Any, candidate_row: Any, limits: GuardrailLimits) -> StepEvidence:
    def by_arm(name: str) -> tuple[int, int]:
        champion = getattr(champion_row, name, 0)
        candidate = getattr(candidate_row, name, 0)
        return int(champion or 0), int(candidate or 0)

    counts = AnswerCounts(by_arm("answers"), by_arm("faults"), by_arm("slow"))
    return StepEvidence(share, by_arm("units"), counts, limits)


def _summarise(row: Row[Any]) -> RolloutSummary:
    """A row of the list of rollouts."""
    running = _decode_running(row)
    state = row.state
    if running is None:
        running = _salvage(row)
        if state == "running":
            state = "unreadable"
    rollout = running.rollout
    return RolloutSummary(
        release=row.id,
        scenario=row.scenario,
        kind=rollout.kind,
        state=state,
        share=rollout.candidate_share,
        candidate=rollout.candidate,
        champion=rollout.champion,
        started=row.created,
    )


def running_versions_in(connection: Connection) -> set[str]:
    """Candidates and champions of the running rollouts, within the transaction of ``connection``."""
    versions: set[str] = set()
    for row in connection.execute(select(rollouts).where(rollouts.c.state == "running")):
        running = _decode_running(row) or _salvage(row)
        versions.update((running.rollout.candidate, running.rollout.champion))
    return versions - {_UNKNOWN}


def _decode_running(row: Row[Any]) -> RunningRollout | None:
    """The rollout of a row, None if it cannot be read."""
    try:
        running = _with_fence(_decode(row.body, RunningRollout), row.fence)
        _ = running.rollout.candidate_share  # of a step that exists
    except _UNREADABLE:
        return None
    return running


def _salvage(row: Row[Any]) -> RunningRollout:
    """A rollout that cannot be read, without its evidence, and without its versions where not even they can be read."""
    try:
        rollout = msgspec.convert(msgspec.json.decode(row.body)["rollout"], Rollout)
        _ = rollout.candidate_share
    except _UNREADABLE:
        rollout = Rollout(
            row.id, row.scenario, _UNKNOWN, _UNKNOWN, salt="", started=row.created, stepped=row.created, shares=()
        )
    return RunningRollout(rollout, PreReleaseStatistics(), RolloutEvidence(row.created), ReleaseSettings(), row.fence)


def _decode(body: str, record_type: type[_Record]) -> _Record:
    """A stored record; settings that an earlier version stored get their names of today."""
    raw = msgspec.json.decode(body)
    raw["rules"] = with_current_names("release", raw["rules"])
    return msgspec.convert(raw, record_type)


def _encode(record: _Record) -> str:
    """The record as it is stored. Raises BadInput if it could not be read again: JSON has no number that is not finite."""
    text = msgspec.json.encode(record, order="sorted").decode()
    try:
        _decode(text, type(record))
    except _UNREADABLE:
        rule = "has evidence that is not finite"
        way_out = "look for purchases with impossible prices in the log of events; vetrina rollback ends the release"
        raise BadInput(f"release {record.rollout.id}", rule, way_out) from None
    return text
