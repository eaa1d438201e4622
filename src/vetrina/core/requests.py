"""Requests for ranked products and for audiences. Users and sessions are pseudonyms."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vetrina.core.filters import NO_FILTERS, Filters


@dataclass(frozen=True)
class Request:
    """A user's request for ranked products.

    Attributes:
        user: Pseudonym; None for an anonymous visitor.
        session: Pseudonym of the session, if known.
        query: Search text.
        product_ids: Products of the page or basket that the answer is related to.
        placement: Where the answer is shown, such as "home".
        filters: What the products must be.
        facets: Fields whose values are counted.
        sort: Sort order; empty for relevance.
        offset: Number of items that are skipped.
        limit: Number of items of the answer.
        personalise: Whether the user's history may be used.
        exclude_seen: Whether products that the user interacted with are left out; None leaves it to the scenario.
        explain: Whether items carry reasons.
    """

    user: str | None = None
    session: str | None = None
    query: str = ""
    product_ids: tuple[str, ...] = ()
    placement: str = "home"
    filters: Filters = NO_FILTERS
    facets: tuple[str, ...] = ()
    sort: str = ""
    offset: int = 0
    limit: int = 10
    personalise: bool = True
    exclude_seen: bool | None = None
    explain: bool = False


@dataclass(frozen=True)
class AudienceRequest:
    """A request for target users: for a product, similar to seed users, or of a segment. Users are pseudonyms.

    Attributes:
        product_id: Product that the audience is for.
        size: Number of users.
        seed_users: Users that the audience is to be similar to.
        segment: Segment that the audience is taken from; empty for none.
        contact_counts: Number of recent messages by user; each message halves the user's score.
        eligible_users: Users who may be contacted; None for all.
    """

    product_id: str | None = None
    size: int = 100
    seed_users: tuple[str, ...] = ()
    segment: str = ""
    contact_counts: Mapping[str, int] = field(default_factory=dict[str, int])
    eligible_users: frozenset[str] | None = None
