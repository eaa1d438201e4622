"""Whole days of a simulated shop's traffic as the columns that monitoring reads: months of days in minutes."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.bundle.catalogue.read import CatalogueIndex
from vetrina.bundle.catalogue.write import write_catalogue
from vetrina.core.clock import DAY
from vetrina.core.types import Catalogue
from vetrina.monitor.log_columns import N_POSITIONS, NO_VALUE, AnswerColumns, EventColumns, ImpressionColumns
from vetrina.simulate.world import WEEKDAY_TRAFFIC, World, weekday

_EVENT_TYPES = ("view", "click", "purchase")
_VIEW = 0
_CLICK = 1
_PURCHASE = 2
_MORE_EVENTS_PER_USER = 3.0  # mean number a day beside the first one
_MORE_ANSWERS_PER_USER = 0.7  # mean number a day beside the first one
_CLICK_PROBABILITY = 0.4  # of a product that is not bought
_MEAN_TIME_OF_DAY = 0.6  # share of the day
_TIME_OF_DAY_STD = 0.15


def write_catalogue_index(world: World, folder: Path) -> CatalogueIndex:
    """Write the world's products as serving reads them into a folder, and open them."""
    n = world.products
    titles = tuple(world.title(product) for product in range(n))
    brands = tuple(f"brand {product % 8}" for product in range(n))
    categories = tuple(f"category {category}" for category in world.category)
    ids = np.array(world.product_ids)
    blank = ("",) * n
    missing = np.full(n, np.nan)
    catalogue = Catalogue(ids, titles, blank, categories, brands, blank, world.price, missing, missing)
    write_catalogue(catalogue, folder)
    return CatalogueIndex(folder)


@dataclass(frozen=True)
class PriceShift:
    """A change to inject: the prices that a share of the users sees move by standard deviations of the log price."""

    user_share: float = 0.0
    standard_deviations: float = 0.0


NO_SHIFT = PriceShift()


