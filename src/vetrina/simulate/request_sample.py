"""Requests of a shop's own visitors, sampled from its log, for load tests.

They come from the log of answers, else from the newest events, else from the titles of the catalogue. Nothing is sent here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from vetrina.api.shop import Shop
from vetrina.core import clock
from vetrina.core.errors import BadInput, NotFound, NotReady
from vetrina.data import dataset
from vetrina.scenarios.base import RankingBundle, RankingScenario, find_ranking_scenario, find_scenario
from vetrina.serve.recorded_context import OMITTED
from vetrina.serve.schemas import EventBody
from vetrina.store import contacts, event_queries, exposure_queries

EVENTS = "events"  # the name of the pool of events
_MAX_REQUESTS = 10_000  # of a scenario that are sampled, and events
_MIN_LOGGED = 100  # answers or events that the service must have logged: a few tries are no traffic
_EVENTS_SHARE = 0.2  # of all requests, where the log does not tell
_EVENT_FIELDS = ("type", "product_id", "query")
_PRODUCT_PAGE = "product"  # the placement on the page of a product


@dataclass(frozen=True)
class RequestPool:
    """Requests of one kind, in the frequencies of the log.

    Attributes:
        name: The scenario, or ``EVENTS``.
        path: Of the HTTP route.
        bodies: JSON bodies.
        share: Of all requests; the shares of all pools add up to one.
        source: Where the requests come from, for people.
    """

    name: str
    path: str
    bodies: tuple[bytes, ...]
    share: float
    source: str


@dataclass(frozen=True)
class _Sample:
    """Parameters of requests under plain ids, and how many requests of that kind the log holds."""

    bodies: list[dict[str, Any]]
    source: str
    logged: int = 0


def sample_requests(shop: Shop, scenarios: Sequence[str] = (), *, with_events: bool = False) -> tuple[RequestPool, ...]:
    """Requests for ranked products as the shop's visitors send them, and events.

    Args:
        shop: The shop.
        scenarios: Scenarios to sample; without names those that the log holds answers of, else all that serve.
        with_events: Whether events are sent, too.

    Returns:
        A pool for each scenario, and one for events. Their shares are those of the log, equal where it has none.

    Raises:
        BadInput: A scenario is unknown or answers with something else than products.
        NotReady: A named scenario serves nothing, or no scenario does.
    """
    sampler = _RequestSampler(shop)
    samples = {name: sampler.requests(name) for name in _served_scenarios(shop, scenarios)}
    if not scenarios and any(sample.logged for sample in samples.values()):
        samples = {name: sample for name, sample in samples.items() if sample.logged}
    shares = _shares({name: sample.logged for name, sample in samples.items()})
    pools: list[RequestPool] = []
    for name, sample in samples.items():
        path = find_scenario(name).paths[0]
        pools.append(RequestPool(name, path, _encoded(sample.bodies), shares[name], sample.source))
    if with_events:
        return sampler.with_events(pools)
    return tuple(pools)


def _served_scenarios(shop: Shop, names: Sequence[str]) -> list[str]:
    champions = shop.shop_context.registry.champions()
    for name in names:
        if find_ranking_scenario(name).name not in champions:
            raise NotReady(name, "has no released version yet", f"run `vetrina run {name}`")
    if names:
        return list(dict.fromkeys(names))
    served = [name for name in sorted(champions) if isinstance(find_scenario(name), RankingScenario)]
    if not served:
        raise NotReady(
            str(shop.folder.root), "serves no scenario that ranks products", "vetrina ingest, then vetrina run"
        )
    return served


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Shares by scenario: those of the counts, or equal ones where a count is zero."""
    if not all(counts.values()):
        return dict.fromkeys(counts, 1.0 / len(counts))
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()}


def _encoded(bodies: Iterable[Mapping[str, Any]]) -> tuple[bytes, ...]:
    return tuple(msgspec.json.encode(body) for body in bodies)


