"""Shoppers who ask over HTTP, look, click and buy as their taste says."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from vetrina.simulate.world import World

_SEARCHES = 0.2
_LOST_FEED, _BOT = "dead-feed", "bots"


class Client(Protocol):
    """What of httpx.Client is used."""

    def post(self, url: str, *, json: Any) -> Any:
        """Send JSON."""
        ...


@dataclass
class Tally:
    """What the shoppers met: answers and clicked answers by version, failed requests."""

    answers: dict[str, int] = field(default_factory=dict)
    clicked: dict[str, int] = field(default_factory=dict)
    failed: int = 0


class Shoppers:
    """Visits to a shop. ``now`` gives the time that events carry; ``trouble`` is empty, "bots" or "dead-feed"."""

    def __init__(
        self, world: World, client: Client, now: Callable[[], float], seed: int = 1, trouble: str = ""
    ) -> None:
        self._world, self._client, self._now = world, client, now
        self.rng = np.random.default_rng([world.seed, seed])
        self.tally, self.trouble = Tally(), trouble

    def visit(self, user: int | None = None) -> None:
        """One shopper comes (any, if none is named), asks once, looks, and perhaps clicks and buys."""
        user = int(self.rng.integers(0, self._world.users)) if user is None else user
        if self.rng.random() < _SEARCHES:
            self.search(user)
        else:
            self.ask_for_products(user)

    def search(self, user: int) -> None:
        """They type what they might look for."""
        asked = {"query": self._world.query(user, self.rng), "user_id": self._world.user_ids[user]}
        self._look(user, self._client.post("/v1/search", json=asked))

    def ask_for_products(self, user: int) -> None:
        """They look at what is recommended."""
        self._look(user, self._client.post("/v1/recommend", json={"user_id": self._world.user_ids[user]}))

    def _look(self, user: int, answer: Any) -> None:
        if answer.status_code != 200:
            self.tally.failed += 1
            return
        content = answer.json()
        shown = np.array([int(i["product_id"][1:]) for i in content["items"]], np.intp)
        clicked = shown[self.rng.random(len(shown)) < self._world.click_chance(user, shown)]
        self._count(content["version"], bool(len(clicked)))
        events = [e for p in clicked for e in self._events(user, int(p), shown, content["request_id"])]
        if self.trouble == _BOT:
            bot = self._event(user, "click", 0, content["request_id"])
            events += [{**bot, "timestamp": bot["timestamp"] + n / 1e3} for n in range(20)]
        if events and self.trouble != _LOST_FEED and self._client.post("/v1/events", json=events).status_code != 202:
            self.tally.failed += 1

    def _events(self, user: int, product: int, shown: np.ndarray, request: str):
        at = int(np.flatnonzero(shown == product)[0]) + 1
        yield {**self._event(user, "click", product, request), "position": at}
        if self.rng.random() < 0.3:
            price = float(self._world.price[product])
            yield {**self._event(user, "purchase", product, request), "price": price, "quantity": 1.0}

    def _event(self, user: int, kind: str, product: int, request: str) -> dict[str, Any]:
        return {
            "user_id": self._world.user_ids[user],
            "type": kind,
            "product_id": self._world.product_ids[product],
            "timestamp": self._now(),
            "request_id": request,
        }

    def _count(self, version: str, clicked: bool) -> None:
        self.tally.answers[version] = self.tally.answers.get(version, 0) + 1
        self.tally.clicked[version] = self.tally.clicked.get(version, 0) + clicked
