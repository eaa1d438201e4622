"""The drill of the drift monitor: a month of events, something planted at its end."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx

from vetrina.core.clock import DAY
from vetrina.monitor.log_columns import EventColumns
from vetrina.pipeline.daily_aggregation import last_full_day
from vetrina.simulate.drill import build_simulated_shop
from vetrina.simulate.processes import start_command, wait_until_ready
from vetrina.simulate.traffic import NO_SHIFT, PriceShift, Traffic
from vetrina.simulate.world import World
from vetrina.store import alert_log

DRIFT_FAULT = "drift"
_LOG_DAYS = 30
_USERS_PER_DAY = 800
_INJECTED_SHIFT = PriceShift(0.3, 0.8)


def run_drift_drill(folder: Path, minutes: float, echo: Callable[[str], None]) -> str:
    """Thirty days of events over HTTP, prices moved on the last two; then the controller looks. Returns found or not found."""
    world = World(products=200, users=3_000, days=15, now=time.time() - (_LOG_DAYS + 1) * DAY)
    shop = build_simulated_shop(folder, world, minutes, echo)
    serve, address = start_command(folder, "serve", "--port", "0")
    operate = None
    try:
        traffic = Traffic(world, _USERS_PER_DAY)
        last = last_full_day(time.time())
        with httpx.Client(base_url=address, timeout=60) as client:
            wait_until_ready(client)
            echo(f"{_LOG_DAYS} days of about {_USERS_PER_DAY:,} shoppers; on the last two, prices move")
            for number in range(last - _LOG_DAYS + 1, last + 1):
                _send_events(client, world, traffic.day(number, _INJECTED_SHIFT if number > last - 2 else NO_SHIFT)[0])
        operate, _ = start_command(folder, "operate")
        deadline = time.monotonic() + 60 * minutes
        while time.monotonic() < deadline:
            for text in alert_log.sent_alerts(shop.shop_context.engine):
                if "drifted" in text:
                    echo(text)
                    return "found"
            time.sleep(1)
        return "not found"
    finally:
        for process in (p for p in (operate, serve) if p):
            process.terminate()
            process.wait(30)
        shop.shop_context.engine.dispose()


def _send_events(client: httpx.Client, world: World, events: EventColumns) -> None:
    rows = [
        {
            "user_id": world.user_ids[unit],
            "type": events.types[kind],
            "product_id": world.product_ids[item],
            "price": round(price, 2),
            "timestamp": round(moment, 3),
        }
        for unit, kind, item, price, moment in zip(
            events.unit.tolist(),
            events.type.tolist(),
            events.item.tolist(),
            events.price.tolist(),
            events.time.tolist(),
            strict=True,
        )
    ]
    for at in range(0, len(rows), 1_000):
        client.post("/v1/events", json=rows[at : at + 1_000]).raise_for_status()
