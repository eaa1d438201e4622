"""Shop context: the shop's folder with its open store, shared by all stages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from vetrina.core.data_report import DataReport
from vetrina.core.errors import BadInput, NotFound, OtherFormat
from vetrina.core.files import PRIVATE_FOLDER, waiting_lock
from vetrina.core.progress import NoProgress, Progress
from vetrina.core.snapshots import InputFiles, Snapshot
from vetrina.ingest import ingest
from vetrina.ingest.identities import Identities
from vetrina.pipeline.steps import DirectJournal, Journal
from vetrina.store import contacts, event_queries, products
from vetrina.store.database import lock_log, open_store, read
from vetrina.store.registry import Registry
from vetrina.store.rollouts import RolloutStore
from vetrina.store.runs import RunStore
from vetrina.store.shop_folder import ShopFolder
from vetrina.store.tables import users
from vetrina.validate import validate


@dataclass
class ShopContext:
    """One shop: its folder, its open store, and what the run in progress needs."""

    folder: ShopFolder
    progress: Progress = field(default_factory=NoProgress)
    journal: Journal = field(default_factory=DirectJournal)
    run_id: str = ""  # of the run in progress, empty outside of a run
    budget_minutes: float = 0.0  # overrides that of the settings; 0 does not
    threads: int = 0  # of each run, overrides those of the settings; 0 does not
    training_engine: str = ""  # of each run, overrides that of the settings; empty does not
    quick: bool = True  # whether a scenario that nothing serves yet gets its quick recipe first

    @cached_property
    def engine(self) -> Engine:
        """The open store."""
        self.folder.root.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        return open_store(self.folder.store_url, self.folder.keys)

    @cached_property
    def registry(self) -> Registry:
        """Versions, verdicts and champions."""
        return Registry(self.engine, self.folder.keys)

    @cached_property
    def runs(self) -> RunStore:
        """Queued, running and finished runs."""
        return RunStore(self.engine)

    @cached_property
    def rollouts(self) -> RolloutStore:
        """Canaries and watches, and their decisions."""
        return RolloutStore(self.engine, self.folder.keys, self.registry)

    def ingest(self, source: InputFiles) -> Snapshot:
        """Ingest files and what the service logged into a snapshot. User ids are encrypted into the store on the way."""
        shop = self.folder
        identities = Identities(shop.keys, self.pseudonymise_users, self._store_contacts)

        def work() -> Snapshot:
            if not source.by_table() and self.is_lake_elsewhere():
                rule = (
                    "has no lake/, from which this shop's versions were trained: only the newest events could be used"
                )
                raise BadInput(
                    str(shop.root), rule, "train on the machine that has it, or restore lake/ from your backup"
                )
            with waiting_lock(shop.root / "lake"):
                return ingest(source, shop.root, shop.settings, identities, self._read_log, self.progress)

        return self.journal.step("ingest", Snapshot, work)

    def is_lake_elsewhere(self) -> bool:
        """Whether versions of this shop were trained on another machine, and this one has nothing to train on."""
        return not self.folder.has_lake and bool(self.registry.list_versions())

    def validate(self, snapshot: Snapshot, scenario: str) -> DataReport:
        """The data checks of a scenario; nothing is written."""
        return validate(snapshot, scenario)

    def pseudonymise_users(self, ids: list[str]) -> list[str]:
        """Pseudonyms of distinct user ids. The ids of new ones are stored encrypted, so that an audience can be contacted."""
        keys = self.folder.keys
        id_by_pseudonym = {keys.pseudonymise(user_id): user_id for user_id in ids}
        with read(self.engine) as connection:
            stored = _stored_pseudonyms(connection)
        rows = []
        for pseudonym, user_id in id_by_pseudonym.items():
            if pseudonym not in stored:
                rows.append({"pseudonym": pseudonym, "sealed_id": keys.seal(user_id)})
        if rows:
            # Encryption takes time: the event log, whose writers add users too, is locked only for the insert.
            with self.engine.begin() as connection:
                lock_log(connection, "events")
                stored = _stored_pseudonyms(connection)
                new_rows = [row for row in rows if row["pseudonym"] not in stored]
                if new_rows:
                    connection.execute(insert(users), new_rows)
        return list(id_by_pseudonym)

    def champion(self, scenario: str) -> str | None:
        """The version that serves; None where there is none, or its bundle has a format that this Vetrina cannot read."""
        version, _ = self.registry.champion(scenario)
        if version is None:
            return None
        try:
            self.version_folder(version)
        except OtherFormat:
            return None
        except NotFound:  # its files are gone, but it is the champion: whoever opens it gets the error
            return version
        return version

    def version_folder(self, version: str) -> Path:
        """The folder of a version, its signature checked. Raises NotFound, OtherFormat."""
        _, folder = self.folder.bundles.unpack(version)
        return folder

    def _store_contacts(
        self, names: Sequence[str], emails: Sequence[str | None], consents: Sequence[str | None]
    ) -> None:
        """Store encrypted e-mail addresses and consents, by pseudonym. Consent counts from the moment of the ingest."""
        keys = self.folder.keys
        rows = []
        for name, email, consent in zip(names, emails, consents, strict=True):
            sealed_email = None
            if email:
                sealed_email = keys.seal(email)
            rows.append({"pseudonym": name, "sealed_email": sealed_email, "consent": consent})
        contacts.upsert_contacts(self.engine, rows)

    def _read_log(self, table: str, seq: int) -> tuple[list[dict[str, Any]], int]:
        """Rows of the log of ``events`` or ``products`` after a sequence number, and the last sequence number."""
        if table == "events":
            return event_queries.lake_rows_after(self.engine, seq)
        return products.rows_after(self.engine, seq)


def _stored_pseudonyms(connection: Connection) -> set[str]:
    return set(connection.execute(select(users.c.pseudonym)).scalars())