@dataclass(frozen=True)
class Traffic:
    """Traffic of a world, day by day.

    Args:
        world: the simulated shop.
        users_per_day: expected number of users on an average day.
        daily_demand_std: standard deviation between days of the log demand for a category.
        seed: of the traffic.
    """

    world: World
    users_per_day: int
    daily_demand_std: float = 0.0
    seed: int = 1

    def day(self, day_number: int, shift: PriceShift = NO_SHIFT) -> tuple[EventColumns, AnswerColumns]:
        """Events and answers of a day, counted from 1970; the same number gives the same day."""
        rng = np.random.default_rng([self.world.seed, self.seed, day_number])
        expected_users = self.users_per_day * WEEKDAY_TRAFFIC[weekday(day_number)]
        n_visitors: int = rng.poisson(expected_users)
        n_users = min(int(n_visitors), self.world.users)
        users = rng.choice(self.world.users, n_users, replace=False)
        n_categories = self.world.category_preferences.shape[1]
        daily_demand: NDArray[np.float64] = rng.normal(0.0, self.daily_demand_std, n_categories)
        demand = self.world.category_demand(day_number) + daily_demand
        events = self._events(day_number, users, demand, shift, rng)
        answers = self._answers(users, demand, rng)
        return events, answers

    def _events(
        self,
        day_number: int,
        users: NDArray[np.intp],
        demand: NDArray[np.float64],
        shift: PriceShift,
        rng: np.random.Generator,
    ) -> EventColumns:
        """Events of ``users`` (n,) with log ``demand`` (categories,)."""
        events_per_user = 1 + rng.poisson(_MORE_EVENTS_PER_USER, len(users))
        unit = np.repeat(np.arange(len(users)), events_per_user).astype(np.int32)
        n_events = len(unit)
        item = self._sample_products(users[unit], demand, rng)
        price = self.world.price[item]
        sees_shift = rng.random(len(users)) < shift.user_share
        price_factor = np.exp(shift.standard_deviations * np.log(self.world.price).std())
        price = np.where(sees_shift[unit], price * price_factor, price)
        purchase_probability = 1.0 / (1.0 + np.exp(-self._appeal(users[unit], item)))
        is_purchase = rng.random(n_events) < purchase_probability
        is_click = rng.random(n_events) < _CLICK_PROBABILITY
        event_type = np.where(is_purchase, _PURCHASE, np.where(is_click, _CLICK, _VIEW))
        time_of_day = rng.normal(_MEAN_TIME_OF_DAY, _TIME_OF_DAY_STD, n_events) % 1.0
        time = day_number * DAY + time_of_day * DAY
        query = np.full(n_events, NO_VALUE, np.int32)
        return EventColumns(unit, time, event_type.astype(np.int32), item.astype(np.int32), price, query, _EVENT_TYPES)

    def _answers(self, users: NDArray[np.intp], demand: NDArray[np.float64], rng: np.random.Generator) -> AnswerColumns:
        """Answers to ``users`` (n,) with log ``demand`` (categories,), each ranked by appeal."""
        answers_per_user = 1 + rng.poisson(_MORE_ANSWERS_PER_USER, len(users))
        unit = np.repeat(np.arange(len(users)), answers_per_user).astype(np.int32)
        n_answers = len(unit)
        user_of_position = np.repeat(users[unit], N_POSITIONS).reshape(-1, N_POSITIONS)
        item = self._sample_products(user_of_position.ravel(), demand, rng).reshape(user_of_position.shape)
        score = self._appeal(user_of_position, item)
        order = np.argsort(-score, axis=1)
        item = np.take_along_axis(item, order, 1)
        score = np.take_along_axis(score, order, 1)
        examination_probability = self.world.examination_probability(np.arange(N_POSITIONS))
        clicked = rng.random((n_answers, N_POSITIONS)) < examination_probability / (1.0 + np.exp(-score))
        has_click = clicked.sum(1) > 0
        impressions = ImpressionColumns(
            np.repeat(np.arange(n_answers), N_POSITIONS).astype(np.int32),
            np.tile(np.arange(N_POSITIONS), n_answers).astype(np.int32),
            score.ravel(),
            item.ravel().astype(np.int32),
            clicked.ravel(),
        )
        placement = np.zeros(n_answers, np.int32)
        query = np.full(n_answers, NO_VALUE, np.int32)
        is_identified = np.ones(n_answers, bool)
        size = np.full(n_answers, N_POSITIONS, np.int32)
        click_delays = rng.lognormal(3.0, 1.0, int(has_click.sum()))
        return AnswerColumns(
            unit, placement, query, is_identified, size, has_click, impressions, click_delays, ("home",)
        )

    def _sample_products(
        self, users: NDArray[np.intp], demand: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.intp]:
        """(n,) one product for each of ``users`` (n,): a category by preference and demand, then a product by quality."""
        category_edges = self._cumulative_category_probabilities(demand)[users]
        category = (rng.random((len(users), 1)) > category_edges).sum(1)
        starts, ends, cumulative_weights, order = self._products_by_category
        low = np.where(starts[category] > 0, cumulative_weights[starts[category] - 1], 0.0)
        high = cumulative_weights[ends[category] - 1]
        sampled_weight = low + rng.random(len(users)) * (high - low)
        index = np.searchsorted(cumulative_weights, sampled_weight, "right")
        return order[np.minimum(index, len(order) - 1)]

    def _cumulative_category_probabilities(self, demand: NDArray[np.float64]) -> NDArray[np.float64]:
        """(users, categories)."""
        weights = np.exp(0.5 * self.world.category_preferences + demand)
        return np.cumsum(weights, 1) / weights.sum(1, keepdims=True) - 1e-12

    @cached_property
    def _products_by_category(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64], NDArray[np.intp]]:
        """Products sorted by category: where each category starts and ends, cumulative weights, and the products."""
        world = self.world
        order = np.argsort(world.category, kind="stable")
        sizes = np.bincount(world.category, minlength=world.category_preferences.shape[1])
        ends = np.cumsum(sizes)
        cumulative_weights = np.cumsum(np.exp(world.quality[order]))
        return ends - sizes, ends, cumulative_weights, order

    def _appeal(self, users: NDArray[np.intp], item: NDArray[np.intp]) -> NDArray[np.float64]:
        """How much each of ``users`` wants the product at the same place of ``item``; both of one shape."""
        world = self.world
        price_distance = np.abs(np.log(world.price[item]) - world.preferred_log_price[users])
        preference = world.category_preferences[users, world.category[item]]
        return preference + world.quality[item] - 0.5 * price_distance - 5.5
