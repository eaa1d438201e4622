"""What a shop would have on file of a world: its catalogue, a history of visits, judged queries and running ads."""

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.core.clock import DAY
from vetrina.simulate.world import WEEKDAY_TRAFFIC, World, weekday

# the chance of a visit on a usual day, and of what happens in it
_VISIT_PROBABILITY = 0.25
_SEARCH_PROBABILITY = 0.3
_AD_PROBABILITY = 0.3
_VIEWS_PER_VISIT = 4
_RESULTS_PER_SEARCH = 6
# of what was clicked, of what was bought
_PURCHASE_PROBABILITY = 0.3
_RETURN_PROBABILITY = 0.03
_AD_CLICK_FACTOR = 0.5  # an ad is clicked half as often as what was asked for

_COLUMNS = {
    "products": (
        "product_id", "title", "description", "category", "brand", "price", "cost", "stock", "available_at", "attributes",
    ),
    "events": ("timestamp", "user_id", "type", "product_id", "session_id", "query", "position", "price"),
    "judgments": ("query", "product_id", "grade"),
    "ads": ("ad_id", "product_id", "bid", "campaign_id", "daily_budget", "frequency_cap", "starts_at", "ends_at"),
}  # fmt: skip


def write_input_files(world: World, folder: Path) -> dict[str, Path]:
    """products, events, judgments and ads as CSV; the same world gives the same bytes."""
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
    for n, name in enumerate(world.product_ids):
        text = f"{world.variety(n).capitalize()} {world.noun(n)} made by {world.brand(n)}."
        price = world.price[n]
        yield (
            name, world.title(n), text, world.category_name(n), world.brand(n), price, round(0.6 * price, 2),
            world.stock[n], _iso_time(world.released_at[n]), json.dumps({"kind": world.variety(n)}),
        )  # fmt: skip


def _judgments(world: World) -> Iterator[tuple[str, str, int]]:
    for noun in dict.fromkeys(world.noun(n) for n in range(world.products)):
        category = next(world.category[n] for n in range(world.products) if world.noun(n) == noun)
        for n in np.flatnonzero(world.category == category).tolist():
            yield noun, world.product_ids[n], 2 if world.noun(n) == noun else 0


def _ads(world: World) -> Iterator[tuple[Any, ...]]:
    begins = _iso_time(world.now - world.days * DAY)
    ends = _iso_time(world.now + 30 * DAY)
    for n, (product, bid) in enumerate(zip(world.advertised, world.bid, strict=True)):
        yield f"a{n:03d}", world.product_ids[product], bid, f"campaign {n % 5}", round(50 * bid, 2), 3, begins, ends


def _iso_time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


class _HistoryGenerator:
    """Visits by the week's rhythm: a few looks or a search, some of which end in a purchase, some of those in a return."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = np.random.default_rng([world.seed, 6])
        nouns = np.array([world.noun(n) for n in range(world.products)])
        self._products_by_noun = {str(noun): np.flatnonzero(nouns == noun) for noun in np.unique(nouns)}

    def events(self) -> Iterator[tuple[Any, ...]]:
        """Rows of the file, user by user."""
        world = self._world
        first = int(world.now // DAY) - world.days
        for user in range(world.users):
            appeal = world.appeal(user)
            for day in range(first, first + world.days):
                if self._rng.random() > _VISIT_PROBABILITY * WEEKDAY_TRAFFIC[weekday(day)]:
                    continue
                moment = (day + self._rng.uniform(0.3, 0.9)) * DAY
                wanted = appeal + world.category_demand(day)[world.category]
                wanted = np.where(world.is_released(moment), wanted, -np.inf)
                yield from self._visit_events(user, f"{world.user_ids[user]}-{day}", moment, wanted)

    def _visit_events(self, user: int, session: str, moment: float, wanted: np.ndarray) -> Iterator[tuple[Any, ...]]:
        rng = self._rng
        actions = (
            self._search_events(user, wanted) if rng.random() < _SEARCH_PROBABILITY else self._browse_events(wanted)
        )
        for kind, product, query, position in (
            *actions,
            *(self._ad_events(wanted) if rng.random() < _AD_PROBABILITY else ()),
        ):
            if kind != "impression":
                moment += rng.uniform(10, 120)
            name = "" if product is None else self._world.product_ids[product]
            price = "" if product is None else self._world.price[product]
            yield round(moment, 3), self._world.user_ids[user], kind, name, session, query, position, price

    def _browse_events(self, wanted: np.ndarray) -> Iterable[tuple[str, int | None, str, Any]]:
        chances = np.exp(wanted) / np.exp(wanted).sum()
        for product in self._rng.choice(len(wanted), _VIEWS_PER_VISIT, p=chances).tolist():
            yield "view", product, "", ""
            if self._rng.random() < 1.0 / (1.0 + np.exp(-wanted[product])):
                yield from self._purchase_events(product, "")

    def _search_events(self, user: int, wanted: np.ndarray) -> Iterable[tuple[str, int | None, str, Any]]:
        """A list in no good order, so that clicks say what shoppers want and not only what stood first."""
        world = self._world
        rng = self._rng
        query = world.query(user, rng)
        found = self._products_by_noun.get(query, np.empty(0, np.intp))
        shown = rng.permutation(found[np.isfinite(wanted[found])])[:_RESULTS_PER_SEARCH]
        yield "search", None, query, ""
        for place, product in enumerate(shown.tolist(), start=1):
            yield "impression", product, query, place
        looked = rng.random(len(shown)) < world.examination_probability(np.arange(len(shown)))
        for place, product in enumerate(shown.tolist(), start=1):
            if looked[place - 1] and rng.random() < 1.0 / (1.0 + np.exp(-wanted[product])):
                yield "click", product, query, place
                if rng.random() < _PURCHASE_PROBABILITY:
                    yield from self._purchase_events(product, query)

    def _purchase_events(self, product: int, query: str) -> Iterable[tuple[str, int | None, str, Any]]:
        yield "purchase", product, query, ""
        if self._rng.random() < _RETURN_PROBABILITY:
            yield "return", product, "", ""

    def _ad_events(self, wanted: np.ndarray) -> Iterable[tuple[str, int | None, str, Any]]:
        product = int(self._rng.choice(self._world.advertised))
        if np.isfinite(wanted[product]):
            yield "ad_impression", product, "", 1
            if self._rng.random() < _AD_CLICK_FACTOR / (1.0 + np.exp(-wanted[product])):
                yield "ad_click", product, "", 1
