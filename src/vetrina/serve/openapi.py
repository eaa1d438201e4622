"""OpenAPI document of the HTTP API: what the routes say of themselves, completed by bounds, choices and refusals.

Litestar describes the routes. The schemas of request bodies come from msgspec, which decodes them, so that every bound that is
kept is stated. Refusals are the same for all routes of a kind.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from litestar import Litestar

from vetrina.scenarios.base import RankingScenario, Scenario, find_scenario, scenario_names
from vetrina.serve.auth import require_token, require_token_from_elsewhere
from vetrina.serve.recipients import CHANNELS
from vetrina.serve.schemas import (
    MAX_EVENTS,
    MAX_PRODUCTS,
    AudienceBody,
    EventBody,
    PredictBody,
    ProductBody,
    Refusal,
    RunBody,
)

_BODIES = (AudienceBody, PredictBody, RunBody, EventBody, ProductBody, Refusal)
_REFERENCE = "#/components/schemas/{name}"
_TOKEN_SCHEME = "token"  # noqa: S105 - the name of a security scheme
_EVENTS = "/v1/events"
_METRICS = "/metrics"  # which needs the token only from other machines
_OPEN_ROUTES = ("/healthz", "/readyz")  # which nothing is sent to, and which refuse nothing
_DESCRIPTIONS = {
    "400": "a value breaks a rule, or the body cannot be read",
    "401": "the shop's token is missing or wrong",
    "404": "the named thing does not exist",
    "409": "the state was changed meanwhile, or forbids it",
    "413": "the body is too large",
    "415": "the body is not application/json",
    "503": (
        "nothing serves yet, the store is out of reach, or too many requests are under way; Retry-After says when to send it "
        "again where that is known"
    ),
}


@lru_cache(maxsize=1)
def describe(app: Litestar) -> dict[str, Any]:
    """The OpenAPI document of an application."""
    document = app.openapi_schema.to_schema()
    schemas = document["components"]["schemas"]
    schemas.update(_body_schemas())
    _complete_paths(document["paths"])
    needs_token = _routes_with_token(app)
    scenarios_by_path = _scenarios_by_path()
    for path, method, operation in _operations(document):
        has_token = (path, method) in needs_token
        for status in _refusals(path, operation, scenarios_by_path.get(path), has_token=has_token):
            operation["responses"][status] = _refusal(status)
        if has_token and path != _METRICS:
            operation["security"] = [{_TOKEN_SCHEME: []}]
    document["components"]["securitySchemes"] = {_TOKEN_SCHEME: {"type": "http", "scheme": "bearer"}}
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _body_schemas() -> dict[str, Any]:
    """The schemas of request bodies, with the names that a field may hold where it holds one of a few."""
    ranking_bodies = [scenario.body for scenario in _scenarios() if isinstance(scenario, RankingScenario)]
    _, components = msgspec.json.schema_components([*ranking_bodies, *_BODIES], ref_template=_REFERENCE)
    components["AudienceBody"]["properties"]["channel"]["enum"] = list(CHANNELS)
    components["RunBody"]["properties"]["scenario"]["enum"] = scenario_names()
    return _portable(components)


def _scenarios() -> list[Scenario]:
    return [find_scenario(name) for name in scenario_names()]


def _portable(schema: Any) -> Any:
    r"""A schema with patterns as JSON Schema has them: ``$`` there is the end of a text, which Python calls ``\Z``."""
    if isinstance(schema, dict):
        return {key: _portable(value) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_portable(value) for value in schema]
    if isinstance(schema, str) and schema.endswith(r"\Z"):
        return schema.removesuffix(r"\Z") + "$"
    return schema


def _complete_paths(paths: dict[str, Any]) -> None:
    """State the bounds of bodies that are lists and of parameters, and what a service that is not ready answers."""
    with_id = {"required": ["product_id"], "properties": {"product_id": {"type": "string"}}}
    named_product = {"allOf": [_reference("ProductBody"), with_id]}
    products = {"type": "array", "items": named_product, "maxItems": MAX_PRODUCTS}
    events = {"type": "array", "items": _reference("EventBody"), "minItems": 1, "maxItems": MAX_EVENTS}
    _set_body(paths["/v1/products"]["post"], products)
    _set_body(paths["/v1/events"]["post"], {"anyOf": [_reference("EventBody"), events]})
    for methods in paths.values():
        for operation in methods.values():
            if "parameters" in operation:
                operation["parameters"] = _portable(operation["parameters"])
    readiness = paths["/readyz"]["get"]["responses"]
    readiness["503"] = {**readiness["200"], "description": "nothing serves yet"}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=name)}


def _set_body(operation: dict[str, Any], schema: dict[str, Any]) -> None:
    operation["requestBody"]["content"]["application/json"]["schema"] = schema


def _routes_with_token(app: Litestar) -> set[tuple[str, str]]:
    """Path and method of every route that needs the token."""
    routes = set()
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            guards = handler.guards or ()
            if require_token in guards or require_token_from_elsewhere in guards:
                routes |= {(_path_as_documented(route.path), method.lower()) for method in handler.http_methods}
    return routes


def _path_as_documented(path: str) -> str:
    return path.replace(":str}", "}")


def _scenarios_by_path() -> dict[str, Scenario]:
    """The scenario that a route asks, by path."""
    by_path: dict[str, Scenario] = {}
    for scenario in _scenarios():
        by_path |= dict.fromkeys(scenario.paths, scenario)
    return by_path


def _refusals(path: str, operation: dict[str, Any], scenario: Scenario | None, *, has_token: bool) -> Sequence[str]:
    """Statuses with which a route refuses.

    Args:
        path: its path.
        operation: its description.
        scenario: the scenario that it asks, if it asks one.
        has_token: whether it needs the token.
    """
    if path in _OPEN_ROUTES:
        return ()
    statuses = ["400", "503"]
    may_need_token = isinstance(scenario, RankingScenario) and scenario.body.may_need_token
    if has_token or may_need_token or path == _EVENTS:
        statuses.append("401")
    if "requestBody" in operation:
        statuses += ["413", "415"]
    if "parameters" in operation or scenario is not None or has_token:
        statuses.append("404")
    if has_token or path == _EVENTS:
        statuses.append("409")
    return sorted(statuses)


def _refusal(status: str) -> dict[str, Any]:
    content = {"application/json": {"schema": _reference("Refusal")}}
    return {"description": _DESCRIPTIONS[status], "content": content}
