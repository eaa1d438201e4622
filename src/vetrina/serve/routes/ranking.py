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
from vetrina.serve.answers.audience import AudienceQuery, select_audience
from vetrina.serve.answers.predict import predict as predict_rows
from vetrina.serve.answers.rank import RankedAnswer, rank
from vetrina.serve.auth import require_token, require_token_of
from vetrina.serve.schemas import (
    AdsBody,
    AudienceBody,
    ItemOut,
    PredictBody,
    RankedOut,
    RecommendBody,
    SearchBody,
    parse_body,
)

_DEGRADED_HEADERS = {"x-vetrina-degraded": "store"}
_SCORE_DIGITS = 6
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
    return _respond(await rank(state.service, "search", request), body.explain)


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
    return _respond(await rank(state.service, "recommend", ranking_request), body.explain)


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
    return _respond(await rank(state.service, "ads", request), body.explain)


@post("/v1/audience", status_code=200, guards=[require_token], sync_to_thread=True)
def audience(data: SkipValidation[JSONBody[AudienceBody]], state: State) -> dict[str, Any]:
    """Target users for a product, users similar to a list, or users of a segment; needs the token, since it names people."""
    body = parse_body(data, AudienceBody)
    answer = select_audience(state.service, AudienceQuery(**msgspec.structs.asdict(body)))
    users = []
    for recipient in answer.recipients.recipients:
        users.append({"user_id": recipient.user_id, "score": recipient.score, "reason": recipient.reason})
    return {
        "request_id": answer.exposure.request_id,
        "version": answer.exposure.version,
        "users": users,
        "total": answer.recipients.total,
    }


@post(["/v1/predict", "/predict"], status_code=200)
async def predict(data: SkipValidation[JSONBody[PredictBody]], state: State) -> dict[str, Any]:
    """A yes or no with its probability, or a number, for one row or several."""
    body = parse_body(data, PredictBody)
    is_single_row = body.features is not None
    if is_single_row == (body.rows is not None):
        raise BadInput("the body", "must have either features or rows", 'send {"features": [...]}')
    rows = [body.features] if is_single_row else body.rows
    answer = await predict_rows(state.service, rows)
    request_id = answer.exposure.request_id
    if is_single_row:
        return {**answer.predictions[0], "request_id": request_id}
    return {"predictions": answer.predictions, "version": answer.exposure.version, "request_id": request_id}


def _respond(ranked: RankedAnswer, explain: bool) -> Response[RankedOut]:
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


ROUTES = (search, recommend, ads, audience, predict)
