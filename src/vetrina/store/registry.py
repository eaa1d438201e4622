"""Model registry: versions, verdicts and the champion of each scenario.

The champion changes by compare-and-swap only, and every promotion is appended to a signed log. The registry does not decide
what is promoted.
"""

import math
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from vetrina.bundle.manifest import Bundle, TrainingRecord, record_from_json, record_to_json, to_builtin_number
from vetrina.core import clock
from vetrina.core.errors import BadInput, Conflict, NotFound
from vetrina.core.keys import Keys
from vetrina.core.verdicts import ReleaseOutcome, ReleaseResult, Verdict, VerdictOutcome
from vetrina.store.database import read
from vetrina.store.tables import champions, promotions, verdicts, versions

ROLLBACK = "rollback:"  # beginning of the decision key of a promotion that goes back to an earlier version
_OLD_ROLLBACK_REASON = "rolled back by an operator"  # by which rollbacks of an operator were marked before
_SHORT_DIGEST_LENGTH = 12  # hex digits
_OLD_ROLLOUT = "rollout:"  # beginning of the decision key of every end of a rollout before


@dataclass(frozen=True)
class ServingHistory:
    """Which versions served a scenario, as its promotions and rollbacks say.

    Attributes:
        line: Versions that served, oldest first, the champion last. A rollback removes what it left from the end.
        withdrawn: Versions that a rollback left and nobody promoted since: none of them is gone back to.
        just_left: The version that the newest entry left, if that is a rollback.
    """

    line: tuple[str, ...] = ()
    withdrawn: frozenset[str] = frozenset()
    just_left: str | None = None

    @property
    def previous(self) -> str | None:
        """The version that a rollback of the champion goes back to."""
        for version in reversed(self.line[:-1]):
            if version not in self.withdrawn and version != self.line[-1]:
                return version
        return None


@dataclass(frozen=True)
class Version:
    """A version on record.

    Attributes:
        name: Its name, which is that of the bundle that serves.
        scenario: Its scenario.
        snapshot: Digest of the snapshot.
        recipe_digest: Digest of settings and code of the recipe.
        judged: Name of the bundle that the gate judged.
        created: Time of the release in seconds since 1970.
        training: How its models were made.
        release: Outcome of the release.
        run: Id of the run that made it; empty in records of 0.1.0.
        verdict: The last verdict on it; None where there is none.
    """

    name: str
    scenario: str
    snapshot: str
    recipe_digest: str
    judged: str
    created: float
    training: TrainingRecord
    release: ReleaseResult
    run: str
    verdict: Verdict | None


@dataclass(frozen=True)
class VersionSummary:
    """A version in a list of all.

    Attributes:
        version: Its name.
        scenario: Its scenario.
        created: Time of the release in seconds since 1970.
        snapshot: First digits of the snapshot's digest.
        verdict: Outcome of its last verdict; None where there is none.
        serving: Whether it is a champion.
    """

    version: str
    scenario: str
    created: float
    snapshot: str
    verdict: VerdictOutcome | None
    serving: bool


@dataclass(frozen=True)
class ScenarioVerdict:
    """The newest verdict on a version of a scenario, for rollout controllers.

    Attributes:
        scenario: The scenario.
        version: The version that was judged.
        outcome: What the gate decided.
        release: What the release did with it at once; "testing" means that users decide.
        champion: The version that serves now; None before the first promotion.
        time: When the verdict was recorded, in seconds since 1970.
        verdict: The verdict with its reasons and figures; its own champion is the one that was compared with.
    """

    scenario: str
    version: str
    outcome: VerdictOutcome
    release: ReleaseOutcome
    champion: str | None
    time: float
    verdict: Verdict


@dataclass(frozen=True)
class Promotion:
    """An entry of the log of promotions.

    Attributes:
        scenario: The scenario.
        old: The champion before; None for the first one.
        new: The champion from then on.
        fence: Number of the promotion within the scenario.
        decision: Unique key of the decision.
        why: Its reason.
        time: When it was executed, in seconds since 1970.
    """

    scenario: str
    old: str | None
    new: str
    fence: int
    decision: str
    why: str
    time: float


