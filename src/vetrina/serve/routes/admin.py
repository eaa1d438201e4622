"""Routes for operators: versions, verdicts, releases, runs, promotion, rollback, health, metrics."""

import asyncio
from typing import Annotated, Any

import msgspec
from litestar import HttpMethod, MediaType, Request, Response, get, post, route
from litestar.datastructures import State
from litestar.params import JSONBody, QueryParameter, SkipValidation
from litestar.routes import HTTPRoute
from prometheus_client import generate_latest

from vetrina.core.errors import NotFound
from vetrina.core.verdicts import Verdict
from vetrina.scenarios.base import find_scenario, scenario_names
from vetrina.serve import openapi
from vetrina.serve.api_docs import render_page
from vetrina.serve.auth import require_token, require_token_from_elsewhere
from vetrina.serve.schemas import MAX_REFERENCE_CHARS, NO_CONTROL_CHARACTER, PathReference, RunBody, parse_body
from vetrina.serve.service import Service
from vetrina.store import operator_actions
from vetrina.store.registry import ScenarioVerdict, VersionSummary
from vetrina.store.rollouts import RolloutSummary
from vetrina.store.runs import PRIORITY_MANUAL, RunDetails, RunRecord, RunStore

_Leaving = Annotated[str, QueryParameter(name="from", max_length=MAX_REFERENCE_CHARS, pattern=NO_CONTROL_CHARACTER)]
_SHARED_PATHS = ["/v1/products", "/v1/products/{product_id:str}", "/v1/runs"]


@get("/v1/versions", guards=[require_token], sync_to_thread=True)
def versions(state: State) -> list[VersionSummary]:
    """All versions, newest first."""
    service: Service = state.service
    return service.registry.list_versions()


@get("/v1/releases", guards=[require_token], sync_to_thread=True)
def releases(state: State) -> list[RolloutSummary]:
    """Releases that are or were tested on users, newest first."""
    service: Service = state.service
    return service.rollouts.list_rollouts()


@get("/v1/releases/{release:str}", guards=[require_token], sync_to_thread=True)
def release(release: PathReference, state: State) -> list[dict[str, Any]]:
    """Every decision about a release with its evidence, for rollout controllers and audits."""
    service: Service = state.service
    decisions = []
    for record in service.rollouts.decision_log(release):
        decision = msgspec.to_builtins(record)
        del decision["rollout"]["salt"]  # whoever has it can choose the arm that they vote in
        decisions.append(decision)
    if not decisions:
        raise NotFound(release, "has no decision on record", "GET /v1/releases lists the releases")
    return decisions


@post("/v1/runs", status_code=202, guards=[require_token])
async def ask_run(data: SkipValidation[JSONBody[RunBody]], state: State) -> RunDetails:
    """Queue a run, which `vetrina operate` executes. If the scenario has one that is queued or running, that one is returned."""
    body = parse_body(data, RunBody)
    find_scenario(body.scenario)  # BadInput for an unknown scenario
    runs: RunStore = state.service.runs

    def enqueue() -> RunDetails:
        run = runs.enqueue(body.scenario, body.why, PRIORITY_MANUAL)
        return runs.get_run(run)

    return await asyncio.to_thread(enqueue)


@get("/v1/runs", guards=[require_token], sync_to_thread=True)
def list_runs(state: State) -> list[RunRecord]:
    """Runs, newest first."""
    service: Service = state.service
    return service.runs.list_runs()


@get("/v1/runs/{run:str}", guards=[require_token], sync_to_thread=True)
def get_run(run: PathReference, state: State) -> RunDetails:
    """A run with its finished stages."""
    service: Service = state.service
    return service.runs.get_run(run)


@post("/v1/runs/{run:str}/cancel", status_code=200, guards=[require_token], sync_to_thread=True)
def cancel_run(run: PathReference, state: State) -> RunDetails:
    """Cancel a run; its finished stages stay."""
    service: Service = state.service
    service.runs.cancel(run)
    return service.runs.get_run(run)


@post("/v1/runs/{run:str}/retry", status_code=200, guards=[require_token], sync_to_thread=True)
def retry_run(run: PathReference, state: State) -> RunDetails:
    """Queue a failed or cancelled run again."""
    service: Service = state.service
    service.runs.retry(run)
    return service.runs.get_run(run)


