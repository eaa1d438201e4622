"""Champions of a shop, opened in this process: answers without a service.

It knows nothing of experiments, and logs nothing.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from vetrina.core import clock
from vetrina.core.errors import NotReady
from vetrina.core.keys import Keys
from vetrina.core.protocols import Context
from vetrina.core.types import Answer, Request
from vetrina.scenarios.base import RankingBundle, find_ranking_scenario, find_scenario
from vetrina.serve.live_state import StoredChanges, StoredEvents
from vetrina.serve.local.query import LocalItem, LocalQuery
from vetrina.serve.spend_ledger import StoredSpendLedger
from vetrina.store.database import open_store
from vetrina.store.registry import Registry
from vetrina.store.shop_folder import ShopFolder


class ReleasedModels:
    """The released versions of a shop, each loaded once."""

    def __init__(self, folder: ShopFolder, engine: Engine) -> None:
        """Loads nothing yet.

        Args:
            folder: the shop's folder.
            engine: its open store.
        """
        self._folder = folder
        self._registry = Registry(engine, folder.keys)
        self._recent_events = StoredEvents(engine, folder.settings.weights)
        self._catalogue_changes = StoredChanges(engine)
        self._ledger = StoredSpendLedger(engine)
        self._loaded_bundles: dict[str, Any] = {}

    def champion(self, scenario: str) -> str:
        """The version that serves. Raises NotReady."""
        version, _ = self._registry.champion(scenario)
        if version is None:
            raise NotReady(scenario, "has no released version yet", f"run `vetrina run {scenario}`")
        return version

    def load(self, scenario: str, version: str | None = None) -> Any:
        """A version opened for serving; the champion unless another is named."""
        version = version or self.champion(scenario)
        if version not in self._loaded_bundles:
            _, folder = self._folder.bundles.unpack(version)
            self._loaded_bundles[version] = find_scenario(scenario).load(folder)
        return self._loaded_bundles[version]

    def answer(self, scenario: str, request: Request) -> Answer:
        """The champion's ranked answer to a request, under the shop's business objectives."""
        bundle: RankingBundle = self.load(scenario)
        context = replace(self.context(), goals=self._folder.settings.goals.to_dict())
        if find_ranking_scenario(scenario).charges_clicks:
            self._ledger.refresh(bundle.daily_budgets)
            context = replace(context, spend_ledger=self._ledger)
        return bundle.answer(request, context)

    def context(self) -> Context:
        """What an answer depends on besides the request, as of now: recent events and changed products."""
        self._catalogue_changes.refresh()
        return Context(self._recent_events, self._catalogue_changes, clock.now())


def answer_from_bundle(shop_dir: Path, query: LocalQuery) -> list[LocalItem]:
    """Items of the champion's answer, best first, from the bundle itself.

    Args:
        shop_dir: the shop's folder, an absolute path.
        query: the query.

    Raises:
        NotReady: nothing is released yet.
        BadInput: the query is refused.
    """
    folder = ShopFolder(shop_dir)
    engine = open_store(folder.store_url, folder.keys)
    try:
        answer = ReleasedModels(folder, engine).answer(query.scenario, to_request(query, folder.keys))
    finally:
        engine.dispose()
    return to_local_items(answer)


def to_request(query: LocalQuery, keys: Keys) -> Request:
    """The request of a local query, under the user's pseudonym."""
    user = None
    if query.user_id is not None:
        user = keys.pseudonymise(query.user_id)
    return Request(
        user=user,
        query=query.query,
        product_ids=tuple(query.product_ids),
        placement=query.placement,
        limit=query.limit,
        exclude_seen=query.exclude_seen,
    )


def to_local_items(answer: Answer) -> list[LocalItem]:
    """The items of an answer, as they travel to the command line."""
    items = []
    for item in answer.items:
        items.append(LocalItem(item.product_id, item.title, float(item.score), list(item.reasons)))
    return items
