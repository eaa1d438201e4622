"""The routes for operators and machines: versions, verdicts, the pointer, health."""

import asyncio
from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.datastructures import State
from litestar.params import FromPath, JSONBody
from prometheus_client import generate_latest

from vetrina.core import plugins
from vetrina.core.errors import NotFound
from vetrina.serve.api_docs import render_page
from vetrina.serve.auth import require_token
from vetrina.serve.schemas import RunBody
from vetrina.serve.service import Service
from vetrina.store import operator_actions
from vetrina.store.runs import PRIORITY_MANUAL, RunStore


@get("/v1/versions", sync_to_thread=True)
def versions(state: State) -> list[dict[str, Any]]:
    """All versions, newest first."""
    return state.service.registry.list_versions()


@get("/v1/releases", sync_to_thread=True)
def releases(state: State) -> list[dict[str, Any]]:
    """Releases among shoppers, newest first."""
    return state.service.rollouts.list_rollouts()


@get("/v1/releases/{release:str}", sync_to_thread=True)
def release(release: FromPath[str], state: State) -> list[dict[str, Any]]:
    """Every decision about a release with what it was made from, for rollout controllers and for audits."""
    found = [msgspec.to_builtins(logged) for logged in state.service.rollouts.decision_log(release)]
    if not found:
        raise NotFound(release, "has no decision on record", "GET /v1/releases lists the releases")
    return found


@post("/v1/runs", status_code=202, guards=[require_token])
async def ask_run(data: JSONBody[RunBody], state: State) -> dict[str, Any]:
    """Ask for a run; `vetrina operate` takes it. A wish that is there already is the same run."""
    plugins.load_module("scenarios", data.scenario, "online")
    runs: RunStore = state.service.runs
    return await asyncio.to_thread(lambda: runs.get_run(runs.enqueue(data.scenario, data.why, PRIORITY_MANUAL)))


@get("/v1/runs", sync_to_thread=True)
def list_runs(state: State) -> list[dict[str, Any]]:
    """Runs, newest first."""
    return state.service.runs.list_runs()


@get("/v1/runs/{run:str}", sync_to_thread=True)
def get_run(run: FromPath[str], state: State) -> dict[str, Any]:
    """A run with its finished stages."""
    return state.service.runs.get_run(run)


@post("/v1/runs/{run:str}/cancel", status_code=200, guards=[require_token], sync_to_thread=True)
def cancel_run(run: FromPath[str], state: State) -> dict[str, Any]:
    """Stop it; what it finished is kept."""
    state.service.runs.cancel(run)
    return state.service.runs.get_run(run)


@post("/v1/runs/{run:str}/retry", status_code=200, guards=[require_token], sync_to_thread=True)
def retry_run(run: FromPath[str], state: State) -> dict[str, Any]:
    """Queue a failed or cancelled run again."""
    state.service.runs.retry(run)
    return state.service.runs.get_run(run)


@get("/v1/verdicts/{verdict_id:str}", sync_to_thread=True)
def verdict(verdict_id: FromPath[str], state: State) -> dict[str, Any]:
    """A recorded verdict, for rollout controllers."""
    return state.service.registry.get_verdict(verdict_id)


@post("/v1/versions/{version:str}/promote", status_code=200, guards=[require_token], sync_to_thread=True)
def promote(version: FromPath[str], state: State) -> dict[str, str]:
    """Let a version serve by hand."""
    service: Service = state.service
    return operator_actions.promote(service.registry, service.folder.bundles, version)


@post("/v1/scenarios/{scenario:str}/rollback", status_code=200, guards=[require_token], sync_to_thread=True)
def rollback(scenario: FromPath[str], state: State) -> dict[str, str]:
    """Take a candidate out that is among shoppers; without one, back to the version that served before."""
    service: Service = state.service
    return operator_actions.rollback(service.registry, service.rollouts, service.folder.bundles, scenario)


@get("/healthz", media_type=MediaType.TEXT, sync_to_thread=False)
def healthz() -> str:
    """The process answers."""
    return "ok"


@get("/readyz", sync_to_thread=False)
def readyz(state: State) -> Response[dict[str, Any]]:
    """200 once a scenario serves, 503 before. `refused` names bundles that another Vetrina wrote, with the way out."""
    serving = dict(state.service.champions.all())
    content = {"ready": bool(serving), "serving": serving, "refused": state.service.champions.refused()}
    return Response(content, status_code=200 if serving else 503)


@get("/metrics", media_type=MediaType.TEXT, sync_to_thread=False)
def metrics(state: State) -> str:
    """Prometheus text."""
    for scenario in state.service.champions.all():
        trial = state.service.candidate_clients.get(scenario)
        state.service.candidate_share_gauge.labels(scenario).set(trial.rollout.canary_share if trial else 0.0)
    return generate_latest(state.service.metrics_registry).decode()


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def openapi(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """This interface, for machines."""
    return request.app.openapi_schema.to_schema()


@get("/schema", media_type=MediaType.HTML, include_in_schema=False, sync_to_thread=False)
def schema(request: Request[Any, Any, Any]) -> str:
    """The same, for people."""
    return render_page(request.app.openapi_schema.to_schema())


_RELEASE_ROUTES = (versions, verdict, releases, release, promote, rollback)
_RUN_ROUTES = (ask_run, list_runs, get_run, cancel_run, retry_run)
ROUTES = (*_RELEASE_ROUTES, *_RUN_ROUTES, healthz, readyz, metrics, openapi, schema)
