"""One seeded generator of a shop and its shoppers, whose best possible answer is known.

A product lies in one category and has a quality and a price; a user likes some categories and has a price in mind. How much
a user wants a product is their ``appeal``; looking, clicking and buying follow from it, so every model's answer can be
compared with the best one.
"""

import csv
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
_KINDS = ("organic", "classic", "family", "mini", "premium", "value")
_DAY = 86_400.0
WEEK = np.array([0.9, 0.85, 0.9, 1.0, 1.2, 1.3, 0.85])  # Monday first


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
    def taste(self) -> NDArray[np.float64]:
        """(users, categories) what only the user knows: three or so categories far above the rest."""
        return 9.0 * self._rng(4).dirichlet(np.full(len(_NOUNS), 0.25), self.users)

    @cached_property
    def wallet(self) -> NDArray[np.float64]:
        """(users,) log price that a user has in mind."""
        return self._rng(5).normal(1.5, 0.4, self.users)

    @property
    def product_ids(self) -> list[str]:
        """As the shop writes them."""
        return [f"p{n:04d}" for n in range(self.products)]

    @property
    def user_ids(self) -> list[str]:
        """As the shop writes them."""
        return [f"u{n:04d}" for n in range(self.users)]

    def title(self, product: int) -> str:
        """Brand, kind and noun."""
        nouns = list(_NOUNS.values())[self.category[product]]
        return f"{_BRANDS[product % 8]} {_KINDS[product % 6]} {nouns[product % 4]}"

    def appeal(self, user: int) -> NDArray[np.float64]:
        """(products,) how much a user wants each product."""
        far = np.abs(np.log(self.price) - self.wallet[user])
        return self.taste[user][self.category] + self.quality - 0.5 * far - 5.5

    def click_chance(self, user: int, shown: NDArray[np.intp]) -> NDArray[np.float64]:
        """Chance that each place of an answer is clicked: seen (less often the lower it stands) times wanted."""
        return self.looked(np.arange(len(shown))) / (1.0 + np.exp(-self.appeal(user)[shown]))

    def looked(self, place: NDArray[np.intp]) -> NDArray[np.float64]:
        """The chance that a place (from 0) is looked at."""
        return 1.0 / (1.0 + 0.25 * place.astype(np.float64))

    def best(self, user: int, limit: int = 10) -> NDArray[np.intp]:
        """The best possible answer: by appeal."""
        return np.argsort(-self.appeal(user), kind="stable")[:limit]

    def query(self, user: int, rng: np.random.Generator) -> str:
        """What a user might look for."""
        weights = np.exp(self.taste[user])
        names = list(_NOUNS.values())[rng.choice(len(_NOUNS), p=weights / weights.sum())]
        return names[rng.integers(0, 4)]

    def write(self, folder: Path) -> dict[str, Path]:
        """The files of the shop: products, events, judgments."""
        folder.mkdir(parents=True, exist_ok=True)
        files = {name: folder / f"{name}.csv" for name in ("products", "events", "judgments")}
        _write(
            files["products"],
            ("product_id", "title", "category", "brand", "price", "stock", "attributes"),
            self._products(),
        )
        _write(files["events"], ("timestamp", "user_id", "type", "product_id", "price"), self._events())
        _write(files["judgments"], ("query", "product_id", "grade"), self._judgments())
        return files

    def _rng(self, part: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, part])

    def _products(self):
        names = list(_NOUNS)
        for n, name in enumerate(self.product_ids):
            kind = json.dumps({"kind": _KINDS[n % 6]})
            yield name, self.title(n), names[self.category[n]], _BRANDS[n % 8], self.price[n], 100, kind

    def _events(self):
        """Visits by the week's rhythm; in each a few looks, some of which end in a purchase, some of those in a return."""
        rng = self._rng(6)
        for user, name in enumerate(self.user_ids):
            appeal = self.appeal(user)
            chances = np.exp(appeal) / np.exp(appeal).sum()
            for day in range(self.days):
                weekday = int((self.now / _DAY - self.days + day + 3) % 7)  # 1970 began on a Thursday
                if rng.random() > 0.25 * WEEK[weekday]:
                    continue
                moment = self.now - (self.days - day) * _DAY + rng.uniform(0.3, 0.9) * _DAY
                for product in rng.choice(self.products, 4, p=chances):
                    moment += rng.uniform(10, 120)
                    yield round(moment, 3), name, "view", f"p{product:04d}", self.price[product]
                    if rng.random() < 1.0 / (1.0 + np.exp(-appeal[product])):
                        yield round(moment + 5, 3), name, "purchase", f"p{product:04d}", self.price[product]
                        if rng.random() < 0.03:
                            yield round(moment + 9, 3), name, "return", f"p{product:04d}", self.price[product]

    def _judgments(self):
        for category, nouns in enumerate(_NOUNS.values()):
            for at, noun in enumerate(nouns):
                for product in range(self.products):
                    if self.category[product] == category:
                        yield noun, f"p{product:04d}", 2 if product % 4 == at else 0


def _write(path: Path, header: tuple[str, ...], rows) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
