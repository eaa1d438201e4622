"""Body of a request for ads."""

from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
from msgspec import Meta

from vetrina.core.request_fields import Name, PageProducts, Query
from vetrina.core.requests import Request
from vetrina.scenarios.ranking_body import RankingBody

if TYPE_CHECKING:  # encryption is not needed to open a bundle
    from vetrina.core.keys import Keys

_Slots = Annotated[int, Meta(ge=1, le=50)]


class AdsBody(RankingBody, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/ads: the user, the page, and its number of ad slots."""

    route_text: ClassVar[str] = (
        "Ads for the slots of a page; send `ad_click` events with their `request_id`, a click is charged by it."
    )

    query: Query = ""
    product_ids: PageProducts = msgspec.field(default_factory=list)
    placement: Name = "home"
    slots: _Slots = 1

    def to_request(self, keys: "Keys") -> Request:
        """The request under pseudonyms; a query with an e-mail address becomes one, too."""
        return Request(
            user=self.user(keys),
            session=self.session(keys),
            query=keys.without_address(self.query),
            product_ids=tuple(self.product_ids),
            placement=self.placement,
            filters=self.filters,
            limit=self.slots,
            explain=self.explain,
        )
