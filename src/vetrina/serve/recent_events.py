"""Recent events of one request's user or session, read before the answer is computed.

Only a request of a user or session needs the store, once, whatever versions answer it. While the store is away the events that
were read last stand in for it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vetrina.serve.live_state import StoredEvents
from vetrina.serve.store_reader import StoreAway, StoreReader

_MAX_REMEMBERED_UNITS = 2_000  # users and sessions; of a few kilobytes each
_Event = tuple[str, float, float]  # product_id, time in seconds since 1970, weight
_DataEnd = tuple[float, int]  # end of a bundle's data: seconds since 1970, sequence number of the event log


@dataclass(frozen=True)
class RecentEventsOfRequest:
    """``core.protocols.RecentEvents`` of one request.

    Attributes:
        events: Weighted events by the end of the data of the bundle that does not contain them.
        is_degraded: Whether the store was away, so that they come from memory.
    """

    events: Mapping[_DataEnd, Sequence[_Event]] = field(default_factory=dict)
    is_degraded: bool = False

    def for_user(self, user: str | None, session: str | None, since: float, after_seq: int) -> Iterable[_Event]:
        """Weighted events that a bundle was not trained on, oldest first.

        Args:
            user: not needed, the events are those of one request.
            session: not needed either.
            since: seconds since 1970 at which the bundle's training data ends.
            after_seq: last sequence number of the event log in the bundle's training data.
        """
        return self.events.get((since, after_seq), ())


class RecentEventsReader:
    """Reads the recent events of a request's user or session."""

    def __init__(self, stored_events: StoredEvents, store_reader: StoreReader) -> None:
        self._stored_events = stored_events
        self._store_reader = store_reader
        self._remembered: OrderedDict[str, Mapping[_DataEnd, Sequence[_Event]]] = OrderedDict()

    async def read(self, user: str | None, session: str | None, bundles: Sequence[Any]) -> RecentEventsOfRequest:
        """The recent events, for each bundle those that it was not trained on.

        Args:
            user: pseudonym of the user, None for an anonymous visitor.
            session: pseudonym of the session, None where there is none.
            bundles: loaded bundles that may answer the request.
        """
        unit = session if user is None else user
        if unit is None:
            return RecentEventsOfRequest()
        data_ends = {(bundle.histories.until, bundle.histories.last_seq) for bundle in bundles}

        def query() -> Mapping[_DataEnd, Sequence[_Event]]:
            return {end: list(self._stored_events.for_user(user, session, *end)) for end in data_ends}

        try:
            events = await self._store_reader.read(query)
        except StoreAway:
            return RecentEventsOfRequest(self._remembered.get(unit, {}), is_degraded=True)
        self._remember(unit, events)
        return RecentEventsOfRequest(events)

    def _remember(self, unit: str, events: Mapping[_DataEnd, Sequence[_Event]]) -> None:
        self._remembered[unit] = events
        self._remembered.move_to_end(unit)
        if len(self._remembered) > _MAX_REMEMBERED_UNITS:
            self._remembered.popitem(last=False)
