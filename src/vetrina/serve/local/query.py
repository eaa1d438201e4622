"""Messages between the shop's own command line and its running service: one line of JSON each way.

They travel over a Unix socket in the shop's folder. Nothing here opens a bundle or a socket.
"""

from pathlib import Path

import msgspec

SOCKET_FILE = Path("work", "service.sock")  # in the shop's folder


class LocalQuery(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A request for ranked products that a person makes on the command line, with the shop's own ids."""

    scenario: str
    user_id: str | None = None
    query: str = ""
    product_ids: list[str] = []
    placement: str = "home"
    limit: int = 10
    exclude_seen: bool | None = None


class LocalItem(msgspec.Struct, forbid_unknown_fields=True):
    """One item of the answer, with its reasons."""

    product_id: str
    title: str
    score: float
    reasons: list[str]


class Refusal(msgspec.Struct, forbid_unknown_fields=True):
    """The three parts of a ``core.errors.BadInput``."""

    value: str
    rule: str
    way_out: str


class LocalReply(msgspec.Struct, forbid_unknown_fields=True):
    """The items, best first, or why the query is refused."""

    items: list[LocalItem]
    refusal: Refusal | None