@get("/v1/verdicts/{verdict_id:str}", guards=[require_token], sync_to_thread=True)
def verdict(verdict_id: PathReference, state: State) -> Verdict:
    """A recorded verdict, for rollout controllers."""
    service: Service = state.service
    return service.registry.get_verdict(verdict_id)


@get("/v1/scenarios/{scenario:str}/verdict", guards=[require_token], sync_to_thread=True)
def scenario_verdict(scenario: PathReference, state: State) -> ScenarioVerdict:
    """The newest verdict on a version of a scenario, and what its release did with it, for rollout controllers."""
    service: Service = state.service
    known_names = scenario_names()
    if scenario not in known_names:
        raise NotFound(scenario, "is not one of the scenarios", f"known: {', '.join(known_names)}")
    return service.registry.newest_verdict(scenario)


@post("/v1/versions/{version:str}/promote", status_code=200, guards=[require_token], sync_to_thread=True)
def promote(version: PathReference, state: State) -> dict[str, str]:
    """Make a version the champion of its scenario by hand."""
    service: Service = state.service
    return operator_actions.promote(service.registry, service.folder.bundles, version)


@post("/v1/scenarios/{scenario:str}/rollback", status_code=200, guards=[require_token], sync_to_thread=True)
def rollback(scenario: PathReference, state: State, leaving: _Leaving = "") -> dict[str, Any]:
    """Leave the version `from`: withdraw it if it is tested on users, else go back to the champion before it.

    Sent again it changes nothing (`changed` is false). Without `from`: the candidate that is tested on users, else the champion,
    unless the last thing that happened was a rollback.
    """
    service: Service = state.service
    return operator_actions.rollback(
        service.registry, service.rollouts, service.folder.bundles, scenario, leaving or None
    )


@get("/healthz", media_type=MediaType.TEXT, sync_to_thread=False)
def healthz(state: State) -> Response[str]:
    """200 while the process and its writer of events are alive; the store may be away."""
    service: Service = state.service
    if service.event_log.is_alive():
        return Response("ok")
    return Response("the writer of events has ended: restart this worker", status_code=503)


@get("/readyz", sync_to_thread=False)
def readyz(state: State) -> Response[dict[str, Any]]:
    """200 once a scenario serves, 503 before; the store may be away, answers go on from memory.

    `stale` names scenarios whose champion this worker cannot open, `refused` bundles that another Vetrina wrote, with the way
    out.
    """
    service: Service = state.service
    serving = dict(service.champions.all())
    stale = [scenario for scenario, is_stale in service.champions.stale().items() if is_stale]
    content = {"ready": bool(serving), "serving": serving, "stale": stale, "refused": service.champions.refused()}
    return Response(content, status_code=200 if serving else 503)


@get("/metrics", media_type=MediaType.TEXT, guards=[require_token_from_elsewhere], sync_to_thread=False)
def metrics(state: State) -> str:
    """Metrics in the Prometheus text format."""
    service: Service = state.service
    service.update_gauges()
    return generate_latest(service.metrics.registry).decode()


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def openapi_document(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The OpenAPI document of this API."""
    return openapi.describe(request.app)


@get("/schema", media_type=MediaType.HTML, include_in_schema=False, sync_to_thread=False)
def schema(request: Request[Any, Any, Any]) -> str:
    """The OpenAPI document as a page for people."""
    return render_page(openapi.describe(request.app))


@route(_SHARED_PATHS, http_method=HttpMethod.OPTIONS, include_in_schema=False, sync_to_thread=False)
def options(request: Request[Any, Any, Any]) -> Response[None]:
    """The methods of a path that has several handlers, of which Litestar's own answer names the first only."""
    methods: set[str] = set()
    for app_route in request.app.routes:
        if isinstance(app_route, HTTPRoute) and app_route.path_format == request.scope["path_template"]:
            methods |= app_route.methods
    return Response(None, status_code=204, headers={"allow": ", ".join(sorted(methods))})


_RELEASE_ROUTES = (versions, verdict, scenario_verdict, releases, release, promote, rollback)
_RUN_ROUTES = (ask_run, list_runs, get_run, cancel_run, retry_run)
ROUTES = (*_RELEASE_ROUTES, *_RUN_ROUTES, healthz, readyz, metrics, openapi_document, schema)
