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
from vetrina.core.files import exclusive_lock
from vetrina.core.progress import NoProgress, Progress
from vetrina.core.protocols import Context
from vetrina.core.types import Answer, DataReport, InputFiles, Interval, ReleaseResult, Request, Snapshot
from vetrina.metrics.bootstrap import mean_interval
from vetrina.pipeline.run_execution import execute_run
from vetrina.pipeline.shop_context import ShopContext
from vetrina.pipeline.splits import DataSplits
from vetrina.serve.audience import RecipientList, find_recipients, mark_contacted
from vetrina.serve.live_state import StoredChanges, StoredEvents
from vetrina.serve.spend_ledger import StoredSpendLedger
from vetrina.store import dataset
from vetrina.store.runs import PRIORITY_MANUAL
from vetrina.store.shop_folder import ShopFolder


class Shop:
    """A shop is a folder; everything that is learnt and released lies in it."""

    def __init__(self, folder: str | Path = ".", progress: Progress | None = None) -> None:
        self.folder = ShopFolder(Path(folder).resolve())
        self.shop_context = ShopContext(self.folder, progress or NoProgress())
        self._loaded_bundles: dict[str, Any] = {}

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
        with exclusive_lock(self.folder.root):
            return self.shop_context.ingest(InputFiles(*tables, table=(Path(table),) if table else (), label=label))

    def validate(self, scenario: str) -> DataReport:
        """What the checks say about the data for a scenario."""
        return self.shop_context.validate(self.ingest(), scenario)

    def fit(self, *scenarios: str, budget_minutes: float | None = None) -> dict[str, ReleaseResult | None]:
        """Train, compress, judge and release; every scenario that the data supports if none is named."""
        self.shop_context.budget_minutes = budget_minutes or 0.0
        for name in scenarios:
            plugins.load_module("scenarios", name, "recipe")
        snapshot = self.ingest()
        wanted = scenarios or [s for s in plugins.names("scenarios") if self._is_ready(snapshot, s)]
        ask = self.shop_context.runs.enqueue
        return {s: execute_run(self.shop_context, ask(s, "asked by hand", PRIORITY_MANUAL)) for s in wanted}

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
        ledger = StoredSpendLedger(self.shop_context.engine)
        opened = self.load("ads")
        ledger.refresh(opened.daily_budgets)
        self._catalogue_changes.refresh()
        context = Context(self._recent_events, self._catalogue_changes, clock.now(), ledger)
        return opened.answer(self._request(user, limit=slots, **request), context)

    def audience(
        self, product: str | None = None, *, channel: str = "csv", note: bool = False, **call: Any
    ) -> RecipientList:
        """Whom to tell of a product; or ``like`` a list of user ids, or of a ``segment``; ``size`` of them. With ``note`` they
        are noted as told."""
        self._catalogue_changes.refresh()
        context = Context(self._recent_events, self._catalogue_changes, clock.now())
        engine = self.shop_context.engine
        keys = self.folder.keys
        return find_recipients(self.load("launch"), engine, keys, context, channel, note, product_id=product, **call)

    def mark_contacted(self, recipients: RecipientList, product: str | None, channel: str) -> None:
        """An audience was handed over: whoever is in it comes later in the next one."""
        names = [self.folder.keys.pseudonymise(one.user_id) for one in recipients.recipients]
        mark_contacted(self.shop_context.engine, names, product, channel)

    def product(self, product_id: str) -> dict[str, Any]:
        """A product as the shop last described it. Raises NotFound."""
        self._catalogue_changes.refresh()
        if body := self._catalogue_changes.changes_after(0).changed_products.get(product_id):
            return {"product_id": product_id, **body}
        snapshot = self.shop_context.registry.get_version(self.champion("launch"))["snapshot"]
        found = dataset.product_row(dataset.open_snapshot(self.folder.snapshots, snapshot), product_id)
        if found is None:
            raise NotFound(product_id, "is no product of this shop", "PUT it first, or ingest it")
        return found

    def predict(self, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> list[dict[str, Any]]:
        """A yes or no with its probability, or a number, for each row."""
        return self.load("predict").answer(rows)

    def evaluate(self, scenario: str) -> Interval:
        """The champion's judged file on the holdout of its own snapshot, with a 95 % interval."""
        shown = self.shop_context.registry.get_version(self.champion(scenario))
        holdout = self.splits(shown).holdout()
        evaluation = plugins.load_module("scenarios", scenario, "evaluate")
        scores = evaluation.evaluate(self.shop_context.version_folder(shown["judged"]), holdout)
        if not len(scores.values):
            raise NotFound(scenario, "has no held-out data to judge by", "add purchases, judgments or a longer log")
        return mean_interval(scores.values)

    def splits(self, version_record: Mapping[str, Any]) -> DataSplits:
        """The data that a version (as ``registry.show`` gives it) was made from."""
        snapshot = dataset.open_snapshot(self.folder.snapshots, version_record["snapshot"])
        settings = self.folder.settings
        return DataSplits(snapshot, settings.weights, version_record["scenario"], settings.train.weight_events_by)

    def load(self, scenario: str, version: str | None = None) -> Any:
        """The opened champion, or any other version."""
        chosen = version or self.champion(scenario)
        if chosen not in self._loaded_bundles:
            folder = self.shop_context.version_folder(chosen)
            self._loaded_bundles[chosen] = plugins.load_module("scenarios", scenario, "online").load(folder)
        return self._loaded_bundles[chosen]

    def _answer(self, scenario: str, request: Request) -> Answer:
        self._catalogue_changes.refresh()
        goals = self.folder.settings.goals.to_dict()
        context = Context(self._recent_events, self._catalogue_changes, clock.now(), goals=goals)
        return self.load(scenario).answer(request, context)

    @cached_property
    def _recent_events(self) -> StoredEvents:
        return StoredEvents(self.shop_context.engine, self.folder.settings.weights)

    @cached_property
    def _catalogue_changes(self) -> StoredChanges:
        return StoredChanges(self.shop_context.engine)

    def _request(self, user: str | None, session: str | None = None, **request: Any) -> Request:
        keys = self.folder.keys
        user_name = None if user is None else keys.pseudonymise(user)
        session_name = None if session is None else keys.name_of_session(session)
        return Request(user=user_name, session=session_name, **request)

    def champion(self, scenario: str) -> str:
        """The version that serves. Raises NotReady."""
        plugins.load_module("scenarios", scenario, "recipe")
        version, _ = self.shop_context.registry.champion(scenario)
        if version is None:
            raise NotReady(scenario, "has no released version yet", f"run `vetrina run {scenario}`")
        return version

    def _is_ready(self, snapshot: Snapshot, scenario: str) -> bool:
        return self.shop_context.validate(snapshot, scenario).readiness.ready
