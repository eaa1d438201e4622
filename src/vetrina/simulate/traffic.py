"""Whole days of a world's traffic at once, as the columns that monitoring reads: months of days in minutes."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core.clock import DAY
from vetrina.core.types import Catalogue
from vetrina.monitor.log_columns import N_POSITIONS, NO_VALUE, AnswerColumns, EventColumns, ImpressionColumns
from vetrina.retrieval import catalogue_index
from vetrina.retrieval.catalogue_index import CatalogueIndex
from vetrina.simulate.world import WEEKDAY_TRAFFIC, World, weekday

_TYPES = ("view", "click", "purchase")


def write_catalogue_index(world: World, folder: Path) -> CatalogueIndex:
    """The world's products as serving sees them, written into ``folder``."""
    n = world.products
    blank = ("",) * n
    unknown = np.full(n, np.nan)
    titles = tuple(map(world.title, range(n)))
    brands = tuple(f"brand {i % 8}" for i in range(n))
    categories = tuple(f"category {c}" for c in world.category)
    ids = np.array(world.product_ids)
    catalogue_index.write(
        Catalogue(ids, titles, blank, categories, brands, blank, world.price, unknown, unknown), folder
    )
    return CatalogueIndex(folder)


@dataclass(frozen=True)
class PriceShift:
    """What is planted: prices that ``share`` of the shoppers meet move by ``by`` standard deviations (of the log)."""

    user_share: float = 0.0
    standard_deviations: float = 0.0


NO_SHIFT = PriceShift()


@dataclass(frozen=True)
class Traffic:
    """``shoppers`` come on a usual day. ``wobble`` is how much the demand for a category (its log) differs from day to day."""

    world: World
    users_per_day: int
    daily_demand_std: float = 0.0
    seed: int = 1

    def day(self, day_number: int, shift: PriceShift = NO_SHIFT) -> tuple[EventColumns, AnswerColumns]:
        """Day ``number`` since 1970; the same number gives the same day."""
        rng = np.random.default_rng([self.world.seed, self.seed, day_number])
        come = min(int(rng.poisson(self.users_per_day * WEEKDAY_TRAFFIC[weekday(day_number)])), self.world.users)
        users = rng.choice(self.world.users, come, replace=False)
        demand = self.world.category_demand(day_number) + rng.normal(
            0.0, self.daily_demand_std, self.world.category_preferences.shape[1]
        )
        return self._events(day_number, users, demand, shift, rng), self._answers(users, demand, rng)

    def _events(
        self,
        day_number: int,
        users: NDArray[np.intp],
        demand: NDArray[np.float64],
        shift: PriceShift,
        rng: np.random.Generator,
    ) -> EventColumns:
        each = 1 + rng.poisson(3.0, len(users))
        unit = np.repeat(np.arange(len(users)), each).astype(np.int32)
        item = self._sample_products(users[unit], demand, rng)
        price = self.world.price[item]
        meets = rng.random(len(users)) < shift.user_share
        price = np.where(meets[unit], price * np.exp(shift.standard_deviations * np.log(self.world.price).std()), price)
        chance = 1.0 / (1.0 + np.exp(-self._appeal(users[unit], item)))
        kind = np.where(rng.random(len(unit)) < chance, 2, np.where(rng.random(len(unit)) < 0.4, 1, 0))
        time = day_number * DAY + (rng.normal(0.6, 0.15, len(unit)) % 1.0) * DAY
        query = np.full(len(unit), NO_VALUE, np.int32)
        return EventColumns(unit, time, kind.astype(np.int32), item.astype(np.int32), price, query, _TYPES)

    def _answers(self, users: NDArray[np.intp], demand: NDArray[np.float64], rng: np.random.Generator) -> AnswerColumns:
        each = 1 + rng.poisson(0.7, len(users))
        unit = np.repeat(np.arange(len(users)), each).astype(np.int32)
        rows = np.repeat(users[unit], N_POSITIONS).reshape(-1, N_POSITIONS)
        item = self._sample_products(rows.ravel(), demand, rng).reshape(rows.shape)
        score = self._appeal(rows, item)
        order = np.argsort(-score, axis=1)
        item = np.take_along_axis(item, order, 1)
        score = np.take_along_axis(score, order, 1)
        looked = self.world.examination_probability(np.arange(N_POSITIONS))
        n = len(unit)
        clicked = rng.random((n, N_POSITIONS)) < looked / (1.0 + np.exp(-score))
        some = clicked.sum(1) > 0
        shown = ImpressionColumns(
            np.repeat(np.arange(n), N_POSITIONS).astype(np.int32),
            np.tile(np.arange(N_POSITIONS), n).astype(np.int32),
            score.ravel(),
            item.ravel().astype(np.int32),
            clicked.ravel(),
        )
        nothing = np.full(n, NO_VALUE, np.int32)
        size = np.full(n, N_POSITIONS, np.int32)
        delays = rng.lognormal(3.0, 1.0, int(some.sum()))
        return AnswerColumns(
            unit, np.zeros(n, np.int32), nothing, np.ones(n, bool), size, some, shown, delays, ("home",)
        )

    def _sample_products(
        self, users: NDArray[np.intp], demand: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.intp]:
        """One product for each of ``users`` (n,): a category by taste and demand, in it one by quality."""
        wants = self._cumulative_category_probabilities(demand)[users]
        category = (rng.random((len(users), 1)) > wants).sum(1)
        starts, ends, cumulative, order = self._products_by_category
        low = np.where(starts[category] > 0, cumulative[starts[category] - 1], 0.0)
        high = cumulative[ends[category] - 1]
        at = np.searchsorted(cumulative, low + rng.random(len(users)) * (high - low), "right")
        return order[np.minimum(at, len(order) - 1)]

    def _cumulative_category_probabilities(self, demand: NDArray[np.float64]) -> NDArray[np.float64]:
        weights = np.exp(0.5 * self.world.category_preferences + demand)
        return np.cumsum(weights, 1) / weights.sum(1, keepdims=True) - 1e-12

    @cached_property
    def _products_by_category(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64], NDArray[np.intp]]:
        """Products by category: where each begins and ends, running weights, and the products in that order."""
        world = self.world
        order = np.argsort(world.category, kind="stable")
        sizes = np.bincount(world.category, minlength=world.category_preferences.shape[1])
        ends = np.cumsum(sizes)
        return ends - sizes, ends, np.cumsum(np.exp(world.quality[order])), order

    def _appeal(self, users: NDArray[np.intp], item: NDArray[np.intp]) -> NDArray[np.float64]:
        world = self.world
        far = np.abs(np.log(world.price[item]) - world.preferred_log_price[users])
        return world.category_preferences[users, world.category[item]] + world.quality[item] - 0.5 * far - 5.5
