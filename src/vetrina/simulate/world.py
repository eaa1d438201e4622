"""One seeded generator of a shop and its shoppers, whose best possible answer is known.

A product lies in one category and has a quality, a price, a day on which it is released and a stock; a user likes some
categories and has a price in mind. How much a user wants a product is their ``appeal``; looking, clicking and buying follow
from it, so every model's answer can be compared with the best one. What of it a shop would have on file, ``simulate.input_files``
writes.
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
_BRANDS = ("Alder", "Birch", "Cedar", "Elm", "Hazel", "Linden", "Maple", "Rowan")
_VARIETIES = ("organic", "classic", "family", "mini", "premium", "value")
_SATURDAY = 5
_NEW_SHARE = 0.15
_SOLD_OUT_SHARE = 0.05
_AD_SHARE = 0.1
WEEKDAY_TRAFFIC = np.array([0.9, 0.85, 0.9, 1.0, 1.2, 1.3, 0.85])  # how many come, Monday first


@dataclass(frozen=True)
class World:
    """Numbers are counts; ``days`` is the length of the history, which ends at ``now`` (seconds since 1970)."""

    products: int = 300
    users: int = 400
    days: int = 60
    seed: int = 7
    now: float = 1_764_000_000.0

    @cached_property
    def category(self) -> NDArray[np.intp]:
        """(products,) index of the category."""
        return self._rng(1).integers(0, len(_NOUNS), self.products)

    @cached_property
    def price(self) -> NDArray[np.float64]:
        """(products,)."""
        return np.exp(self._rng(2).normal(1.5, 0.6, self.products)).round(2).astype(np.float64)

    @cached_property
    def quality(self) -> NDArray[np.float64]:
        """(products,) what everybody agrees on."""
        return self._rng(3).normal(0.0, 0.5, self.products)

    @cached_property
    def category_preferences(self) -> NDArray[np.float64]:
        """(users, categories) what only the user knows: three or so categories far above the rest."""
        return 9.0 * self._rng(4).dirichlet(np.full(len(_NOUNS), 0.25), self.users)

    @cached_property
    def preferred_log_price(self) -> NDArray[np.float64]:
        """(users,) log price that a user has in mind."""
        return self._rng(5).normal(1.5, 0.4, self.users)

    @cached_property
    def released_at(self) -> NDArray[np.float64]:
        """(products,) seconds since 1970: most long ago, some on a day of the history."""
        rng = self._rng(7)
        new = rng.random(self.products) < _NEW_SHARE
        day = rng.integers(1, max(2, self.days), self.products)
        return np.where(new, self.now - (self.days - day) * DAY, self.now - (self.days + 400) * DAY)

    @cached_property
    def stock(self) -> NDArray[np.int64]:
        """(products,) pieces at the end of the history; a few are sold out."""
        rng = self._rng(8)
        return np.where(rng.random(self.products) < _SOLD_OUT_SHARE, 0, rng.integers(1, 200, self.products))

    @cached_property
    def advertised(self) -> NDArray[np.intp]:
        """(ads,) the product of each ad."""
        return np.sort(self._rng(9).choice(self.products, max(1, round(_AD_SHARE * self.products)), replace=False))

    @cached_property
    def bid(self) -> NDArray[np.float64]:
        """(ads,) what an advertiser pays for a click."""
        return self._rng(10).lognormal(-1.0, 0.5, len(self.advertised)).round(3)

    @cached_property
    def product_ids(self) -> list[str]:
        """As the shop writes them."""
        return [f"p{n:04d}" for n in range(self.products)]

    @cached_property
    def user_ids(self) -> list[str]:
        """As the shop writes them."""
        return [f"u{n:04d}" for n in range(self.users)]

    def title(self, product: int) -> str:
        """Brand, kind and noun."""
        return f"{self.brand(product)} {self.variety(product)} {self.noun(product)}"

    def noun(self, product: int) -> str:
        """What a shopper would type to find it."""
        return list(_NOUNS.values())[self.category[product]][product % 4]

    def brand(self, product: int) -> str:
        """One of eight."""
        return _BRANDS[product % 8]

    def variety(self, product: int) -> str:
        """One of six."""
        return _VARIETIES[product % 6]

    def category_name(self, product: int) -> str:
        """One of twelve."""
        return list(_NOUNS)[self.category[product]]

    def appeal(self, user: int) -> NDArray[np.float64]:
        """(products,) how much a user wants each product."""
        far = np.abs(np.log(self.price) - self.preferred_log_price[user])
        return self.category_preferences[user][self.category] + self.quality - 0.5 * far - 5.5

    def click_probability(self, user: int, ranked_products: NDArray[np.intp]) -> NDArray[np.float64]:
        """Chance that each place of an answer is clicked: seen (less often the lower it stands) times wanted."""
        return self.examination_probability(np.arange(len(ranked_products))) / (
            1.0 + np.exp(-self.appeal(user)[ranked_products])
        )

    def examination_probability(self, position: NDArray[np.intp]) -> NDArray[np.float64]:
        """The chance that a place (from 0) is looked at."""
        return 1.0 / (1.0 + 0.25 * position.astype(np.float64))

    def is_released(self, moment: float) -> NDArray[np.bool_]:
        """(products,) released by then."""
        return self.released_at <= moment

    def best_products(self, user: int, limit: int = 10) -> NDArray[np.intp]:
        """The best possible answer at the end of the history: by appeal, of what is not sold out."""
        appeal = np.where(self.stock > 0, self.appeal(user), -np.inf)
        return np.argsort(-appeal, kind="stable")[:limit]

    def category_demand(self, day: int) -> NDArray[np.float64]:
        """(categories,) the log of what everybody wants more of on a day (days since 1970): some categories every weekend."""
        weekend = weekday(day) >= _SATURDAY
        return 0.3 * (np.arange(len(_NOUNS)) % 3 == 0) * weekend

    def best_ad(self, user: int) -> int:
        """The ad worth most to the shop: bid times the chance of a click."""
        return int(np.argmax(self.bid / (1.0 + np.exp(-self.appeal(user)[self.advertised]))))

    def query(self, user: int, rng: np.random.Generator) -> str:
        """What a user might look for."""
        weights = np.exp(self.category_preferences[user])
        names = list(_NOUNS.values())[rng.choice(len(_NOUNS), p=weights / weights.sum())]
        return names[rng.integers(0, 4)]

    def _rng(self, part: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, part])


def weekday(day: int) -> int:
    """0 for Monday; ``day`` counts from 1970, which began on a Thursday."""
    return (day + 3) % 7
