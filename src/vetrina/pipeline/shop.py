"""The Python API: one object for one shop.

shop = Shop("my-shop")
shop.ingest(products=["products.csv"], events=["events.csv"])
shop.fit()
shop.recommend("user-1"), shop.search("red shoes"), shop.evaluate("recommend")
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from vetrina.core import clock, plugins
from vetrina.core.errors import NotFound, NotReady
from vetrina.core.files import alone
from vetrina.core.progress import Progress, Silent
from vetrina.core.protocols import Context
from vetrina.core.types import Answer, DataReport, Interval, Release, Request, Snapshot, Source
from vetrina.metrics.bootstrap import interval
from vetrina.pipeline.held import Held
from vetrina.pipeline.runs import execute
from vetrina.pipeline.workshop import Workshop
from vetrina.serve.audience import Found, find, noted
from vetrina.serve.ledger import Ledger
from vetrina.serve.live import StoredChanges, StoredEvents
from vetrina.store import dataset
from vetrina.store.folder import ShopFolder
from vetrina.store.runs import BY_HAND


class Shop:
    """A shop is a folder; everything that is learnt and released lies in it."""

    def __init__(self, folder: str | Path = ".", progress: Progress | None = None) -> None:
        self.folder = ShopFolder(Path(folder).resolve())
        self.workshop = Workshop(self.folder, progress or Silent())
        self._opened: dict[str, Any] = {}

    def ingest(
        self,
        *,
        products: Iterable[str | Path] = (),
        events: Iterable[str | Path] = (),
        users: Iterable[str | Path] = (),
        judgments: Iterable[str | Path] = (),
        ads: Iterable[str | Path] = (),
        table: str | Path | None = None,
        label: str = "label",
    ) -> Snapshot:
        """Add files and what the service logged; later data adds to or replaces earlier. Returns the snapshot of all."""
        tables = (tuple(Path(f) for f in files) for files in (products, events, users, judgments, ads))
        with alone(self.folder.root):
            return self.workshop.ingest(Source(*tables, table=(Path(table),) if table else (), label=label))

    def validate(self, scenario: str) -> DataReport:
        """What the checks say about the data for a scenario."""
        return self.workshop.validate(self.ingest(), scenario)

    def fit(self, *scenarios: str, budget_minutes: float | None = None) -> dict[str, Release | None]:
        """Train, compress, judge and release; every scenario that the data supports if none is named."""
        self.workshop.budget_minutes = budget_minutes or 0.0
        for name in scenarios:
            plugins.part("scenarios", name, "recipe")
        snapshot = self.ingest()
        wanted = scenarios or [s for s in plugins.names("scenarios") if self._ready(snapshot, s)]
        ask = self.workshop.runs.ask
        return {s: execute(self.workshop, ask(s, "asked by hand", BY_HAND)) for s in wanted}

    def recommend(self, user: str | None = None, **request: Any) -> Answer:
        """Products for a user.

        ``session``, ``product_ids``, ``placement``, ``limit``, ``filters``, ``exclude_seen`` as over HTTP.
        """
        return self._answer("recommend", self._request(user, **request))

    def similar(self, product: str, **request: Any) -> Answer:
        """Products that go with a product, or with ``placement="looks_like"`` that look like it."""
        return self.recommend(product_ids=(product,), **{"placement": "product", **request})

    def search(self, query: str, user: str | None = None, **request: Any) -> Answer:
        """Products for a query."""
        return self._answer("search", self._request(user, query=query, **request))

    def ads(self, user: str | None = None, slots: int = 3, **request: Any) -> Answer:
        """Ads for a user: ``product_ids``, ``query``, ``filters`` as over HTTP. They are not counted as shown."""
        ledger, opened = Ledger(self.workshop.engine), self.open("ads")
        ledger.follow(opened.budgets)
        self._changes.refresh()
        context = Context(self._events, self._changes, clock.now(), ledger)
        return opened.answer(self._request(user, limit=slots, **request), context)

    def audience(self, product: str | None = None, *, channel: str = "csv", note: bool = False, **call: Any) -> Found:
        """Whom to tell of a product; or ``like`` a list of user ids, or of a ``segment``; ``size`` of them. With ``note`` they
        are noted as told."""
        self._changes.refresh()
        context = Context(self._events, self._changes, clock.now())
        engine, keys = self.workshop.engine, self.folder.keys
        return find(self.open("launch"), engine, keys, context, channel, note, product_id=product, **call)

    def note_told(self, found: Found, product: str | None, channel: str) -> None:
        """An audience was handed over: whoever is in it comes later in the next one."""
        names = [self.folder.keys.name_of(one.user_id) for one in found.people]
        noted(self.workshop.engine, names, product, channel)

    def product(self, product_id: str) -> dict[str, Any]:
        """A product as the shop last described it. Raises NotFound."""
        self._changes.refresh()
        if body := self._changes.after(0).changed.get(product_id):
            return {"product_id": product_id, **body}
        snapshot = self.workshop.registry.show(self.champion("launch"))["snapshot"]
        found = dataset.product(dataset.open_snapshot(self.folder.snapshots, snapshot), product_id)
        if found is None:
            raise NotFound(product_id, "is no product of this shop", "PUT it first, or ingest it")
        return found

    def predict(self, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> list[dict[str, Any]]:
        """A yes or no with its probability, or a number, for each row."""
        return self.open("predict").answer(rows)

    def evaluate(self, scenario: str) -> Interval:
        """The champion's judged file on the holdout of its own snapshot, with a 95 % interval."""
        shown = self.workshop.registry.show(self.champion(scenario))
        holdout = self.held(shown).holdout()
        evaluation = plugins.part("scenarios", scenario, "evaluate")
        scores = evaluation.evaluate(self.workshop.open_version(shown["judged"]), holdout)
        if not len(scores.values):
            raise NotFound(scenario, "has no held-out data to judge by", "add purchases, judgments or a longer log")
        return interval(scores.values)

    def held(self, shown: Mapping[str, Any]) -> Held:
        """The data that a version (as ``registry.show`` gives it) was made from."""
        snapshot = dataset.open_snapshot(self.folder.snapshots, shown["snapshot"])
        settings = self.folder.settings
        return Held(snapshot, settings.weights, shown["scenario"], settings.train.worth)

    def open(self, scenario: str, version: str | None = None) -> Any:
        """The opened champion, or any other version."""
        chosen = version or self.champion(scenario)
        if chosen not in self._opened:
            folder = self.workshop.open_version(chosen)
            self._opened[chosen] = plugins.part("scenarios", scenario, "online").open(folder)
        return self._opened[chosen]

    def _answer(self, scenario: str, request: Request) -> Answer:
        self._changes.refresh()
        goals = self.folder.settings.goals.of()
        context = Context(self._events, self._changes, clock.now(), goals=goals)
        return self.open(scenario).answer(request, context)

    @cached_property
    def _events(self) -> StoredEvents:
        return StoredEvents(self.workshop.engine, self.folder.settings.weights)

    @cached_property
    def _changes(self) -> StoredChanges:
        return StoredChanges(self.workshop.engine)

    def _request(self, user: str | None, session: str | None = None, **request: Any) -> Request:
        keys = self.folder.keys
        user_name = None if user is None else keys.name_of(user)
        session_name = None if session is None else keys.name_of_session(session)
        return Request(user=user_name, session=session_name, **request)

    def champion(self, scenario: str) -> str:
        """The version that serves. Raises NotReady."""
        plugins.part("scenarios", scenario, "recipe")
        version, _ = self.workshop.registry.champion(scenario)
        if version is None:
            raise NotReady(scenario, "has no released version yet", f"run `vetrina run {scenario}`")
        return version

    def _ready(self, snapshot: Snapshot, scenario: str) -> bool:
        return self.workshop.validate(snapshot, scenario).readiness.ready
