"""Input files of a simulated shop: catalogue, event log, relevance judgments and ads."""

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vetrina.core.clock import DAY
from vetrina.simulate.world import WEEKDAY_TRAFFIC, World, weekday

# Probabilities of a visit on an average day, and of what happens in a visit.
_VISIT_PROBABILITY = 0.25
_SEARCH_PROBABILITY = 0.3
_AD_PROBABILITY = 0.3
_VIEWS_PER_VISIT = 4
_RESULTS_PER_SEARCH = 6
_PURCHASE_PROBABILITY = 0.3  # of a product that was clicked in search
_RETURN_PROBABILITY = 0.03  # of a product that was bought
_AD_CLICK_FACTOR = 0.5  # click probability of an ad over that of a search result
_SECONDS_BETWEEN_EVENTS = (10, 120)
_VISIT_HOURS = (0.3, 0.9)  # share of the day at which a visit begins

_COST_SHARE = 0.6  # of the price of a product
_AD_DAYS_LEFT = 30  # days that ads run after the end of the history
_CLICKS_PER_DAILY_BUDGET = 50
_CAMPAIGNS = 5
_FREQUENCY_CAP = 3

_COLUMNS = {
    "products": (
        "product_id", "title", "description", "category", "brand", "price", "cost", "stock", "available_at", "attributes",
    ),
    "events": ("timestamp", "user_id", "type", "product_id", "session_id", "query", "position", "price"),
    "judgments": ("query", "product_id", "grade"),
    "ads": ("ad_id", "product_id", "bid", "campaign_id", "daily_budget", "frequency_cap", "starts_at", "ends_at"),
}  # fmt: skip


class _Action(NamedTuple):
    """What a user does in a visit; ``position`` is empty outside lists."""

    event_type: str
    product: int | None
    query: str = ""
    position: int | str = ""


