"""One shop with its store open: what every stage of the pipeline is handed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, insert, select

from vetrina.core.errors import NotFound, OtherFormat
from vetrina.core.progress import NoProgress, Progress
from vetrina.core.types import DataReport, InputFiles, Snapshot
from vetrina.ingest import ingest
from vetrina.ingest.identities import Identities
from vetrina.pipeline.steps import DirectJournal, Journal
from vetrina.store import contacts, event_log, products
from vetrina.store.database import lock_log, open_store
from vetrina.store.registry import Registry
from vetrina.store.rollouts import RolloutStore
from vetrina.store.runs import RunStore
from vetrina.store.shop_folder import ShopFolder
from vetrina.store.tables import users
from vetrina.validate import validate


@dataclass
class ShopContext:
    """One shop with its store open."""

    folder: ShopFolder
    progress: Progress = field(default_factory=NoProgress)
    journal: Journal = field(default_factory=DirectJournal)
    run_id: str = ""
    budget_minutes: float = 0.0  # instead of the setting, where somebody names another

    @cached_property
    def engine(self) -> Engine:
        """The tables."""
        self.folder.root.mkdir(parents=True, exist_ok=True)
        return open_store(self.folder.store_url, self.folder.keys)

    @cached_property
    def registry(self) -> Registry:
        """Versions and the pointer."""
        return Registry(self.engine, self.folder.keys)

    @cached_property
    def runs(self) -> RunStore:
        """Requests to train and what became of them."""
        return RunStore(self.engine)

    @cached_property
    def rollouts(self) -> RolloutStore:
        """Releases among shoppers."""
        return RolloutStore(self.engine, self.folder.keys, self.registry)

    def ingest(self, source: InputFiles) -> Snapshot:
        """Files and what the service logged to a snapshot; user ids are sealed into the store on the way."""
        shop = self.folder
        identities = Identities(shop.keys, self.pseudonymise_users, self._store_contacts)
        return self.journal.step(
            "ingest", lambda: ingest(source, shop.root, shop.settings, identities, self._read_log, self.progress)
        )

    def validate(self, snapshot: Snapshot, scenario: str) -> DataReport:
        """The checks; nothing is written."""
        return validate(snapshot, scenario)

    def pseudonymise_users(self, ids: list[str]) -> list[str]:
        """Pseudonyms of ``ids``; new ones are kept, encrypted, so that an audience can be mailed."""
        keys = self.folder.keys
        names = {keys.pseudonymise(i): i for i in ids}
        with self.engine.connect().execution_options(read_only=True) as connection:
            known = set(connection.execute(select(users.c.pseudonym)).scalars())
        sealed = [{"pseudonym": n, "sealed_id": keys.seal(i)} for n, i in names.items() if n not in known]
        if sealed:  # sealing takes time: the log of events, whose writers add users too, is held up only for the insert
            with self.engine.begin() as connection:
                lock_log(connection, "events")
                known = set(connection.execute(select(users.c.pseudonym)).scalars())
                fresh = [row for row in sealed if row["pseudonym"] not in known]
                if fresh:
                    connection.execute(insert(users), fresh)
        return list(names)

    def _store_contacts(
        self, names: Sequence[str], emails: Sequence[str | None], consents: Sequence[str | None]
    ) -> None:
        """Addresses are sealed like ids; consent counts from the moment on in which a file says so."""
        seal = self.folder.keys.seal
        rows = [
            {"pseudonym": name, "sealed_email": seal(email) if email else None, "consent": consent}
            for name, email, consent in zip(names, emails, consents, strict=True)
        ]
        contacts.upsert_contacts(self.engine, rows)

    def champion(self, scenario: str) -> str | None:
        """The version that serves; None where there is none, or only one whose bundle this Vetrina cannot read."""
        version, _ = self.registry.champion(scenario)
        if version is None:
            return None
        try:
            self.version_folder(version)
        except OtherFormat:
            return None
        except NotFound:  # its files are gone, but it is what the pointer says: whoever opens it hears of it
            return version
        return version

    def version_folder(self, version: str) -> Path:
        """The folder of a version, its signature checked."""
        return self.folder.bundles.unpack(version)[1]

    def _read_log(self, table: str, seq: int) -> tuple[list[dict[str, Any]], int]:
        return (event_log if table == "events" else products).rows_after(self.engine, seq)
