"""Route for predictions: one for each row of a request."""

from typing import Any

from litestar import post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, SkipValidation

from vetrina.core.errors import BadInput
from vetrina.scenarios.base import PredictionScenario
from vetrina.serve.answers.predict import predict as predict_rows
from vetrina.serve.schemas import PredictBody, parse_body


def prediction_route(scenario: PredictionScenario) -> HTTPRouteHandler:
    """The route of a scenario that answers rows with predictions."""
    name = scenario.name

    @post(list(scenario.paths), status_code=200)
    async def predict(data: SkipValidation[JSONBody[PredictBody]], state: State) -> dict[str, Any]:
        """A yes or no with its probability, or a number, for one row or several."""
        body = parse_body(data, PredictBody)
        if (body.features is None) == (body.rows is None):
            raise BadInput("the body", "must have either features or rows", 'send {"features": [...]}')
        if body.features is not None:
            answer = await predict_rows(state.service, name, [body.features])
            return {**answer.predictions[0], "request_id": answer.exposure.request_id}
        answer = await predict_rows(state.service, name, body.rows or [])
        request_id = answer.exposure.request_id
        return {"predictions": answer.predictions, "version": answer.exposure.version, "request_id": request_id}

    return predict