def write_input_files(world: World, folder: Path) -> dict[str, Path]:
    """Write products, events, judgments and ads of a world as CSV files.

    The same world gives the same bytes.

    Args:
        world: the simulated shop.
        folder: where the files go.

    Returns:
        The files by the name of their table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = {
        "products": _products(world),
        "events": _HistoryGenerator(world).events(),
        "judgments": _judgments(world),
        "ads": _ads(world),
    }
    files = {name: folder / f"{name}.csv" for name in rows}
    for name, file in files.items():
        with file.open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            writer.writerow(_COLUMNS[name])
            writer.writerows(rows[name])
    return files


def _products(world: World) -> Iterator[tuple[Any, ...]]:
    for n, product_id in enumerate(world.product_ids):
        description = f"{world.variety(n).capitalize()} {world.noun(n)} made by {world.brand(n)}."
        price = world.price[n]
        yield (
            product_id,
            world.title(n),
            description,
            world.category_name(n),
            world.brand(n),
            price,
            round(_COST_SHARE * price, 2),
            world.stock[n],
            _iso_time(world.released_at[n]),
            json.dumps({"kind": world.variety(n)}),
        )


def _judgments(world: World) -> Iterator[tuple[str, str, int]]:
    """For each noun as a query: grade 2 for its own products, 0 for the others of its category."""
    nouns = [world.noun(n) for n in range(world.products)]
    for noun in dict.fromkeys(nouns):
        category = world.category[nouns.index(noun)]
        for n in np.flatnonzero(world.category == category).tolist():
            grade = 2 if nouns[n] == noun else 0
            yield noun, world.product_ids[n], grade


def _ads(world: World) -> Iterator[tuple[Any, ...]]:
    starts_at = _iso_time(world.now - world.days * DAY)
    ends_at = _iso_time(world.now + _AD_DAYS_LEFT * DAY)
    for n, (product, bid) in enumerate(zip(world.advertised, world.bid, strict=True)):
        campaign = f"campaign {n % _CAMPAIGNS}"
        daily_budget = round(_CLICKS_PER_DAILY_BUDGET * bid, 2)
        yield (
            f"a{n:03d}",
            world.product_ids[product],
            bid,
            campaign,
            daily_budget,
            _FREQUENCY_CAP,
            starts_at,
            ends_at,
        )


def _iso_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


class _HistoryGenerator:
    """Visits in the rhythm of a week. In a visit a user views a few products or searches; some buy, and some return."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = np.random.default_rng([world.seed, 6])
        nouns = np.array([world.noun(product) for product in range(world.products)])
        self._products_by_noun: dict[str, NDArray[np.intp]] = {}
        for noun in np.unique(nouns):
            self._products_by_noun[str(noun)] = np.flatnonzero(nouns == noun)

    def events(self) -> Iterator[tuple[Any, ...]]:
        """Rows of the file, user by user."""
        world = self._world
        first_day = int(world.now // DAY) - world.days
        for user in range(world.users):
            user_appeal = world.appeal(user)
            for day in range(first_day, first_day + world.days):
                visit_probability = _VISIT_PROBABILITY * WEEKDAY_TRAFFIC[weekday(day)]
                if self._rng.random() > visit_probability:
                    continue
                moment = (day + self._rng.uniform(*_VISIT_HOURS)) * DAY
                product_demand = world.category_demand(day)[world.category]
                appeal = user_appeal + product_demand
                appeal = np.where(world.is_released(moment), appeal, -np.inf)
                yield from self._visit_events(user, f"{world.user_ids[user]}-{day}", moment, appeal)

    def _visit_events(
        self, user: int, session_id: str, moment: float, appeal: NDArray[np.float64]
    ) -> Iterator[tuple[Any, ...]]:
        """Rows of one visit.

        Args:
            user: index of the user.
            session_id: id of the visit.
            moment: its beginning, in seconds since 1970.
            appeal: (products,) how much the user wants each product on that day; -inf before its release.

        Yields:
            Rows of the file.
        """
        for action in self._visit_actions(user, appeal):
            if action.event_type != "impression":
                moment += self._rng.uniform(*_SECONDS_BETWEEN_EVENTS)
            product_id = ""
            price: Any = ""
            if action.product is not None:
                product_id = self._world.product_ids[action.product]
                price = self._world.price[action.product]
            yield (
                round(moment, 3),
                self._world.user_ids[user],
                action.event_type,
                product_id,
                session_id,
                action.query,
                action.position,
                price,
            )

    def _visit_actions(self, user: int, appeal: NDArray[np.float64]) -> list[_Action]:
        """All actions of a visit, sampled before the times of its events."""
        is_search = self._rng.random() < _SEARCH_PROBABILITY
        visit = self._browse(appeal)
        if is_search:
            visit = self._search(user, appeal)
        actions = list(visit)
        if self._rng.random() < _AD_PROBABILITY:
            actions += self._see_ad(appeal)
        return actions

    def _browse(self, appeal: NDArray[np.float64]) -> Iterable[_Action]:
        weights = np.exp(appeal)
        view_probability = weights / weights.sum()
        viewed: list[int] = self._rng.choice(len(appeal), _VIEWS_PER_VISIT, p=view_probability).tolist()
        for product in viewed:
            yield _Action("view", product)
            if self._rng.random() < _interest_probability(appeal, product):
                yield from self._buy(product, "")

    def _search(self, user: int, appeal: NDArray[np.float64]) -> Iterable[_Action]:
        """Results in random order, so that clicks depend on what users want and not only on the position."""
        world = self._world
        rng = self._rng
        query = world.query(user, rng)
        matches = self._products_by_noun.get(query, np.empty(0, np.intp))
        released = matches[np.isfinite(appeal[matches])]
        results = rng.permutation(released)[:_RESULTS_PER_SEARCH]
        yield _Action("search", None, query)
        for position, product in enumerate(results.tolist(), start=1):
            yield _Action("impression", product, query, position)
        examined = rng.random(len(results)) < world.examination_probability(np.arange(len(results)))
        for position, product in enumerate(results.tolist(), start=1):
            if examined[position - 1] and rng.random() < _interest_probability(appeal, product):
                yield _Action("click", product, query, position)
                if rng.random() < _PURCHASE_PROBABILITY:
                    yield from self._buy(product, query)

    def _buy(self, product: int, query: str) -> Iterable[_Action]:
        yield _Action("purchase", product, query)
        if self._rng.random() < _RETURN_PROBABILITY:
            yield _Action("return", product)

    def _see_ad(self, appeal: NDArray[np.float64]) -> Iterable[_Action]:
        product = int(self._rng.choice(self._world.advertised))
        if np.isfinite(appeal[product]):
            yield _Action("ad_impression", product, "", 1)
            click_probability = _AD_CLICK_FACTOR / (1.0 + np.exp(-appeal[product]))
            if self._rng.random() < click_probability:
                yield _Action("ad_click", product, "", 1)


def _interest_probability(appeal: NDArray[np.float64], product: int) -> float:
    """The probability that a user buys or clicks a product that they look at."""
    return 1.0 / (1.0 + np.exp(-float(appeal[product])))
