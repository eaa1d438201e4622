"""Routes for ranking and prediction: search, recommend, ads, audience, predict.

Answers are computed in the event loop; the only waits are those for recent events and for a candidate.
"""

from typing import Any

import msgspec
from litestar import Response, post
from litestar.datastructures import State
from litestar.params import JSONBody

from vetrina.core.errors import BadInput
from vetrina.core.types import Request
from vetrina.serve.auth import require_token
from vetrina.serve.schemas import AdsBody, AudienceBody, PredictBody, RankedOut, RecommendBody, SearchBody
from vetrina.serve.service import RankedAnswer

_DEGRADED_HEADERS = {"x-vetrina-degraded": "store"}


@post("/v1/search", status_code=200)
async def search(data: JSONBody[SearchBody], state: State) -> Response[RankedOut]:
    """Products for a query, best first."""
    request = Request(
        user=state.service.pseudonymise(data.user_id),
        session=state.service.name_of_session(data.session_id),
        query=state.service.keys.without_address(data.query),
        filters=data.filters,
        facets=tuple(data.facets),
        sort=data.sort,
        offset=data.offset,
        limit=data.limit,
        personalise=data.personalise,
        explain=data.explain,
    )
    return _respond(await state.service.rank("search", request))


@post("/v1/recommend", status_code=200)
async def recommend(data: JSONBody[RecommendBody], state: State) -> Response[RankedOut]:
    """Products for a user, a session or a product page."""
    request = Request(
        user=state.service.pseudonymise(data.user_id),
        session=state.service.name_of_session(data.session_id),
        product_ids=tuple(data.product_ids),
        placement=data.placement,
        filters=data.filters,
        limit=data.limit,
        exclude_seen=data.exclude_seen,
        explain=data.explain,
    )
    return _respond(await state.service.rank("recommend", request))


@post("/v1/ads", status_code=200)
async def ads(data: JSONBody[AdsBody], state: State) -> Response[RankedOut]:
    """Ads for the slots of a page; send `ad_click` events with their `request_id`, a click is charged by it."""
    request = Request(
        user=state.service.pseudonymise(data.user_id),
        session=state.service.name_of_session(data.session_id),
        query=state.service.keys.without_address(data.query),
        product_ids=tuple(data.product_ids),
        placement=data.placement,
        filters=data.filters,
        limit=data.slots,
        explain=data.explain,
    )
    return _respond(await state.service.rank("ads", request))


@post("/v1/audience", status_code=200, guards=[require_token], sync_to_thread=True)
def audience(data: JSONBody[AudienceBody], state: State) -> dict[str, Any]:
    """Target users for a product, users similar to a list, or users of a segment; needs the token, since it names people."""
    request_id, version, selected = state.service.audience(msgspec.structs.asdict(data))
    users = []
    for recipient in selected.recipients:
        users.append({"user_id": recipient.user_id, "score": recipient.score, "reason": recipient.reason})
    return {"request_id": request_id, "version": version, "users": users, "total": selected.total}


@post(["/v1/predict", "/predict"], status_code=200)
async def predict(data: JSONBody[PredictBody], state: State) -> dict[str, Any]:
    """A yes or no with its probability, or a number, for one row or several."""
    is_single_row = data.features is not None
    if is_single_row == (data.rows is not None):
        raise BadInput("the body", "must have either features or rows", 'send {"features": [...]}')
    rows = [data.features] if is_single_row else data.rows
    request_id, version, predictions = await state.service.predict(rows)
    if is_single_row:
        return {**predictions[0], "request_id": request_id}
    return {"predictions": predictions, "version": version, "request_id": request_id}


def _respond(answer: RankedAnswer) -> Response[RankedOut]:
    """The response, with a header where the store was away: the recent events are those that this worker read last."""
    headers = _DEGRADED_HEADERS if answer.is_degraded else None
    return Response(answer.response, headers=headers)


ROUTES = (search, recommend, ads, audience, predict)
