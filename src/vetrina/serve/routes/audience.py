"""Route for audiences: users for the shop, which only its own servers may ask for."""

from typing import Any

import msgspec
from litestar import post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, SkipValidation

from vetrina.scenarios.base import AudienceScenario
from vetrina.serve.answers.audience import select_audience
from vetrina.serve.auth import require_token
from vetrina.serve.recipients import AudienceQuery
from vetrina.serve.schemas import AudienceBody, parse_body


def audience_route(scenario: AudienceScenario) -> HTTPRouteHandler:
    """The route of a scenario that answers with users."""
    name = scenario.name

    @post(list(scenario.paths), status_code=200, guards=[require_token], sync_to_thread=True)
    def audience(data: SkipValidation[JSONBody[AudienceBody]], state: State) -> dict[str, Any]:
        """Target users for a product, users similar to a list, or users of a segment; needs the token, since it names people."""
        body = parse_body(data, AudienceBody)
        answer = select_audience(state.service, name, AudienceQuery(**msgspec.structs.asdict(body)))
        users = []
        for recipient in answer.recipients.recipients:
            users.append({"user_id": recipient.user_id, "score": recipient.score, "reason": recipient.reason})
        return {
            "request_id": answer.exposure.request_id,
            "version": answer.exposure.version,
            "users": users,
            "total": answer.recipients.total,
        }

    return audience
