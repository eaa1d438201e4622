"""Simulated users who send requests over HTTP and click and buy by the preferences of their world."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vetrina.simulate.world import World

_SEARCH_PROBABILITY = 0.2  # of a visit; the others ask for recommendations
_PURCHASE_PROBABILITY = 0.3  # of a product that was clicked
_BOT_CLICKS = 20  # for each answer
_BOT_GAP_SECONDS = 1e-3
_DEAD_FEED = "dead-feed"
_BOTS = "bots"


class HttpClient(Protocol):
    """What is used of httpx.Client."""

    def post(self, url: str, *, json: Any) -> Any:
        """Send JSON."""
        ...


@dataclass
class TrafficCounts:
    """Answers and clicked answers by version, and failed requests."""

    answers: dict[str, int] = field(default_factory=dict[str, int])
    clicked: dict[str, int] = field(default_factory=dict[str, int])
    failed_requests: int = 0


class SimulatedUsers:
    """Users who visit a shop.

    Args:
        world: who the users are and what they want.
        client: sends requests to the shop.
        now: gives the time of events, in seconds since 1970.
        seed: of clicks and purchases.
        fault: "bots" adds clicks of a bot, "dead-feed" sends no events, empty for neither.
    """

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
        """One user, a random one where none is named, sends one request and may click and buy."""
        if user is None:
            user = int(self.rng.integers(0, self._world.users))
        if self.rng.random() < _SEARCH_PROBABILITY:
            self.search(user)
        else:
            self.recommend(user)

    def search(self, user: int) -> None:
        """A user searches for what they might want."""
        request = {"query": self._world.query(user, self.rng), "user_id": self._world.user_ids[user]}
        self._react(user, self._client.post("/v1/search", json=request))

    def recommend(self, user: int) -> None:
        """A user asks for recommendations."""
        request = {"user_id": self._world.user_ids[user]}
        self._react(user, self._client.post("/v1/recommend", json=request))

    def _react(self, user: int, response: Any) -> None:
        """Click and buy by chance, and send the events."""
        if response.status_code != 200:
            self.counts.failed_requests += 1
            return
        answer = response.json()
        products = np.array([int(item["product_id"][1:]) for item in answer["items"]], np.intp)
        click_probability = self._world.click_probability(user, products)
        clicked = products[self.rng.random(len(products)) < click_probability]
        self._count_answer(answer["version"], bool(len(clicked)))
        events: list[dict[str, Any]] = []
        for product in clicked:
            events += self._click_events(user, int(product), products, answer["request_id"])
        if self.fault == _BOTS:
            events += self._bot_events(user, answer["request_id"])
        if events and self.fault != _DEAD_FEED:
            self._send_events(events)

    def _send_events(self, events: list[dict[str, Any]]) -> None:
        if self._client.post("/v1/events", json=events).status_code != 202:
            self.counts.failed_requests += 1

    def _click_events(
        self, user: int, product: int, ranked_products: NDArray[np.intp], request_id: str
    ) -> Iterator[dict[str, Any]]:
        """A click on a product, and a purchase by chance."""
        position = int(np.flatnonzero(ranked_products == product)[0]) + 1
        yield {**self._event(user, "click", product, request_id), "position": position}
        if self.rng.random() < _PURCHASE_PROBABILITY:
            price = float(self._world.price[product])
            yield {**self._event(user, "purchase", product, request_id), "price": price, "quantity": 1.0}

    def _bot_events(self, user: int, request_id: str) -> list[dict[str, Any]]:
        """Clicks of a bot on the first product of the world, a millisecond apart."""
        click = self._event(user, "click", 0, request_id)
        first = click["timestamp"]
        return [{**click, "timestamp": first + n * _BOT_GAP_SECONDS} for n in range(_BOT_CLICKS)]

    def _event(self, user: int, event_type: str, product: int, request_id: str) -> dict[str, Any]:
        return {
            "user_id": self._world.user_ids[user],
            "type": event_type,
            "product_id": self._world.product_ids[product],
            "timestamp": self._now(),
            "request_id": request_id,
        }

    def _count_answer(self, version: str, clicked: bool) -> None:
        self.counts.answers[version] = self.counts.answers.get(version, 0) + 1
        self.counts.clicked[version] = self.counts.clicked.get(version, 0) + clicked
