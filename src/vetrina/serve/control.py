"""The routes for operators and machines: versions, verdicts, the pointer, health."""

from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.datastructures import State
from prometheus_client import generate_latest

from vetrina.core.errors import NotFound
from vetrina.serve.guard import needs_token
from vetrina.serve.service import Service
from vetrina.store import bundles


@get("/v1/versions", sync_to_thread=True)
def versions(state: State) -> list[dict[str, Any]]:
    """All versions, newest first."""
    return state.service.registry.all()


@get("/v1/releases", sync_to_thread=True)
def releases(state: State) -> list[dict[str, Any]]:
    """Releases among shoppers, newest first."""
    return state.service.rollouts.all()


@get("/v1/releases/{release:str}", sync_to_thread=True)
def release(release: str, state: State) -> list[dict[str, Any]]:
    """Every decision about a release with what it was made from, for rollout controllers and for audits."""
    found = [msgspec.to_builtins(logged) for logged in state.service.rollouts.log(release)]
    if not found:
        raise NotFound(release, "has no decision on record", "GET /v1/releases lists the releases")
    return found


@get("/v1/verdicts/{verdict_id:str}", sync_to_thread=True)
def verdict(verdict_id: str, state: State) -> dict[str, Any]:
    """A recorded verdict, for rollout controllers."""
    return state.service.registry.verdict(verdict_id)


@post("/v1/versions/{version:str}/promote", status_code=200, guards=[needs_token], sync_to_thread=True)
def promote(version: str, state: State) -> dict[str, str]:
    """Let a version serve by hand."""
    service: Service = state.service
    scenario = service.registry.show(version)["scenario"]
    bundles.unpack(version, service.shop.bundles, service.keys)  # a changed bundle must not get the pointer
    return service.registry.point_to(scenario, version, "promoted by hand")


@post("/v1/scenarios/{scenario:str}/rollback", status_code=200, guards=[needs_token], sync_to_thread=True)
def rollback(scenario: str, state: State) -> dict[str, str]:
    """Take a candidate out that is among shoppers; without one, back to the version that served before."""
    if candidate := state.service.rollouts.take_out(scenario):
        champion, _ = state.service.registry.champion(scenario)
        return {"scenario": scenario, "version": champion, "out": candidate}
    version = state.service.registry.before_champion(scenario)
    return state.service.registry.point_to(scenario, version, "rolled back by hand")


@get("/healthz", media_type=MediaType.TEXT, sync_to_thread=False)
def healthz() -> str:
    """The process answers."""
    return "ok"


@get("/readyz", sync_to_thread=False)
def readyz(state: State) -> Response[dict[str, Any]]:
    """200 once a scenario serves, 503 before."""
    serving = dict(state.service.champions.all())
    return Response({"ready": bool(serving), "serving": serving}, status_code=200 if serving else 503)


@get("/metrics", media_type=MediaType.TEXT, sync_to_thread=False)
def metrics(state: State) -> str:
    """Prometheus text."""
    return generate_latest(state.service.metrics).decode()


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def openapi(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """This interface, for machines."""
    return request.app.openapi_schema.to_schema()


ROUTES = (versions, releases, release, verdict, promote, rollback, healthz, readyz, metrics, openapi)