@dataclass(frozen=True)
class VersionRegistration:
    """A version with everything that is recorded of it.

    Attributes:
        bundle: The served file.
        judged_bundle: The judged file.
        verdict: The gate's decision.
        release: Outcome of the release.
        snapshot: Digest of the snapshot.
        recipe_digest: Digest of settings and code of the recipe.
        expected_champion: Champion and fence when the release was decided, as ``Registry.champion`` returned them.
        run: Id of the run that made it.
    """

    bundle: Bundle
    judged_bundle: Bundle
    verdict: Verdict
    release: ReleaseResult
    snapshot: str
    recipe_digest: str
    expected_champion: tuple[str | None, int]
    run: str = ""


class Registry:
    """Versions, verdicts and champions of one shop."""

    def __init__(self, engine: Engine, keys: Keys) -> None:
        self._engine = engine
        self._keys = keys

    def register_version(self, registration: VersionRegistration) -> None:
        """Record a version and its verdict, and promote it if the release says so, in one transaction.

        Repeating it changes nothing. Raises Conflict if the champion has changed since the release was decided.
        """
        with self.transaction(registration.bundle.scenario) as connection:
            self.register_version_in(connection, registration)

    def register_version_in(self, connection: Connection, registration: VersionRegistration) -> None:
        """The same as ``register_version``, within a transaction that changes other rows, too."""
        bundle = registration.bundle
        verdict = registration.verdict
        self._insert_verdict(connection, verdict)
        release = registration.release
        if not self._has_version(connection, bundle.version):
            row = {
                "version": bundle.version,
                "scenario": bundle.scenario,
                "snapshot": registration.snapshot,
                "recipe_digest": registration.recipe_digest,
                "judged": registration.judged_bundle.version,
                "created": clock.now(),
                "body": msgspec.json.encode(_notes(bundle.record, release, registration.run)).decode(),
            }
            connection.execute(insert(versions).values(row))
        if release.outcome == "promoted":
            decision = f"verdict:{verdict.id}"
            expected = registration.expected_champion
            self.promote_in(connection, bundle.scenario, bundle.version, expected, decision, release.note)

    def is_registered_in(self, connection: Connection, registration: VersionRegistration) -> bool:
        """Whether this very registration was made before, with the same verdict."""
        same_verdict = select(verdicts.c.id).where(verdicts.c.id == registration.verdict.id)
        is_verdict_recorded = connection.execute(same_verdict).first() is not None
        return is_verdict_recorded and self._has_version(connection, registration.bundle.version)

    def _has_version(self, connection: Connection, version: str) -> bool:
        return connection.execute(select(versions.c.version).where(versions.c.version == version)).first() is not None

    def find_version(self, scenario: str, snapshot: str, recipe_digest: str) -> str | None:
        """The newest version of a scenario with the same data and recipe.

        Args:
            scenario: The scenario.
            snapshot: Digest of the snapshot.
            recipe_digest: Digest of settings and code of the recipe.

        Returns:
            Its name, None if there is none.
        """
        query = select(versions.c.version).where(
            versions.c.scenario == scenario,
            versions.c.snapshot == snapshot,
            versions.c.recipe_digest == recipe_digest,
        )
        with read(self._engine) as connection:
            return connection.execute(query.order_by(versions.c.created.desc())).scalar()

    def champions_created(self) -> dict[tuple[str, str], float]:
        """When each champion was made, in seconds since 1970, by scenario and version."""
        query = select(champions.c.scenario, champions.c.version, versions.c.created).join(
            versions, versions.c.version == champions.c.version
        )
        with read(self._engine) as connection:
            return {(row.scenario, row.version): row.created for row in connection.execute(query)}

    def find_reference(self, reference: str) -> str:
        """The name of a version, given itself or as ``SCENARIO@champion``, ``SCENARIO@previous`` or ``SCENARIO@newest``.

        ``previous`` is the version that a rollback goes back to. Raises BadInput and NotFound.
        """
        scenario, has_alias, alias = reference.rpartition("@")
        if not has_alias:
            return reference
        if alias not in ("champion", "previous", "newest"):
            raise BadInput(reference, f"has no version {alias}", "use @champion, @previous or @newest")
        if alias == "previous":
            return self.previous_champion(scenario)
        version = self.newest_version(scenario) if alias == "newest" else self.champion(scenario)[0]
        if version is None:
            raise NotFound(reference, "is no version of this shop", "`vetrina versions` lists them")
        return version

    def newest_version(self, scenario: str, recipe_digest: str | None = None) -> str | None:
        """The version of a scenario, or of one recipe of it, that was made last; None where there is none."""
        query = select(versions.c.version).where(versions.c.scenario == scenario)
        if recipe_digest is not None:
            query = query.where(versions.c.recipe_digest == recipe_digest)
        with read(self._engine) as connection:
            return connection.execute(query.order_by(versions.c.created.desc())).scalar()

    def list_versions(self) -> list[VersionSummary]:
        """All versions, newest first, with the outcome of their last verdict and whether they are champions."""
        all_verdicts = select(verdicts).order_by(verdicts.c.created)
        all_versions = select(versions).order_by(versions.c.created.desc())
        with read(self._engine) as connection:
            champion_versions = {row.version for row in connection.execute(select(champions))}
            outcomes = {row.version: row.outcome for row in connection.execute(all_verdicts)}
            rows = connection.execute(all_versions).all()
        return [
            VersionSummary(
                version=row.version,
                scenario=row.scenario,
                created=row.created,
                snapshot=row.snapshot[:_SHORT_DIGEST_LENGTH],
                verdict=outcomes.get(row.version),
                serving=row.version in champion_versions,
            )
            for row in rows
        ]

    def get_version(self, version: str) -> Version:
        """A version on record, with its last verdict. Raises NotFound."""
        version_query = select(versions).where(versions.c.version == version)
        verdict_query = select(verdicts.c.body).where(verdicts.c.version == version).order_by(verdicts.c.created.desc())
        with read(self._engine) as connection:
            row = connection.execute(version_query).first()
            if row is None:
                raise NotFound(version, "is no version of this shop", "`vetrina versions` lists them")
            verdict_body = connection.execute(verdict_query).scalar()
        notes = msgspec.json.decode(row.body)
        verdict = None
        if verdict_body is not None:
            verdict = _decode_verdict(verdict_body)
        return Version(
            name=row.version,
            scenario=row.scenario,
            snapshot=row.snapshot,
            recipe_digest=row.recipe_digest,
            judged=row.judged,
            created=row.created,
            training=record_from_json(notes),
            release=msgspec.convert(notes["release"], ReleaseResult),
            run=notes.get("run", ""),
            verdict=verdict,
        )

    def record_verdict(self, verdict: Verdict) -> None:
        """Record a verdict; recording the same one again changes nothing."""
        with self._engine.begin() as connection:
            self._insert_verdict(connection, verdict)

    def get_verdict(self, verdict_id: str) -> Verdict:
        """A recorded verdict. Raises NotFound."""
        with read(self._engine) as connection:
            body = connection.execute(select(verdicts.c.body).where(verdicts.c.id == verdict_id)).scalar()
        if body is None:
            raise NotFound(verdict_id, "is no verdict of this shop", "`vetrina show VERSION` names its verdict")
        return _decode_verdict(body)

    def newest_verdict(self, scenario: str) -> ScenarioVerdict:
        """The newest verdict on a version of a scenario. Raises NotFound while there is none."""
        query = (
            select(verdicts.c.body, verdicts.c.created, versions.c.version, versions.c.body.label("notes"))
            .join(versions, versions.c.version == verdicts.c.version)
            .where(versions.c.scenario == scenario)
            .order_by(verdicts.c.created.desc())
            .limit(1)
        )
        with read(self._engine) as connection:
            row = connection.execute(query).first()
            champion, _ = self.champion_in(connection, scenario)
        if row is None:
            raise NotFound(scenario, "has no verdict yet", f"`vetrina run {scenario}` makes a version and judges it")
        verdict = _decode_verdict(row.body)
        release = msgspec.convert(msgspec.json.decode(row.notes)["release"], ReleaseResult)
        return ScenarioVerdict(
            scenario=scenario,
            version=row.version,
            outcome=verdict.outcome,
            release=release.outcome,
            champion=champion,
            time=row.created,
            verdict=verdict,
        )

    def champion(self, scenario: str) -> tuple[str | None, int]:
        """The champion (None before the first promotion) and its fence, a number that grows with every promotion."""
        with read(self._engine) as connection:
            return self.champion_in(connection, scenario)

    def champion_in(self, connection: Connection, scenario: str) -> tuple[str | None, int]:
        """The same as ``champion``, within the transaction of ``connection``."""
        row = connection.execute(select(champions).where(champions.c.scenario == scenario)).first()
        if row is None:
            return None, 0
        return row.version, row.fence

    def champions(self) -> dict[str, str]:
        """The champion of each scenario that has one."""
        with read(self._engine) as connection:
            return {row.scenario: row.version for row in connection.execute(select(champions))}

    def promote(
        self, scenario: str, version: str, expected_champion: tuple[str | None, int], decision: str, reason: str
    ) -> bool:
        """Make a version the champion, by compare-and-swap.

        Args:
            scenario: The scenario.
            version: The new champion.
            expected_champion: Champion and fence as ``champion`` returned them.
            decision: Unique key of the decision: the same decision is executed once.
            reason: Reason for the log.

        Returns:
            False if the decision was executed before.

        Raises:
            Conflict: The champion is not ``expected_champion`` any more.
        """
        with self.transaction(scenario) as connection:
            return self.promote_in(connection, scenario, version, expected_champion, decision, reason)

    def set_champion(self, scenario: str, version: str, reason: str) -> dict[str, str]:
        """Make a version the champion on behalf of an operator; nothing changes if it is the champion already.

        Args:
            scenario: The scenario.
            version: The new champion.
            reason: Reason for the log.

        Returns:
            The scenario and its champion.
        """
        current = self.champion(scenario)
        if current[0] != version:
            self.promote(scenario, version, current, f"hand:{uuid4().hex}", reason)
        return {"scenario": scenario, "version": version}

    @contextmanager
    def transaction(self, scenario: str) -> Generator[Connection]:
        """A transaction; it raises Conflict if another one wrote the same row first."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise Conflict(scenario, "was changed meanwhile", "look at `vetrina versions`, then repeat") from None

    def _insert_verdict(self, connection: Connection, verdict: Verdict) -> None:
        if connection.execute(select(verdicts.c.id).where(verdicts.c.id == verdict.id)).first():
            return
        body = msgspec.json.encode(verdict, enc_hook=to_builtin_number).decode()
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
        """The same as ``promote``, within a transaction that changes other rows, too.

        Args:
            connection: Connection of the transaction.
            scenario: The scenario.
            version: The new champion.
            expected_champion: Champion and fence as ``champion_in`` returned them.
            decision: Unique key of the decision: the same decision is executed once.
            reason: Reason for the log.

        Returns:
            False if the decision was executed before.

        Raises:
            Conflict: The champion is not ``expected_champion`` any more.
        """
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
        """Replace the champion; of two writers with the same expectation one succeeds and the other gets Conflict."""
        conflict = Conflict(scenario, "was given another champion meanwhile", "look at `vetrina versions`, then repeat")
        if old is None:
            if connection.execute(select(champions).where(champions.c.scenario == scenario)).first():
                raise conflict
            connection.execute(insert(champions).values(scenario=scenario, version=version, fence=1))
            return
        expected = (champions.c.scenario == scenario, champions.c.version == old, champions.c.fence == fence)
        result = connection.execute(update(champions).where(*expected).values(version=version, fence=fence + 1))
        if result.rowcount != 1:
            raise conflict

    def promotions(self, scenario: str) -> list[Promotion]:
        """Promotions of a scenario, oldest first. Raises BadSignature if an entry was changed."""
        with read(self._engine) as connection:
            return self.promotions_in(connection, scenario)

    def promotions_in(self, connection: Connection, scenario: str) -> list[Promotion]:
        """The same as ``promotions``, within the transaction of ``connection``."""
        query = select(promotions).where(promotions.c.scenario == scenario).order_by(promotions.c.seq)
        rows = connection.execute(query).all()
        for row in rows:
            self._keys.verify(row.body.encode(), row.signature)
        return [_decode_promotion(row.body) for row in rows]

    def serving_history(self, scenario: str) -> ServingHistory:
        """Which versions served a scenario. Raises BadSignature if an entry of the log was changed."""
        return replay_promotions(self.promotions(scenario))

    def previous_champion(self, scenario: str) -> str:
        """The version that a rollback goes back to; never one that was itself rolled back. Raises NotFound."""
        version = self.serving_history(scenario).previous
        if version is None:
            raise NotFound(scenario, "has no earlier version to go back to", "`vetrina versions` lists what there is")
        return version


def version_to_json(version: Version) -> dict[str, Any]:
    """The record of a version as JSON values, with the keys that it has in the registry."""
    return {
        "version": version.name,
        "scenario": version.scenario,
        "snapshot": version.snapshot,
        "recipe_digest": version.recipe_digest,
        "judged": version.judged,
        "created": version.created,
        "notes": _notes(version.training, version.release, version.run),
        "verdict": verdict_to_json(version.verdict) if version.verdict is not None else None,
    }


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON values; a number that is not finite is None."""
    return msgspec.json.decode(msgspec.json.encode(verdict))


