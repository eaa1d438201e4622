"""Releases under way: state and evidence in one row each, every decision in an append-only signed log."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from sqlalchemy import Engine, case, delete, func, insert, select, update

from vetrina.core import clock
from vetrina.core.errors import Conflict
from vetrina.core.rollout import CANARY, INTERLEAVED, Before, Decision, Limits, Rollout, Seen, Shadow, StepSeen, Tally
from vetrina.core.settings import Releases
from vetrina.core.types import Reason
from vetrina.security.keys import Keys
from vetrina.store.database import append_alone
from vetrina.store.registry import Registry
from vetrina.store.tables import expectations, exposures, rollout_log, rollouts, shadows

State = Literal["running", "promoted", "rolled back", "returned"]
_CHUNK = 500


@dataclass(frozen=True)
class UnderWay:
    """A release as it stands. ``fence`` grows with every change, so that of two controllers only one moves it on."""

    rollout: Rollout
    before: Before
    seen: Seen
    rules: Releases
    fence: int = 1


@dataclass(frozen=True)
class Logged:
    """One decision with everything it was made from: it can be taken again."""

    rollout: Rollout
    before: Before
    seen: Seen
    rules: Releases
    decision: Decision
    now: float


class Rollouts:
    """All reads and writes about releases among shoppers."""

    def __init__(self, engine: Engine, keys: Keys, registry: Registry) -> None:
        self._engine, self._keys, self._registry = engine, keys, registry

    def begin(self, found: UnderWay, expected: Mapping[str, tuple[float, float, float]]) -> None:
        """Start. ``expected`` gives (clicks, conversion, revenue) of units seen before. Raises Conflict if one runs."""
        rollout = found.rollout
        with self._engine.begin() as connection:
            append_alone(connection, "releases")
            query = select(rollouts.c.id).where(rollouts.c.scenario == rollout.scenario, rollouts.c.state == "running")
            if other := connection.execute(query).scalar():
                raise Conflict(rollout.scenario, f"has release {other} under way", "wait for it, or vetrina rollback")
            row = {"id": rollout.id, "scenario": rollout.scenario, "state": "running", "fence": 1}
            connection.execute(insert(rollouts).values(created=rollout.started, body=_text(found), **row))
            connection.execute(delete(expectations).where(expectations.c.rollout == rollout.id))
            names = ("clicks", "conversion", "revenue")
            rows = [{"rollout": rollout.id, "unit": u, **dict(zip(names, m, strict=True))} for u, m in expected.items()]
            if rows:
                connection.execute(insert(expectations), rows)

    def running(self) -> dict[str, UnderWay]:
        """Releases under way, by scenario."""
        query = select(rollouts).where(rollouts.c.state == "running")
        with self._engine.connect().execution_options(read_only=True) as connection:
            rows = connection.execute(query).all()
        return {r.scenario: _under_way(r.body, r.fence) for r in rows}

    def look(self, known: UnderWay, seen: Seen) -> UnderWay:
        """Keep new evidence. Raises Conflict when another controller moved the release meanwhile."""
        return self._write(known, UnderWay(known.rollout, known.before, seen, known.rules), "running", None)

    def decide(
        self, known: UnderWay, seen: Seen, decision: Decision, moved: Rollout, state: State, now: float
    ) -> UnderWay:
        """Keep evidence and decision, move the release, and with a promotion the pointer: all or nothing."""
        logged = Logged(known.rollout, known.before, seen, known.rules, decision, now)
        return self._write(known, UnderWay(moved, known.before, seen, known.rules), state, logged)

    def take_out(self, scenario: str) -> str | None:
        """End the release of a scenario because a person says so. The candidate, or None when there is no release."""
        decision = Decision("roll back", (Reason("by-hand", False, "a person took the candidate out"),))
        while (known := self.running().get(scenario)) is not None:
            with suppress(Conflict):  # the controller looked meanwhile: what it wrote is read, and ended all the same
                self.decide(known, known.seen, decision, known.rollout, "rolled back", clock.now())
                return known.rollout.candidate
        return None

    def forget_ended(self) -> None:
        """Remove what was kept of single units and shadow answers for releases that are over; decisions stay."""
        over = select(rollouts.c.id).where(rollouts.c.state != "running")
        with self._engine.begin() as connection:
            for table in (expectations, shadows):
                connection.execute(delete(table).where(table.c.rollout.in_(over)))

    def log(self, rollout: str) -> list[Logged]:
        """The decisions of a release, oldest first, every signature checked."""
        query = select(rollout_log).where(rollout_log.c.rollout == rollout).order_by(rollout_log.c.seq)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            self._keys.verify(row.body.encode(), row.signature)
        return [msgspec.json.decode(r.body, type=Logged) for r in rows]

    def all(self, most: int = 100) -> list[dict[str, Any]]:
        """Releases, newest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(rollouts).order_by(rollouts.c.created.desc()).limit(most)).all()
        found = []
        for row in rows:
            rollout = _under_way(row.body, row.fence).rollout
            found.append(
                {
                    "release": row.id,
                    "scenario": row.scenario,
                    "state": row.state,
                    "share": rollout.share,
                    "candidate": rollout.candidate,
                    "champion": rollout.champion,
                    "started": row.created,
                }
            )
        return found

    def expected(self, rollout: str, units: Sequence[str]) -> dict[str, tuple[float, float, float]]:
        """(clicks, conversion, revenue) expected of those units that were seen before."""
        found: dict[str, tuple[float, float, float]] = {}
        with self._engine.connect().execution_options(read_only=True) as connection:
            for start in range(0, len(units), _CHUNK):
                chunk = units[start : start + _CHUNK]
                query = select(expectations).where(expectations.c.rollout == rollout, expectations.c.unit.in_(chunk))
                found |= {r.unit: (r.clicks, r.conversion, r.revenue) for r in connection.execute(query)}
        return found

    def steps(self, rollout: Rollout, limits: Sequence[Limits], slow_seconds: float) -> tuple[StepSeen, ...]:
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
            _step(rollout.shares[at], rows.get((at, False)), rows.get((at, True)), limit)
            for at, limit in enumerate(limits)
        )

    def interleaved(self, rollout: str) -> tuple[int, int]:
        """Mixed answers of a release, and those in which the candidate failed."""
        query = select(func.count(), func.count(exposures.c.fault)).where(
            exposures.c.rollout == rollout, exposures.c.arm == INTERLEAVED
        )
        with self._engine.connect().execution_options(read_only=True) as connection:
            answers, faults = connection.execute(query).one()
        return answers, faults

    def shadow(self, rollout: str, slow_seconds: float) -> Shadow:
        """What the candidate did unseen."""
        query = select(
            func.count(),
            func.count(shadows.c.fault),
            func.coalesce(func.sum(case((shadows.c.seconds > slow_seconds, 1), else_=0)), 0),
            func.coalesce(func.sum(shadows.c.overlap), 0.0),
        ).where(shadows.c.rollout == rollout)
        with self._engine.connect().execution_options(read_only=True) as connection:
            answers, faults, slow, overlap = connection.execute(query).one()
        return Shadow(answers, faults, int(slow), float(overlap))

    def _write(self, known: UnderWay, after: UnderWay, state: State, logged: Logged | None) -> UnderWay:
        rollout, fence = known.rollout, known.fence + 1
        after = _fenced(after, fence)
        here = (rollouts.c.id == rollout.id, rollouts.c.fence == known.fence, rollouts.c.state == "running")
        with self._engine.begin() as connection:
            values = {"state": state, "fence": fence, "body": _text(after)}
            if connection.execute(update(rollouts).where(*here).values(**values)).rowcount != 1:
                raise Conflict(rollout.id, "was moved on by another controller", "nothing to do: the other one goes on")
            if logged is None:
                return after
            text = _text(logged)
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


def _fenced(found: UnderWay, fence: int) -> UnderWay:
    return UnderWay(found.rollout, found.before, found.seen, found.rules, fence)


def _step(share: float, champion: Any, canary: Any, limits: Limits) -> StepSeen:
    def both(name: str) -> tuple[int, int]:
        return (int(getattr(champion, name, 0) or 0), int(getattr(canary, name, 0) or 0))

    return StepSeen(share, both("units"), Tally(both("answers"), both("faults"), both("slow")), limits)


def _under_way(body: str, fence: int) -> UnderWay:
    return _fenced(msgspec.json.decode(body, type=UnderWay), fence)


def _text(found: UnderWay | Logged) -> str:
    return msgspec.json.encode(found, order="sorted").decode()
