"""Predictions for rows. Of the inputs only coarse bins are logged, and of many rows the first ones."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import msgspec

from vetrina.core import clock
from vetrina.core.exposures import Exposure, LoggedItem
from vetrina.core.rollout_types import CHAMPION
from vetrina.serve.service import Service

_MAX_LOGGED_ROWS = 100  # of one request


@dataclass(frozen=True)
class PredictedRows:
    """One prediction a row, and the exposure of the answer."""

    predictions: list[dict[str, Any]]
    exposure: Exposure


async def predict(service: Service, scenario: str, rows: Sequence[Any]) -> PredictedRows:
    """One prediction a row.

    Args:
        service: what the routes share.
        scenario: the scenario that answers.
        rows: values in column order, or by column name.

    Raises:
        NotReady: no version serves.
        BadInput: a row has too few or too many values, or a column of an unknown name.
    """
    serving = await service.serving(scenario)
    started = time.perf_counter()
    bundle = serving.loaded_bundle
    predictions = bundle.answer(rows)
    seconds = time.perf_counter() - started
    exposure = Exposure(
        request_id=uuid4().hex,
        scenario=scenario,
        version=serving.version,
        time=clock.now(),
        seconds=seconds,
        arm=CHAMPION,
        request_json=msgspec.json.encode({"bins": bundle.bins(rows[:_MAX_LOGGED_ROWS])}).decode(),
        items=_logged_predictions(predictions[:_MAX_LOGGED_ROWS]),
    )
    service.record(exposure)
    return PredictedRows(predictions, exposure)


def _logged_predictions(predictions: Sequence[dict[str, Any]]) -> tuple[LoggedItem, ...]:
    """Of a yes or no only the probability is logged."""
    items = []
    for position, prediction in enumerate(predictions, start=1):
        if "probability" in prediction:
            items.append(LoggedItem(position, probability=prediction["probability"]))
        else:
            items.append(LoggedItem(position, prediction=prediction["prediction"]))
    return tuple(items)
