"""One shop with its store open: what every stage of the pipeline is handed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, insert, select

from vetrina.core.errors import NotFound, OtherFormat
from vetrina.core.progress import Progress, Silent
from vetrina.core.types import DataReport, Snapshot, Source
from vetrina.ingest import ingest
from vetrina.ingest.identities import Identities
from vetrina.pipeline.journal import Journal, Straight
from vetrina.store import contacts, eventlog, products
from vetrina.store.database import append_alone, open_store
from vetrina.store.folder import ShopFolder
from vetrina.store.registry import Registry
from vetrina.store.rollouts import Rollouts
from vetrina.store.runs import Runs
from vetrina.store.tables import users
from vetrina.validate import validate


@dataclass
class Workshop:
    """One shop with its store open."""

    shop: ShopFolder
    progress: Progress = field(default_factory=Silent)
    journal: Journal = field(default_factory=Straight)
    run: str = ""
    budget_minutes: float = 0.0  # instead of the setting, where somebody names another

    @cached_property
    def engine(self) -> Engine:
        """The tables."""
        self.shop.root.mkdir(parents=True, exist_ok=True)
        return open_store(self.shop.store_url, self.shop.keys)

    @cached_property
    def registry(self) -> Registry:
        """Versions and the pointer."""
        return Registry(self.engine, self.shop.keys)

    @cached_property
    def runs(self) -> Runs:
        """Requests to train and what became of them."""
        return Runs(self.engine)

    @cached_property
    def rollouts(self) -> Rollouts:
        """Releases among shoppers."""
        return Rollouts(self.engine, self.shop.keys, self.registry)

    def ingest(self, source: Source) -> Snapshot:
        """Files and what the service logged to a snapshot; user ids are sealed into the store on the way."""
        shop = self.shop
        identities = Identities(shop.keys, self.name_users, self._keep_contacts)
        return self.journal.step(
            "ingest", lambda: ingest(source, shop.root, shop.settings, identities, self._log, self.progress)
        )

    def validate(self, snapshot: Snapshot, scenario: str) -> DataReport:
        """The checks; nothing is written."""
        return validate(snapshot, scenario)

    def name_users(self, ids: list[str]) -> list[str]:
        """Pseudonyms of ``ids``; new ones are kept, encrypted, so that an audience can be mailed."""
        keys = self.shop.keys
        names = {keys.name_of(i): i for i in ids}
        with self.engine.connect().execution_options(read_only=True) as connection:
            known = set(connection.execute(select(users.c.pseudonym)).scalars())
        sealed = [{"pseudonym": n, "sealed_id": keys.seal(i)} for n, i in names.items() if n not in known]
        if sealed:  # sealing takes time: the log of events, whose writers add users too, is held up only for the insert
            with self.engine.begin() as connection:
                append_alone(connection, "events")
                known = set(connection.execute(select(users.c.pseudonym)).scalars())
                fresh = [row for row in sealed if row["pseudonym"] not in known]
                if fresh:
                    connection.execute(insert(users), fresh)
        return list(names)

    def _keep_contacts(
        self, names: Sequence[str], emails: Sequence[str | None], consents: Sequence[str | None]
    ) -> None:
        """Addresses are sealed like ids; consent counts from the moment on in which a file says so."""
        seal = self.shop.keys.seal
        rows = [
            {"pseudonym": name, "sealed_email": seal(email) if email else None, "consent": consent}
            for name, email, consent in zip(names, emails, consents, strict=True)
        ]
        contacts.remember(self.engine, rows)

    def champion(self, scenario: str) -> str | None:
        """The version that serves; None where there is none, or only one whose bundle this Vetrina cannot read."""
        version, _ = self.registry.champion(scenario)
        if version is None:
            return None
        try:
            self.open_version(version)
        except OtherFormat:
            return None
        except NotFound:  # its files are gone, but it is what the pointer says: whoever opens it hears of it
            return version
        return version

    def open_version(self, version: str) -> Path:
        """The folder of a version, its signature checked."""
        return self.shop.bundles.unpack(version)[1]

    def _log(self, table: str, seq: int) -> tuple[list[dict[str, Any]], int]:
        return (eventlog if table == "events" else products).after(self.engine, seq)
