"""Drill of the drift monitor: a month of events with a price shift on its last two days."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from vetrina.api.shop import Shop
from vetrina.core.clock import DAY
from vetrina.monitor.log_columns import EventColumns
from vetrina.operate.daily_aggregation import last_full_day
from vetrina.simulate.drill import build_simulated_shop
from vetrina.simulate.processes import start_command, wait_until_ready
from vetrina.simulate.traffic import NO_SHIFT, PriceShift, Traffic
from vetrina.simulate.world import World
from vetrina.store import alert_log

DRIFT_FAULT = "drift"
_LOG_DAYS = 30
_SHIFTED_DAYS = 2  # the last ones
_USERS_PER_DAY = 800
_INJECTED_SHIFT = PriceShift(0.3, 0.8)
_EVENTS_PER_REQUEST = 1_000
_POLL_SECONDS = 1.0
_REQUEST_TIMEOUT_SECONDS = 60.0
_STOP_SECONDS = 30.0  # time for a process to end


def run_drift_drill(folder: Path, minutes: float, echo: Callable[[str], None]) -> str:
    """Send thirty days of events over HTTP, with shifted prices on the last two, then let the controller check for drift.

    Args:
        folder: the simulated shop's folder.
        minutes: how long to wait for an alert.
        echo: prints a line.

    Returns:
        "found" where an alert about drift was raised, else "not found".
    """
    world = World(products=200, users=3_000, days=15, now=time.time() - (_LOG_DAYS + 1) * DAY)
    shop = build_simulated_shop(folder, world, minutes, echo)
    headers = {"authorization": f"Bearer {shop.folder.keys.api_token}"}  # as the shop's own server sends events
    service, address = start_command(folder, "serve", "--port", "0")
    processes = [service]
    try:
        with httpx.Client(base_url=address, headers=headers, timeout=_REQUEST_TIMEOUT_SECONDS) as client:
            wait_until_ready(client)
            echo(f"{_LOG_DAYS} days of about {_USERS_PER_DAY:,} users; prices shift on the last {_SHIFTED_DAYS}")
            _send_log(client, world)
        controller, _ = start_command(folder, "operate")
        processes.insert(0, controller)
        alert = _wait_for_drift_alert(shop, 60 * minutes)
        if alert is None:
            return "not found"
        echo(alert)
        return "found"
    finally:
        for process in processes:
            process.terminate()
            process.wait(_STOP_SECONDS)
        shop.shop_context.engine.dispose()


def _send_log(client: httpx.Client, world: World) -> None:
    traffic = Traffic(world, _USERS_PER_DAY)
    last = last_full_day(time.time())
    for day_number in range(last - _LOG_DAYS + 1, last + 1):
        shift = _INJECTED_SHIFT if day_number > last - _SHIFTED_DAYS else NO_SHIFT
        events, _ = traffic.day(day_number, shift)
        _send_events(client, world, events)


def _wait_for_drift_alert(shop: Shop, timeout_seconds: float) -> str | None:
    """The text of the first alert about drift, or None where none comes in time."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        for text in alert_log.sent_alerts(shop.shop_context.engine):
            if "drifted" in text:
                return text
        time.sleep(_POLL_SECONDS)
    return None


def _send_events(client: httpx.Client, world: World, events: EventColumns) -> None:
    columns = zip(
        events.unit.tolist(),
        events.type.tolist(),
        events.item.tolist(),
        events.price.tolist(),
        events.time.tolist(),
        strict=True,
    )
    rows: list[dict[str, Any]] = []
    for user, event_type, product, price, seconds in columns:
        rows.append(
            {
                "user_id": world.user_ids[user],
                "type": events.types[event_type],
                "product_id": world.product_ids[product],
                "price": round(price, 2),
                "timestamp": round(seconds, 3),
            }
        )
    for start in range(0, len(rows), _EVENTS_PER_REQUEST):
        batch = rows[start : start + _EVENTS_PER_REQUEST]
        client.post("/v1/events", json=batch).raise_for_status()
