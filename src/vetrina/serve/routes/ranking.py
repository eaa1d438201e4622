"""Routes for ranking and prediction: search, recommend, ads, audience, predict.

Answers are computed in the event loop; the only waits are those for recent events and for a candidate.
"""

from typing import Any

import litestar
import msgspec
from litestar import Response, post
from litestar.datastructures import State
from litestar.params import JSONBody, SkipValidation

from vetrina.core.errors import BadInput
from vetrina.core.types import Request
from vetrina.serve.auth import require_token, require_token_of
from vetrina.serve.schemas import AdsBody, AudienceBody, PredictBody, RankedOut, RecommendBody, SearchBody, parse_body
from vetrina.serve.service import RankedAnswer

_DEGRADED_HEADERS = {"x-vetrina-degraded": "store"}

_PURCHASES = "buy_again"  # the placement that shows what a user bought


@post("/v1/search", status_code=200)
async def search(data: SkipValidation[JSONBody[SearchBody]], state: State) -> Response[RankedOut]:
    """Products for a query, best first."""
    body = parse_body(data, SearchBody)
    request = Request(
        user=state.service.pseudonymise(body.user_id),
        session=state.service.name_of_session(body.session_id),
        query=state.service.keys.without_address(body.query),
        filters=body.filters,
        facets=tuple(body.facets),
        sort=body.sort,
        offset=body.offset,
        limit=body.limit,
        personalise=body.personalise,
        explain=body.explain,
    )
    return _respond(await state.service.rank("search", request))


@post("/v1/recommend", status_code=200)
async def recommend(
    data: SkipValidation[JSONBody[RecommendBody]], state: State, request: litestar.Request[Any, Any, Any]
) -> Response[RankedOut]:
    """Products for a user, a session or a product page; what a user bought before, `buy_again`, needs the token."""
    body = parse_body(data, RecommendBody)
    if body.placement == _PURCHASES and body.user_id is not None:
        require_token_of(request)
    ranking_request = Request(
        user=state.service.pseudonymise(body.user_id),
        session=state.service.name_of_session(body.session_id),
        product_ids=tuple(body.product_ids),
        placement=body.placement,
        filters=body.filters,
        limit=body.limit,
        exclude_seen=body.exclude_seen,
        explain=body.explain,
    )
    return _respond(await state.service.rank("recommend", ranking_request))


@post("/v1/ads", status_code=200)
async def ads(data: SkipValidation[JSONBody[AdsBody]], state: State) -> Response[RankedOut]:
    """Ads for the slots of a page; send `ad_click` events with their `request_id`, a click is charged by it."""
    body = parse_body(data, AdsBody)
    request = Request(
        user=state.service.pseudonymise(body.user_id),
        session=state.service.name_of_session(body.session_id),
        query=state.service.keys.without_address(body.query),
        product_ids=tuple(body.product_ids),
        placement=body.placement,
        filters=body.filters,
        limit=body.slots,
        explain=body.explain,
    )
    return _respond(await state.service.rank("ads", request))


@post("/v1/audience", status_code=200, guards=[require_token], sync_to_thread=True)
def audience(data: SkipValidation[JSONBody[AudienceBody]], state: State) -> dict[str, Any]:
    """Target users for a product, users similar to a list, or users of a segment; needs the token, since it names people."""
    body = parse_body(data, AudienceBody)
    request_id, version, selected = state.service.audience(msgspec.structs.asdict(body))
    users = []
    for recipient in selected.recipients:
        users.append({"user_id": recipient.user_id, "score": recipient.score, "reason": recipient.reason})
    return {"request_id": request_id, "version": version, "users": users, "total": selected.total}


@post(["/v1/predict", "/predict"], status_code=200)
async def predict(data: SkipValidation[JSONBody[PredictBody]], state: State) -> dict[str, Any]:
    """A yes or no with its probability, or a number, for one row or several."""
    body = parse_body(data, PredictBody)
    is_single_row = body.features is not None
    if is_single_row == (body.rows is not None):
        raise BadInput("the body", "must have either features or rows", 'send {"features": [...]}')
    rows = [body.features] if is_single_row else body.rows
    request_id, version, predictions = await state.service.predict(rows)
    if is_single_row:
        return {**predictions[0], "request_id": request_id}
    return {"predictions": predictions, "version": version, "request_id": request_id}


def _respond(answer: RankedAnswer) -> Response[RankedOut]:
    """The response, with a header where the store was away: the recent events are those that this worker read last."""
    headers = _DEGRADED_HEADERS if answer.is_degraded else None
    return Response(answer.response, headers=headers)


ROUTES = (search, recommend, ads, audience, predict)
