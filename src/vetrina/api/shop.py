"""Python API: one object per shop.

shop = Shop("my-shop")
shop.ingest(products=["products.csv"], events=["events.csv"])
shop.fit()
shop.recommend("user-1"), shop.search("red shoes"), shop.evaluate("recommend")
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from vetrina.core.answers import Answer
from vetrina.core.data_report import DataReport
from vetrina.core.errors import NotFound
from vetrina.core.evaluation_data import Interval
from vetrina.core.files import shared_lock
from vetrina.core.filters import parse_filters
from vetrina.core.progress import NoProgress, Progress
from vetrina.core.protocols import DataSplits
from vetrina.core.requests import Request
from vetrina.core.snapshots import InputFiles, Snapshot
from vetrina.core.verdicts import ReleaseResult, Verdict
from vetrina.data import dataset
from vetrina.evaluation.bootstrap import mean_interval
from vetrina.pipeline.recipe import full_recipe_digest
from vetrina.pipeline.run_execution import execute_run
from vetrina.pipeline.shop_context import ShopContext
from vetrina.scenarios.base import find_ranking_scenario, find_scenario, scenario_names
from vetrina.serve.readiness import quick_order
from vetrina.serve.recipients import AudienceQuery, RecipientList, find_recipients, mark_contacted
from vetrina.serve.released_models import ReleasedModels
from vetrina.store.registry import Version
from vetrina.store.runs import PRIORITY_MANUAL
from vetrina.store.shop_folder import ShopFolder


class Shop:
    """A shop: a folder with its data, models, versions and settings.

    Users and sessions are named by the shop's own ids; they become pseudonyms on the way in.
    """

    def __init__(self, folder: str | Path = ".", progress: Progress | None = None) -> None:
        self.folder = ShopFolder(Path(folder).resolve())
        if progress is None:
            progress = NoProgress()
        self.shop_context = ShopContext(self.folder, progress)

    # Data, training and evaluation

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
        """Add files, and the events that the service logged. Later data adds to or replaces earlier data.

        Args:
            products: Files of the catalogue.
            events: Files of events.
            users: Files of users, with their e-mail address and consent.
            judgments: Files of graded query-product pairs.
            ads: Files of ads.
            table: File of labelled rows for predict.
            label: Name of the label column of ``table``.

        Returns:
            A snapshot of all data.
        """
        table_files: tuple[Path, ...] = ()
        if table:
            table_files = (Path(table),)
        source = InputFiles(
            products=_paths(products),
            events=_paths(events),
            users=_paths(users),
            judgments=_paths(judgments),
            ads=_paths(ads),
            table=table_files,
            label=label,
        )
        with shared_lock(self.folder.root):
            return self.shop_context.ingest(source)

    def validate(self, scenario: str) -> DataReport:
        """The data checks of a scenario, and whether the data supports it."""
        return self.shop_context.validate(self.ingest(), scenario)

    def fit(
        self, *scenarios: str, budget_minutes: float | None = None, quick: bool = False, engine: str | None = None
    ) -> dict[str, ReleaseResult | None]:
        """Train, compress, gate and release each scenario; without names, every scenario that the data supports.

        Args:
            scenarios: Names of scenarios.
            budget_minutes: Time budget of each run; None for that of the settings.
            quick: Whether scenarios that nothing serves yet get their quick recipes first, before any full one is trained.
            engine: ``local`` or ``ray``; None for that of the settings.

        Returns:
            The release decision by scenario; None where there was nothing new to do.
        """
        self.shop_context.budget_minutes = budget_minutes or 0.0
        self.shop_context.quick = quick
        self.shop_context.training_engine = engine or ""
        for name in scenarios:
            find_scenario(name)  # an unknown name is refused before anything starts
        snapshot = self.ingest()
        wanted = list(scenarios)
        if not wanted:
            wanted = [name for name in scenario_names() if self._is_ready(snapshot, name)]
        results: dict[str, ReleaseResult | None] = {}
        for name in sorted(wanted, key=quick_order):
            results[name] = self._execute_run(name)
        for name, release in results.items():
            if release is not None and release.is_quick:
                self.shop_context.progress.message(_quick_text(release))
                results[name] = self._execute_run(name)
        return results

    def last_verdict(self, scenario: str) -> Verdict | None:
        """The gate's decision on the newest version of today's recipe and settings; None where there is no such version."""
        registry = self.shop_context.registry
        recipe = full_recipe_digest(self.shop_context, find_scenario(scenario))
        version = registry.newest_version(scenario, recipe)
        if version is None:
            return None
        return registry.get_version(version).verdict

    def _execute_run(self, scenario: str) -> ReleaseResult | None:
        run_id = self.shop_context.runs.enqueue(scenario, "asked by hand", PRIORITY_MANUAL)
        return execute_run(self.shop_context, run_id)

    def evaluate(self, scenario: str) -> Interval:
        """The metric of the champion's judged file on the holdout of its own snapshot, with a 95 % interval.

        Raises NotReady without a champion, NotFound without held-out data.
        """
        record = self.shop_context.registry.get_version(self.champion(scenario))
        holdout = self.splits(record).holdout()
        scores = find_scenario(scenario).evaluate(self.shop_context.version_folder(record.judged), holdout)
        if not len(scores.values):
            raise NotFound(scenario, "has no held-out data to judge by", "add purchases, judgments or a longer log")
        return mean_interval(scores.values)

    def splits(self, version: Version) -> DataSplits:
        """The data splits that a version was made from."""
        snapshot = dataset.open_snapshot(self.folder.snapshots, version.snapshot)
        return find_scenario(version.scenario).splits(snapshot, self.folder.settings)

    # Answers

    def rank(self, scenario: str, user: str | None = None, **request: Any) -> Answer:
        """Products of any scenario that answers with products, for a user, a session, or a page.

        They are not counted as impressions.

        Args:
            scenario: Name of the scenario.
            user: The shop's id of the user; None for an anonymous visitor.
            **request: ``session``, ``query``, ``product_ids``, ``placement``, ``limit``, ``filters``, ``exclude_seen`` as over
                HTTP.

        Raises:
            BadInput: The scenario is unknown or answers with something else, or a value breaks a rule.
            NotReady: Nothing is released yet.
        """
        return self._released_models.answer(find_ranking_scenario(scenario).name, self._request(user, **request))

    def recommend(self, user: str | None = None, **request: Any) -> Answer:
        """Recommended products for a user, a session, or a page; see ``rank``."""
        return self.rank("recommend", user, **request)

    def similar(self, product: str, **request: Any) -> Answer:
        """Products bought or viewed together with a product, or with ``placement="looks_like"`` products that look like it."""
        request = {"placement": "product", **request}
        return self.recommend(product_ids=(product,), **request)

    def search(self, query: str, user: str | None = None, **request: Any) -> Answer:
        """Products for a query, personalised where a user is named."""
        return self.rank("search", user, query=query, **request)

    def ads(self, user: str | None = None, slots: int = 3, **request: Any) -> Answer:
        """Ads for a user: ``product_ids``, ``query``, ``filters`` as over HTTP. They are not counted as impressions."""
        return self.rank("ads", user, limit=slots, **request)

    def audience(
        self,
        product: str | None = None,
        *,
        channel: str = "csv",
        note: bool = False,
        scenario: str = "launch",
        **call: Any,
    ) -> RecipientList:
        """The users most likely to buy a product, or most similar to a list or a segment of users.

        Args:
            product: Id of the product.
            channel: Channel that the audience is meant for; only users who consented to it are in it.
            note: Record that the users were contacted, so that they rank lower in the next audiences.
            scenario: The scenario that scores users.
            call: ``like``, a list of user ids; ``segment``, the name of one; ``size``, the number of users.
        """
        engine = self.shop_context.engine
        selector = self.load(scenario)
        context = self._released_models.context()
        query = AudienceQuery(product, channel=channel, note=note, **call)
        return find_recipients(selector, engine, self.folder.keys, context, query)

    def mark_contacted(self, recipients: RecipientList, product: str | None, channel: str) -> None:
        """Record that an audience was contacted, so that its users rank lower in the next ones.

        Args:
            recipients: The audience.
            product: Id of the product it was about.
            channel: Channel it was delivered to.
        """
        pseudonyms = [self.folder.keys.pseudonymise(recipient.user_id) for recipient in recipients.recipients]
        mark_contacted(self.shop_context.engine, pseudonyms, product, channel)

    def predict(
        self, rows: Sequence[Sequence[Any] | Mapping[str, Any]], scenario: str = "predict"
    ) -> list[dict[str, Any]]:
        """For each row a decision with its probability, or a number. A row is a list in column order or a dictionary."""
        return self.load(scenario).answer(rows)

    def product(self, product_id: str) -> dict[str, Any]:
        """A product as the shop last described it. Raises NotFound."""
        catalogue_delta = self._released_models.context().catalogue_delta
        changed = catalogue_delta.changes_after(0).changed_products.get(product_id)
        if changed:
            return {"product_id": product_id, **changed}
        version = self.shop_context.registry.get_version(self.champion("launch"))
        snapshot = dataset.open_snapshot(self.folder.snapshots, version.snapshot)
        product = dataset.product_row(snapshot, product_id)
        if product is None:
            raise NotFound(product_id, "is no product of this shop", "PUT it first, or ingest it")
        return product

    # Versions

    def champion(self, scenario: str) -> str:
        """The version that serves. Raises NotReady."""
        find_scenario(scenario)
        return self._released_models.champion(scenario)

    def load(self, scenario: str, version: str | None = None) -> Any:
        """A version opened for serving; the champion unless another is named."""
        return self._released_models.load(scenario, version or self.champion(scenario))

    @cached_property
    def _released_models(self) -> ReleasedModels:
        return ReleasedModels(self.folder, self.shop_context.engine)

    def _request(
        self,
        user: str | None,
        session: str | None = None,
        filters: Mapping[str, Any] | None = None,
        **request: Any,
    ) -> Request:
        """A request with pseudonyms instead of the shop's ids, and its filters parsed."""
        keys = self.folder.keys
        user_pseudonym = None
        if user is not None:
            user_pseudonym = keys.pseudonymise(user)
        session_pseudonym = None
        if session is not None:
            session_pseudonym = keys.name_of_session(session)
        return Request(user=user_pseudonym, session=session_pseudonym, filters=parse_filters(filters or {}), **request)

    def _is_ready(self, snapshot: Snapshot, scenario: str) -> bool:
        return self.shop_context.validate(snapshot, scenario).readiness.ready


def _quick_text(release: ReleaseResult) -> str:
    """What a quick version means for whoever waits for the run."""
    if release.outcome == "promoted":
        return f"{release.scenario}: quick version {release.version} can be served; the full recipe is trained now"
    return f"{release.scenario}: {release.note}; the full recipe is trained now"


def _paths(files: Iterable[str | Path]) -> tuple[Path, ...]:
    return tuple(Path(file) for file in files)
