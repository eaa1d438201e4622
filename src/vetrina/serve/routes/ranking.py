"""Routes for ranked products: POST /v1/NAME of every scenario that ranks products.

Answers are computed in the event loop; the only waits are those for recent events and for a candidate.
"""

from typing import Any

import litestar
from litestar import Response, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, SkipValidation

from vetrina.scenarios.base import RankingScenario
from vetrina.serve.answers.rank import RankedAnswer, rank
from vetrina.serve.auth import require_token_of
from vetrina.serve.schemas import ItemOut, RankedOut, parse_body

_DEGRADED_HEADERS = {"x-vetrina-degraded": "store"}
_SCORE_DIGITS = 6


def ranking_route(scenario: RankingScenario) -> HTTPRouteHandler:
    """The route of a scenario: its body becomes a request, the answer becomes a response."""
    schema = scenario.body
    name = scenario.name

    async def answer(data: Any, state: State, request: litestar.Request[Any, Any, Any]) -> Response[RankedOut]:
        body = parse_body(data, schema)
        if body.needs_token():
            require_token_of(request)
        ranked = await rank(state.service, name, body.to_request(state.service.keys))
        return _to_response(ranked, body.explain)

    # Litestar describes a route by the name, the text and the annotations of its function.
    answer.__name__ = name
    answer.__doc__ = schema.route_text
    answer.__annotations__["data"] = SkipValidation[JSONBody[schema]]
    return post(list(scenario.paths), status_code=200)(answer)


def _to_response(ranked: RankedAnswer, explain: bool) -> Response[RankedOut]:
    """The response, with a header where the store was away: the recent events are those that this worker read last.

    Args:
        ranked: the answer.
        explain: whether the items carry their reasons.
    """
    items = []
    for item in ranked.answer.items:
        reasons = list(item.reasons) if explain else []
        ad_id = item.ad.ad_id if item.ad is not None else ""
        items.append(ItemOut(item.product_id, item.title, round(item.score, _SCORE_DIGITS), reasons, ad_id))
    facets = {name: dict(counts) for name, counts in ranked.answer.facets.items()}
    exposure = ranked.exposure
    body = RankedOut(exposure.request_id, exposure.version, items, ranked.answer.total, facets)
    headers = _DEGRADED_HEADERS if ranked.is_degraded else None
    return Response(body, headers=headers)
