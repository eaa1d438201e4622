"""A seeded simulated shop with its users, whose best possible answers are known.

A product lies in one category and has a quality, a price, a release date and a stock. A user prefers some categories and a price.
How much a user wants a product is its ``appeal``; views, clicks and purchases follow from it, so every model's answer can be
compared with the best one. ``simulate.input_files`` writes what a shop would have on file of it.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vetrina.core.clock import DAY

_NOUNS = {
    "Bread": ("rye bread", "baguette", "toast", "bagel"),
    "Dairy": ("milk", "yoghurt", "cheddar", "butter"),
    "Fruit": ("apples", "oranges", "grapes", "berries"),
    "Snacks": ("crisps", "pretzels", "popcorn", "nuts"),
    "Drinks": ("cola", "lemonade", "juice", "water"),
    "Coffee": ("espresso", "filter coffee", "decaf", "coffee beans"),
    "Pasta": ("spaghetti", "penne", "lasagne", "noodles"),
    "Cleaning": ("detergent", "soap", "sponge", "bleach"),
    "Pets": ("cat food", "dog food", "cat litter", "treats"),
    "Baby": ("nappies", "wipes", "baby food", "bottles"),
    "Garden": ("seeds", "soil", "gloves", "watering can"),
    "Books": ("novel", "cookbook", "atlas", "comic"),
}
_CATEGORIES = tuple(_NOUNS)
_NOUNS_PER_CATEGORY = 4
_BRANDS = ("Alder", "Birch", "Cedar", "Elm", "Hazel", "Linden", "Maple", "Rowan")
_VARIETIES = ("organic", "classic", "family", "mini", "premium", "value")
_SATURDAY = 5
_NEW_SHARE = 0.15  # of products that are released during the history
_SOLD_OUT_SHARE = 0.05
_AD_SHARE = 0.1  # of products with an ad
_OLD_PRODUCT_DAYS = 400  # from the release of the other products to the beginning of the history
_WEEKEND_DEMAND = 0.3  # added to the log demand of some categories
_PREFERENCE_SCALE = 9.0  # sum of a user's category preferences
_PRICE_SENSITIVITY = 0.5  # lost appeal per unit of log price
_APPEAL_OFFSET = 5.5
WEEKDAY_TRAFFIC = np.array([0.9, 0.85, 0.9, 1.0, 1.2, 1.3, 0.85])  # users over those of an average day, Monday first


@dataclass(frozen=True)
class World:
    """A simulated shop.

    Args:
        products: number of products.
        users: number of users.
        days: length of the history.
        seed: of everything.
        now: end of the history, in seconds since 1970.
    """

    products: int = 300
    users: int = 400
    days: int = 60
    seed: int = 7
    now: float = 1_764_000_000.0

    @cached_property
    def category(self) -> NDArray[np.intp]:
        """(products,) index of the category."""
        return self._rng(1).integers(0, len(_CATEGORIES), self.products)

    @cached_property
    def price(self) -> NDArray[np.float64]:
        """(products,)."""
        return np.exp(self._rng(2).normal(1.5, 0.6, self.products)).round(2).astype(np.float64)

    @cached_property
    def quality(self) -> NDArray[np.float64]:
        """(products,) appeal that is the same for all users."""
        return self._rng(3).normal(0.0, 0.5, self.products)

    @cached_property
    def category_preferences(self) -> NDArray[np.float64]:
        """(users, categories) preferences of a user: about three categories lie far above the others."""
        concentration = np.full(len(_CATEGORIES), 0.25)
        return _PREFERENCE_SCALE * self._rng(4).dirichlet(concentration, self.users)

    @cached_property
    def preferred_log_price(self) -> NDArray[np.float64]:
        """(users,)."""
        return self._rng(5).normal(1.5, 0.4, self.users)

    @cached_property
    def released_at(self) -> NDArray[np.float64]:
        """(products,) seconds since 1970: most long ago, some on a day of the history."""
        rng = self._rng(7)
        is_new = rng.random(self.products) < _NEW_SHARE
        day = rng.integers(1, max(2, self.days), self.products)
        new_release = self.now - (self.days - day) * DAY
        old_release = self.now - (self.days + _OLD_PRODUCT_DAYS) * DAY
        return np.where(is_new, new_release, old_release)

    @cached_property
    def stock(self) -> NDArray[np.int64]:
        """(products,) pieces at the end of the history; a few products are sold out."""
        rng = self._rng(8)
        is_sold_out = rng.random(self.products) < _SOLD_OUT_SHARE
        return np.where(is_sold_out, 0, rng.integers(1, 200, self.products))

    @cached_property
    def advertised(self) -> NDArray[np.intp]:
        """(ads,) the product of each ad."""
        n_ads = max(1, round(_AD_SHARE * self.products))
        return np.sort(self._rng(9).choice(self.products, n_ads, replace=False))

    @cached_property
    def bid(self) -> NDArray[np.float64]:
        """(ads,) price that an advertiser offers for a click."""
        return self._rng(10).lognormal(-1.0, 0.5, len(self.advertised)).round(3)

    @cached_property
    def product_ids(self) -> list[str]:
        """(products,) ids as the shop writes them."""
        return [f"p{n:04d}" for n in range(self.products)]

    @cached_property
    def user_ids(self) -> list[str]:
        """(users,) ids as the shop writes them."""
        return [f"u{n:04d}" for n in range(self.users)]

    def title(self, product: int) -> str:
        """Brand, variety and noun of a product."""
        return f"{self.brand(product)} {self.variety(product)} {self.noun(product)}"

    def noun(self, product: int) -> str:
        """The query that a user would type to find a product: one of four of its category."""
        return _NOUNS[self.category_name(product)][product % _NOUNS_PER_CATEGORY]

    def brand(self, product: int) -> str:
        """One of eight brands."""
        return _BRANDS[product % len(_BRANDS)]

    def variety(self, product: int) -> str:
        """One of six varieties."""
        return _VARIETIES[product % len(_VARIETIES)]

    def category_name(self, product: int) -> str:
        """One of twelve categories."""
        return _CATEGORIES[int(self.category[product])]

    def appeal(self, user: int) -> NDArray[np.float64]:
        """(products,) how much a user wants each product."""
        price_distance = np.abs(np.log(self.price) - self.preferred_log_price[user])
        preference = self.category_preferences[user][self.category]
        return preference + self.quality - _PRICE_SENSITIVITY * price_distance - _APPEAL_OFFSET

    def click_probability(self, user: int, ranked_products: NDArray[np.intp]) -> NDArray[np.float64]:
        """(n,) probability that the product at each position is clicked: examined (less often further down) times wanted."""
        positions = np.arange(len(ranked_products))
        appeal = self.appeal(user)[ranked_products]
        return self.examination_probability(positions) / (1.0 + np.exp(-appeal))

    def examination_probability(self, position: NDArray[np.intp]) -> NDArray[np.float64]:
        """The probability that a user looks at a position, counted from 0."""
        return 1.0 / (1.0 + 0.25 * position.astype(np.float64))

    def is_released(self, moment: float) -> NDArray[np.bool_]:
        """(products,) whether each is released at a time in seconds since 1970."""
        return self.released_at <= moment

    def best_products(self, user: int, limit: int = 10) -> NDArray[np.intp]:
        """(limit,) the best possible answer at the end of the history: by appeal, without products that are sold out."""
        appeal = np.where(self.stock > 0, self.appeal(user), -np.inf)
        return np.argsort(-appeal, kind="stable")[:limit]

    def category_demand(self, day: int) -> NDArray[np.float64]:
        """(categories,) log demand of all users on a day, counted from 1970: every third category sells better on weekends."""
        is_weekend = weekday(day) >= _SATURDAY
        return _WEEKEND_DEMAND * (np.arange(len(_CATEGORIES)) % 3 == 0) * is_weekend

    def best_ad(self, user: int) -> int:
        """The ad with the highest expected revenue: bid times click probability."""
        appeal = self.appeal(user)[self.advertised]
        return int(np.argmax(self.bid / (1.0 + np.exp(-appeal))))

    def query(self, user: int, rng: np.random.Generator) -> str:
        """A random query of a user: a noun of a category that the user prefers."""
        weights = np.exp(self.category_preferences[user])
        category = rng.choice(len(_CATEGORIES), p=weights / weights.sum())
        return _NOUNS[_CATEGORIES[category]][rng.integers(0, _NOUNS_PER_CATEGORY)]

    def _rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, stream])


def weekday(day: int) -> int:
    """The day of the week of a day counted from 1970, which began on a Thursday; 0 for Monday."""
    return (day + 3) % 7
