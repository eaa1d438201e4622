"""Body of a search request."""

from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
from msgspec import Meta

from vetrina.core.filters import CATEGORICAL_FIELDS, NUMERIC_FIELDS
from vetrina.core.limits import MAX_FACETS
from vetrina.core.request_fields import Limit, Name, Offset, SearchQuery
from vetrina.core.requests import Request
from vetrina.scenarios.ranking_body import RankingBody

if TYPE_CHECKING:  # encryption is not needed to open a bundle
    from vetrina.core.keys import Keys

_SORT_ORDERS = ["", *NUMERIC_FIELDS, *(f"-{field}" for field in NUMERIC_FIELDS)]
_SortOrder = Annotated[Name, Meta(extra_json_schema={"enum": _SORT_ORDERS})]
_Facet = Annotated[Name, Meta(extra_json_schema={"enum": list(CATEGORICAL_FIELDS)})]


class SearchBody(RankingBody, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/search: a query with its filters, facets and sort order."""

    route_text: ClassVar[str] = "Products for a query, best first."

    query: SearchQuery
    facets: Annotated[list[_Facet], Meta(max_length=MAX_FACETS)] = msgspec.field(default_factory=list)
    sort: _SortOrder = ""
    offset: Offset = 0
    limit: Limit = 10
    personalise: bool = True

    def to_request(self, keys: "Keys") -> Request:
        """The request under pseudonyms; a query with an e-mail address becomes one, too."""
        return Request(
            user=self.user(keys),
            session=self.session(keys),
            query=keys.without_address(self.query),
            filters=self.filters,
            facets=tuple(self.facets),
            sort=self.sort,
            offset=self.offset,
            limit=self.limit,
            personalise=self.personalise,
            explain=self.explain,
        )
