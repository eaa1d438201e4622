"""The routes that answer shoppers and programs. Answers are computed in the event loop; only a candidate is waited for."""

from typing import Any

import msgspec
from litestar import post
from litestar.datastructures import State
from litestar.params import JSONBody

from vetrina.core.errors import BadInput
from vetrina.core.types import Request
from vetrina.serve.auth import require_token
from vetrina.serve.schemas import AdsBody, AudienceBody, PredictBody, RankedOut, RecommendBody, SearchBody


@post("/v1/search", status_code=200)
async def search(data: JSONBody[SearchBody], state: State) -> RankedOut:
    """Products for a query, best first."""
    asked = Request(
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
    return await state.service.rank("search", asked)


@post("/v1/recommend", status_code=200)
async def recommend(data: JSONBody[RecommendBody], state: State) -> RankedOut:
    """Products for a shopper, a session or a product page."""
    asked = Request(
        user=state.service.pseudonymise(data.user_id),
        session=state.service.name_of_session(data.session_id),
        product_ids=tuple(data.product_ids),
        placement=data.placement,
        filters=data.filters,
        limit=data.limit,
        exclude_seen=data.exclude_seen,
        explain=data.explain,
    )
    return await state.service.rank("recommend", asked)


@post("/v1/ads", status_code=200)
async def ads(data: JSONBody[AdsBody], state: State) -> RankedOut:
    """Ads for the places of a page; send `ad_click` events with their `request_id`, a click is charged by it."""
    asked = Request(
        user=state.service.pseudonymise(data.user_id),
        session=state.service.name_of_session(data.session_id),
        query=state.service.keys.without_address(data.query),
        product_ids=tuple(data.product_ids),
        placement=data.placement,
        filters=data.filters,
        limit=data.slots,
        explain=data.explain,
    )
    return await state.service.rank("ads", asked)


@post("/v1/audience", status_code=200, guards=[require_token], sync_to_thread=True)
def audience(data: JSONBody[AudienceBody], state: State) -> dict[str, Any]:
    """Users to tell about a product, like some users, or of a segment; needs the token, since it names people."""
    request, version, found = state.service.audience(msgspec.structs.asdict(data))
    users = [{"user_id": p.user_id, "score": p.score, "reason": p.reason} for p in found.recipients]
    return {"request_id": request, "version": version, "users": users, "total": found.total}


@post(["/v1/predict", "/predict"], status_code=200, sync_to_thread=False)
def predict(data: JSONBody[PredictBody], state: State) -> dict[str, Any]:
    """A yes or no with its probability, or a number, for one row or several."""
    if (data.features is None) == (data.rows is None):
        raise BadInput("the body", "must have either features or rows", 'send {"features": [...]}')
    rows = [data.features] if data.features is not None else data.rows or []
    request, version, found = state.service.predict(rows)
    if data.features is not None:
        return {**found[0], "request_id": request}
    return {"predictions": found, "version": version, "request_id": request}


ROUTES = (search, recommend, ads, audience, predict)
