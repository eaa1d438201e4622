"""Shoppers who ask over HTTP, look, click and buy as their taste says."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from vetrina.simulate.world import World

_SEARCH_PROBABILITY = 0.2
_DEAD_FEED = "dead-feed"
_BOTS = "bots"


class HttpClient(Protocol):
    """What of httpx.Client is used."""

    def post(self, url: str, *, json: Any) -> Any:
        """Send JSON."""
        ...


@dataclass
class TrafficCounts:
    """What the shoppers met: answers and clicked answers by version, failed requests."""

    answers: dict[str, int] = field(default_factory=dict)
    clicked: dict[str, int] = field(default_factory=dict)
    failed_requests: int = 0


class SimulatedUsers:
    """Visits to a shop. ``now`` gives the time that events carry; ``trouble`` is empty, "bots" or "dead-feed"."""

    def __init__(
        self, world: World, client: HttpClient, now: Callable[[], float], seed: int = 1, fault: str = ""
    ) -> None:
        self._world = world
        self._client = client
        self._now = now
        self.rng = np.random.default_rng([world.seed, seed])
        self.counts = TrafficCounts()
        self.fault = fault

    def visit(self, user: int | None = None) -> None:
        """One shopper comes (any, if none is named), asks once, looks, and perhaps clicks and buys."""
        user = int(self.rng.integers(0, self._world.users)) if user is None else user
        if self.rng.random() < _SEARCH_PROBABILITY:
            self.search(user)
        else:
            self.recommend(user)

    def search(self, user: int) -> None:
        """They type what they might look for."""
        asked = {"query": self._world.query(user, self.rng), "user_id": self._world.user_ids[user]}
        self._react(user, self._client.post("/v1/search", json=asked))

    def recommend(self, user: int) -> None:
        """They look at what is recommended."""
        self._react(user, self._client.post("/v1/recommend", json={"user_id": self._world.user_ids[user]}))

    def _react(self, user: int, answer: Any) -> None:
        if answer.status_code != 200:
            self.counts.failed_requests += 1
            return
        content = answer.json()
        shown = np.array([int(i["product_id"][1:]) for i in content["items"]], np.intp)
        clicked = shown[self.rng.random(len(shown)) < self._world.click_probability(user, shown)]
        self._count_answer(content["version"], bool(len(clicked)))
        events = [e for p in clicked for e in self._click_events(user, int(p), shown, content["request_id"])]
        if self.fault == _BOTS:
            bot = self._event(user, "click", 0, content["request_id"])
            events += [{**bot, "timestamp": bot["timestamp"] + n / 1e3} for n in range(20)]
        if events and self.fault != _DEAD_FEED and self._client.post("/v1/events", json=events).status_code != 202:
            self.counts.failed_requests += 1

    def _click_events(self, user: int, product: int, ranked_products: np.ndarray, request: str):
        at = int(np.flatnonzero(ranked_products == product)[0]) + 1
        yield {**self._event(user, "click", product, request), "position": at}
        if self.rng.random() < 0.3:
            price = float(self._world.price[product])
            yield {**self._event(user, "purchase", product, request), "price": price, "quantity": 1.0}

    def _event(self, user: int, event_type: str, product: int, request: str) -> dict[str, Any]:
        return {
            "user_id": self._world.user_ids[user],
            "type": event_type,
            "product_id": self._world.product_ids[product],
            "timestamp": self._now(),
            "request_id": request,
        }

    def _count_answer(self, version: str, clicked: bool) -> None:
        self.counts.answers[version] = self.counts.answers.get(version, 0) + 1
        self.counts.clicked[version] = self.counts.clicked.get(version, 0) + clicked