def replay_promotions(entries: Iterable[Promotion]) -> ServingHistory:
    """The serving history after the entries of a scenario's log of promotions, oldest first."""
    line: list[str] = []
    withdrawn: set[str] = set()
    just_left = None
    for entry in entries:
        version = entry.new
        if _is_rollback(entry, line):
            just_left = entry.old
            if just_left is not None:
                withdrawn.add(just_left)
            while line and line[-1] != version:
                line.pop()
            if not line:
                line.append(version)
        else:
            just_left = None
            withdrawn.discard(version)
            line.append(version)
    return ServingHistory(tuple(line), frozenset(withdrawn), just_left)


def _is_rollback(entry: Promotion, line: list[str]) -> bool:
    """Whether a promotion went back: by its key, or, in a log of before, by its reason or because the version had served."""
    if entry.decision.startswith(_OLD_ROLLOUT):
        return entry.new in line
    return entry.decision.startswith(ROLLBACK) or entry.why == _OLD_ROLLBACK_REASON


def _notes(record: TrainingRecord, release: ReleaseResult, run: str) -> dict[str, Any]:
    """What the registry holds of a version besides its columns."""
    return {**record_to_json(record), "release": asdict(release), "run": run}


def _decode_verdict(body: str) -> Verdict:
    """A stored verdict. JSON has no number that is not finite, so that null stands for NaN."""
    content = msgspec.json.decode(body)
    for reason in content["reasons"]:
        numbers = reason.get("numbers", {})
        reason["numbers"] = {name: math.nan if value is None else value for name, value in numbers.items()}
    return msgspec.convert(content, Verdict)


def _decode_promotion(body: str) -> Promotion:
    entry = msgspec.json.decode(body)
    return Promotion(
        scenario=entry["scenario"],
        old=entry["from"],
        new=entry["to"],
        fence=entry["fence"],
        decision=entry["decision"],
        why=entry["why"],
        time=entry["time"],
    )
