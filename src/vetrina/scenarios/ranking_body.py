"""Body of a request for ranked products, and its conversion to a request under pseudonyms. Nothing here knows HTTP."""

from typing import TYPE_CHECKING, ClassVar

import msgspec

from vetrina.core.filters import NO_FILTERS, Filters
from vetrina.core.request_fields import Id
from vetrina.core.requests import Request

if TYPE_CHECKING:  # encryption is not needed to open a bundle
    from vetrina.core.keys import Keys


class RankingBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A user or session, and what the products must be. A scenario adds its own fields in a subclass.

    Attributes:
        route_text: What the route returns, in the API's description.
        may_need_token: Whether some requests need the shop's token; ``needs_token`` says which.
    """

    route_text: ClassVar[str] = "Ranked products."
    may_need_token: ClassVar[bool] = False

    user_id: Id | None = None
    session_id: Id | None = None
    filters: Filters = NO_FILTERS
    explain: bool = False

    def needs_token(self) -> bool:
        """Whether this request needs the shop's token."""
        return False

    def user(self, keys: "Keys") -> str | None:
        """The pseudonym of the user, None for an anonymous visitor."""
        if self.user_id is None:
            return None
        return keys.pseudonymise(self.user_id)

    def session(self, keys: "Keys") -> str | None:
        """The pseudonym of the session, None where there is no session."""
        if self.session_id is None:
            return None
        return keys.name_of_session(self.session_id)

    def to_request(self, keys: "Keys") -> Request:
        """The request under pseudonyms."""
        return Request(
            user=self.user(keys),
            session=self.session(keys),
            filters=self.filters,
            explain=self.explain,
        )
