"""Versions, verdicts, and the pointer that says which version serves. Promotions are an append-only signed log."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from vetrina.core import clock
from vetrina.core.errors import Conflict, NotFound
from vetrina.core.types import Bundle, ReleaseResult, Verdict
from vetrina.security.keys import Keys
from vetrina.store.tables import champions, promotions, stages, verdicts, versions


@dataclass(frozen=True)
class ResourceUsage:
    """Wall and processor seconds of a stage, and the most memory that the process had so far."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


class Registry:
    """All reads and writes about versions of one shop."""

    def __init__(self, engine: Engine, keys: Keys) -> None:
        self._engine = engine
        self._keys = keys

    def register_version(
        self,
        bundle: Bundle,
        judged_bundle: Bundle,
        verdict: Verdict,
        release: ReleaseResult,
        provenance: tuple[str, str],
        expected_champion: tuple[str | None, int],
        notes: Mapping[str, Any],
    ) -> None:
        """Keep version and verdict and move the pointer, all in one transaction or not at all.

        ``made_from`` is (snapshot digest, recipe digest). Repeating it changes nothing. Raises Conflict when the pointer
        moved since ``seen`` was read.
        """
        with self._transaction(bundle.scenario) as connection:
            self._insert_verdict(connection, verdict)
            if not connection.execute(select(versions).where(versions.c.version == bundle.version)).first():
                row = {
                    "version": bundle.version,
                    "scenario": bundle.scenario,
                    "snapshot": provenance[0],
                    "recipe_digest": provenance[1],
                    "judged": judged_bundle.version,
                    "created": clock.now(),
                    "body": msgspec.json.encode(notes, enc_hook=_to_builtins).decode(),
                }
                connection.execute(insert(versions).values(row))
            if release.outcome == "promoted":
                decision = f"verdict:{verdict.id}"
                self.promote_in(connection, bundle.scenario, bundle.version, expected_champion, decision, release.note)

    def find_version(self, scenario: str, snapshot: str, recipe_digest: str) -> str | None:
        """The version already made from exactly this data and recipe."""
        query = select(versions.c.version).where(
            versions.c.scenario == scenario,
            versions.c.snapshot == snapshot,
            versions.c.recipe_digest == recipe_digest,
        )
        with self._engine.connect() as connection:
            return connection.execute(query.order_by(versions.c.created.desc())).scalar()

    def list_versions(self) -> list[dict[str, Any]]:
        """All versions, newest first, with verdict and whether each serves."""
        with self._engine.connect() as connection:
            serving = {r.version for r in connection.execute(select(champions))}
            outcome = {r.version: r.outcome for r in connection.execute(select(verdicts).order_by(verdicts.c.created))}
            rows = connection.execute(select(versions).order_by(versions.c.created.desc())).mappings().all()
        return [
            {
                "version": r["version"],
                "scenario": r["scenario"],
                "created": r["created"],
                "snapshot": r["snapshot"][:12],
                "verdict": outcome.get(r["version"]),
                "serving": r["version"] in serving,
            }
            for r in rows
        ]

    def get_version(self, version: str) -> dict[str, Any]:
        """Everything known of a version. Raises NotFound."""
        with self._engine.connect() as connection:
            row = connection.execute(select(versions).where(versions.c.version == version)).mappings().first()
            if row is None:
                raise NotFound(version, "is no version of this shop", "`vetrina versions` lists them")
            judged_by = connection.execute(
                select(verdicts.c.body).where(verdicts.c.version == version).order_by(verdicts.c.created.desc())
            ).scalar()
        return {
            **{k: row[k] for k in ("version", "scenario", "snapshot", "judged", "created")},
            "notes": msgspec.json.decode(row["body"]),
            "verdict": msgspec.json.decode(judged_by) if judged_by else None,
        }

    def record_verdict(self, verdict: Verdict) -> None:
        """Keep a verdict; the same verdict twice is kept once."""
        with self._engine.begin() as connection:
            self._insert_verdict(connection, verdict)

    def get_verdict(self, verdict_id: str) -> dict[str, Any]:
        """A recorded verdict. Raises NotFound."""
        with self._engine.connect() as connection:
            body = connection.execute(select(verdicts.c.body).where(verdicts.c.id == verdict_id)).scalar()
        if body is None:
            raise NotFound(verdict_id, "is no verdict of this shop", "`vetrina show VERSION` names its verdict")
        return msgspec.json.decode(body)

    def champion(self, scenario: str) -> tuple[str | None, int]:
        """The version that serves and its fence, a number that grows with every change."""
        with self._engine.connect() as connection:
            return self.champion_in(connection, scenario)

    def champion_in(self, connection: Connection, scenario: str) -> tuple[str | None, int]:
        """``champion`` inside a transaction."""
        row = connection.execute(select(champions).where(champions.c.scenario == scenario)).first()
        return (row.version, row.fence) if row else (None, 0)

    def champions(self) -> dict[str, str]:
        """What serves now, by scenario."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            return {r.scenario: r.version for r in connection.execute(select(champions))}

    def promote(
        self, scenario: str, version: str, expected_champion: tuple[str | None, int], decision: str, reason: str
    ) -> bool:
        """Compare-and-swap the pointer from ``seen`` to ``version``.

        ``decision`` is unique: the same decision again does nothing and returns False. Raises Conflict when the
        pointer moved since ``seen`` was read.
        """
        with self._transaction(scenario) as connection:
            return self.promote_in(connection, scenario, version, expected_champion, decision, reason)

    def set_champion(self, scenario: str, version: str, reason: str) -> dict[str, str]:
        """Move the pointer because a person says so; nothing happens if it is there already."""
        seen = self.champion(scenario)
        if seen[0] != version:
            self.promote(scenario, version, seen, f"hand:{uuid4().hex}", reason)
        return {"scenario": scenario, "version": version}

    @contextmanager
    def _transaction(self, scenario: str) -> Iterator[Connection]:
        """A transaction; that another one wrote the same row first is a conflict like any other."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise Conflict(scenario, "was changed meanwhile", "look at `vetrina versions`, then repeat") from None

    def _insert_verdict(self, connection: Connection, verdict: Verdict) -> None:
        if not connection.execute(select(verdicts.c.id).where(verdicts.c.id == verdict.id)).first():
            body = msgspec.json.encode(verdict, enc_hook=_to_builtins).decode()
            row = {"id": verdict.id, "version": verdict.candidate, "outcome": verdict.outcome, "body": body}
            connection.execute(insert(verdicts).values(created=clock.now(), **row))

    def promote_in(
        self,
        connection: Connection,
        scenario: str,
        version: str,
        expected_champion: tuple[str | None, int],
        decision: str,
        reason: str,
    ) -> bool:
        """``promote`` inside a transaction that changes more than the pointer."""
        old, fence = expected_champion
        if connection.execute(select(promotions.c.seq).where(promotions.c.decision == decision)).first():
            return False
        self._compare_and_swap(connection, scenario, version, old, fence)
        body = {"scenario": scenario, "from": old, "to": version, "fence": fence + 1, "decision": decision}
        text = msgspec.json.encode({**body, "why": reason, "time": clock.now()}, order="sorted")
        row = {"scenario": scenario, "fence": fence + 1, "decision": decision, "body": text.decode()}
        connection.execute(insert(promotions).values(signature=self._keys.sign(text), **row))
        return True

    def _compare_and_swap(
        self, connection: Connection, scenario: str, version: str, old: str | None, fence: int
    ) -> None:
        """Whatever the database, one of two that saw the same pointer moves it and the other is told."""
        moved = Conflict(scenario, "was given another champion meanwhile", "look at `vetrina versions`, then repeat")
        if old is None:
            if connection.execute(select(champions).where(champions.c.scenario == scenario)).first():
                raise moved
            connection.execute(insert(champions).values(scenario=scenario, version=version, fence=1))
            return
        here = (champions.c.scenario == scenario, champions.c.version == old, champions.c.fence == fence)
        changed = connection.execute(update(champions).where(*here).values(version=version, fence=fence + 1))
        if changed.rowcount != 1:
            raise moved

    def promotions(self, scenario: str) -> list[dict[str, Any]]:
        """The log of one scenario, oldest first, every signature checked."""
        query = select(promotions).where(promotions.c.scenario == scenario).order_by(promotions.c.seq)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            self._keys.verify(row.body.encode(), row.signature)
        return [msgspec.json.decode(row.body) for row in rows]

    def previous_champion(self, scenario: str) -> str:
        """The version that served before the one that serves now. Raises NotFound."""
        log = self.promotions(scenario)
        current = self.champion(scenario)[0]
        earlier = [e["from"] for e in log if e["to"] == current and e["from"]]
        if not earlier:
            raise NotFound(scenario, "has no earlier version to go back to", "`vetrina versions` lists what there is")
        return earlier[-1]

    def log_stage(self, run: str, scenario: str, stage: str, started: float, usage: ResourceUsage) -> None:
        """Keep what a stage took."""
        row = {"run": run, "scenario": scenario, "stage": stage, "started": started, **asdict(usage)}
        with self._engine.begin() as connection:
            connection.execute(insert(stages).values(**row))

    def list_stages(self) -> list[dict[str, Any]]:
        """All logged stages, oldest first."""
        with self._engine.connect() as connection:
            return [dict(r) for r in connection.execute(select(stages).order_by(stages.c.seq)).mappings()]


def _to_builtins(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in a record")