class _RequestSampler:
    """Samples the log of one shop; its newest events are read once."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._engine = shop.shop_context.engine
        self._event_rows: list[dict[str, Any]] | None = None

    def requests(self, name: str) -> _Sample:
        """Requests of a scenario, from the first of the three sources that holds some."""
        scenario = find_ranking_scenario(name)
        logged = exposure_queries.newest_requests(self._engine, name, _MAX_REQUESTS)
        bodies = self._logged_bodies(scenario, logged)
        if len(bodies) >= _MIN_LOGGED:
            count = exposure_queries.count_exposures_since(self._engine, name, 0.0)
            return _Sample(bodies, f"the newest of {count:,} logged answers", count)
        bodies = self._bodies_of_events(scenario)
        if bodies:
            return _Sample(bodies, "the newest events, as hardly an answer is logged")
        return _Sample(
            self._bodies_of_catalogue(scenario), "titles and products of the catalogue, as the log holds none"
        )

    def with_events(self, pools: Sequence[RequestPool]) -> tuple[RequestPool, ...]:
        """The pools and that of events, whose share is the one that events have in the log."""
        bodies: list[dict[str, Any]] = []
        for row in self._events():
            fields = {name: row[name] for name in _EVENT_FIELDS if row.get(name)}
            bodies.append({"user_id": row["user_id"], **fields})
        bodies = [body for body in bodies if _fits(body, EventBody)]
        source = "the newest events"
        if not bodies:
            product_ids = self._product_ids(find_ranking_scenario(pools[0].name))
            bodies = [{"user_id": "load", "type": "view", "product_id": product_id} for product_id in product_ids]
            source = "products of the catalogue, as the log holds none"
        share = self._events_share()
        scaled: list[RequestPool] = []
        for pool in pools:
            scaled.append(RequestPool(pool.name, pool.path, pool.bodies, pool.share * (1.0 - share), pool.source))
        return (*scaled, RequestPool(EVENTS, "/v1/events", _encoded(bodies), share, source))

    def _events_share(self) -> float:
        """Events among all requests since the first logged answer."""
        since = exposure_queries.first_exposure_time(self._engine)
        if since is None:
            return _EVENTS_SHARE
        n_events = event_queries.count_events(self._engine, since, clock.now())
        if not n_events:
            return _EVENTS_SHARE
        n_answers = sum(
            exposure_queries.count_exposures_since(self._engine, name, since)
            for name in self._shop.shop_context.registry.champions()
        )
        return n_events / (n_events + n_answers)

    def _logged_bodies(
        self, scenario: RankingScenario, logged: Sequence[exposure_queries.LoggedRequest]
    ) -> list[dict[str, Any]]:
        user_ids = self._user_ids(request.user for request in logged)
        bodies: list[dict[str, Any]] = []
        for request in logged:
            parameters = msgspec.json.decode(request.request_json, type=dict[str, Any])
            if OMITTED in parameters:  # some of its fields were too long to be logged
                continue
            if "limit" in parameters:
                parameters["slots"] = parameters["limit"]  # as a request for ads names it
            if request.user in user_ids:
                parameters["user_id"] = user_ids[request.user]
            bodies.append(parameters)
        return _fitting(scenario, bodies)

    def _bodies_of_events(self, scenario: RankingScenario) -> list[dict[str, Any]]:
        """What an event suggests: a search for its query, a page for its user, and the page of its product."""
        bodies: list[dict[str, Any]] = []
        for row in self._events():
            visit = {"user_id": row["user_id"]}
            if row.get("query"):
                visit["query"] = row["query"]
            bodies.append(visit)
            if row.get("product_id"):
                bodies.append({"product_ids": [row["product_id"]], "placement": _PRODUCT_PAGE})
        return _fitting(scenario, bodies)

    def _bodies_of_catalogue(self, scenario: RankingScenario) -> list[dict[str, Any]]:
        catalogue = self._bundle(scenario).catalogue
        bodies: list[dict[str, Any]] = []
        for item in range(min(len(catalogue), _MAX_REQUESTS)):
            page = {"query": catalogue.title(item), "product_ids": [catalogue.product_id(item)]}
            bodies.append({**page, "placement": _PRODUCT_PAGE})
        return _fitting(scenario, bodies)

    def _product_ids(self, scenario: RankingScenario) -> list[str]:
        catalogue = self._bundle(scenario).catalogue
        return [catalogue.product_id(item) for item in range(min(len(catalogue), _MAX_REQUESTS))]

    def _bundle(self, scenario: RankingScenario) -> RankingBundle:
        return self._shop.load(scenario.name)

    def _events(self) -> list[dict[str, Any]]:
        """The newest events with plain user ids: those that the service logged, else those of files."""
        if self._event_rows is None:
            before = event_queries.last_seq(self._engine) - _MAX_REQUESTS
            rows, _ = event_queries.lake_rows_after(self._engine, max(0, before), _MAX_REQUESTS)
            if len(rows) < _MIN_LOGGED:
                rows = self._events_of_files() or rows
            user_ids = self._user_ids(row["user_id"] for row in rows)
            known_rows: list[dict[str, Any]] = []
            for row in rows:
                if row["user_id"] in user_ids:
                    known_rows.append({**row, "user_id": user_ids[row["user_id"]]})
            self._event_rows = known_rows
        return self._event_rows

    def _events_of_files(self) -> list[dict[str, Any]]:
        registry = self._shop.shop_context.registry
        for version in registry.champions().values():
            try:
                snapshot = dataset.open_snapshot(self._shop.folder.snapshots, registry.get_version(version).snapshot)
            except NotFound:  # this machine serves, and another one trains
                continue
            return dataset.newest_events(snapshot, _MAX_REQUESTS)
        return []

    def _user_ids(self, pseudonyms: Iterable[str | None]) -> dict[str | None, str]:
        """Plain ids by pseudonym; erased users are left out."""
        named = {pseudonym for pseudonym in pseudonyms if pseudonym is not None}
        known = contacts.get_contacts(self._engine, sorted(named))
        keys = self._shop.folder.keys
        return {pseudonym: keys.unseal(contact.sealed_id) for pseudonym, contact in known.items()}


def _fitting(scenario: RankingScenario, bodies: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Bodies with the fields that the scenario knows; those that break a rule of it are left out."""
    fitting: list[dict[str, Any]] = []
    for body in bodies:
        known = {name: value for name, value in body.items() if name in scenario.body.__struct_fields__}
        if _fits(known, scenario.body):
            fitting.append(known)
    return fitting


def _fits(body: Mapping[str, Any], schema: type[msgspec.Struct]) -> bool:
    try:
        msgspec.convert(body, schema)
    except (msgspec.ValidationError, BadInput):
        return False
    return True
