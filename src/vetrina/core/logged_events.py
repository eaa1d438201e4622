"""Events as they are read from the service's log."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEvent:
    """An event of the log.

    Attributes:
        event_id: Id that is unique among the events of its user.
        user: Pseudonym.
        session: Pseudonym of the session, if known.
        time: Time of the event.
        type: What happened, such as "click"; empty if the event does not say.
        product_id: Product that the event is about.
        request_id: Answer that the event follows.
        query: Search text.
        position: Position of the product in its answer, or row of a prediction, from 1.
        quantity: Number of pieces.
        price: Price of one piece.
        value: Outcome that a label event reports.
    """

    event_id: str
    user: str
    session: str | None
    time: float
    type: str = ""
    product_id: str | None = None
    request_id: str | None = None
    query: str | None = None
    position: float | None = None
    quantity: float | None = None
    price: float | None = None
    value: float | None = None
