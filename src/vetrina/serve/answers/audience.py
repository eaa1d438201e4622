"""Audiences: users for the shop. Their ids are not logged with the answer."""

import time
from dataclasses import dataclass
from uuid import uuid4

import msgspec

from vetrina.core.exposures import Exposure
from vetrina.core.rollout_types import CHAMPION
from vetrina.serve.recipients import AudienceQuery, RecipientList, find_recipients
from vetrina.serve.service import Service


@dataclass(frozen=True)
class AudienceAnswer:
    """The recipients of an audience, and the exposure of the answer."""

    recipients: RecipientList
    exposure: Exposure


def select_audience(service: Service, scenario: str, query: AudienceQuery) -> AudienceAnswer:
    """The recipients of an audience, read from the store: runs in a thread. Their ids are not logged with the answer.

    Args:
        service: what the routes share.
        scenario: the scenario that scores users.
        query: which users, for which channel.

    Raises:
        NotReady: no version serves.
        BadInput: the channel is unknown or nobody consented to it, or the query is not valid.
        NotFound: the product or all seed users are unknown.
    """
    started = time.perf_counter()
    serving = service.serving_in_thread(scenario)
    context = service.context(service.stored_events)
    recipients = find_recipients(serving.loaded_bundle, service.engine, service.keys, context, query)
    exposure = Exposure(
        request_id=uuid4().hex,
        scenario=scenario,
        version=serving.version,
        time=context.now,
        seconds=time.perf_counter() - started,
        arm=CHAMPION,
        request_json=msgspec.json.encode(_logged_parameters(query)).decode(),
    )
    service.record(exposure)
    return AudienceAnswer(recipients, exposure)


def _logged_parameters(query: AudienceQuery) -> dict[str, object]:
    parameters = {
        "product_id": query.product_id,
        "size": query.size,
        "segment": query.segment,
        "channel": query.channel,
    }
    return {name: value for name, value in parameters.items() if value}
