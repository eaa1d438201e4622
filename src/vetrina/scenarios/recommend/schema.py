"""Body of a request for recommendations."""

from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
from msgspec import Meta

from vetrina.core.request_fields import Limit, Name, PageProducts
from vetrina.core.requests import Request
from vetrina.scenarios.ranking_body import RankingBody
from vetrina.scenarios.recommend.online import PLACEMENTS

if TYPE_CHECKING:  # encryption is not needed to open a bundle
    from vetrina.core.keys import Keys

_PURCHASES = "buy_again"  # the placement that shows what a user bought
_Placement = Annotated[Name, Meta(extra_json_schema={"enum": list(PLACEMENTS)})]


class RecommendBody(RankingBody, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/recommend: the user or session, and the placement on the page."""

    route_text: ClassVar[str] = (
        "Products for a user, a session or a product page; what a user bought before, `buy_again`, needs the token."
    )
    may_need_token: ClassVar[bool] = True

    product_ids: PageProducts = msgspec.field(default_factory=list)
    placement: _Placement = "home"
    limit: Limit = 10
    exclude_seen: bool | None = None

    def needs_token(self) -> bool:
        """What somebody bought is shown to the shop's own servers only."""
        return self.placement == _PURCHASES and self.user_id is not None

    def to_request(self, keys: "Keys") -> Request:
        """The request under pseudonyms."""
        return Request(
            user=self.user(keys),
            session=self.session(keys),
            product_ids=tuple(self.product_ids),
            placement=self.placement,
            filters=self.filters,
            limit=self.limit,
            exclude_seen=self.exclude_seen,
            explain=self.explain,
        )
