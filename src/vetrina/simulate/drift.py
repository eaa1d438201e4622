"""The drill of the drift monitor: a month of events, something planted at its end."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx

from vetrina.core.clock import DAY
from vetrina.monitor.columns import Events
from vetrina.pipeline.watch import last_full_day
from vetrina.simulate.life import made_up_shop
from vetrina.simulate.processes import start, wait
from vetrina.simulate.traffic import QUIET, Shift, Traffic
from vetrina.simulate.world import World
from vetrina.store import alerted

DRIFT = "drift"
_DAYS, _SHOPPERS, _PLANTED = 30, 800, Shift(0.3, 0.8)


def drift(folder: Path, minutes: float, say: Callable[[str], None]) -> str:
    """Thirty days of events over HTTP, prices moved on the last two; then the controller looks. Returns found or not found."""
    world = World(products=200, users=3_000, days=15, now=time.time() - (_DAYS + 1) * DAY)
    shop = made_up_shop(folder, world, minutes, say)
    serve, address = start(folder, "serve", "--port", "0")
    operate = None
    try:
        traffic, last = Traffic(world, _SHOPPERS), last_full_day(time.time())
        with httpx.Client(base_url=address, timeout=60) as client:
            wait(client)
            say(f"{_DAYS} days of about {_SHOPPERS:,} shoppers; on the last two, prices move")
            for number in range(last - _DAYS + 1, last + 1):
                _send(client, world, traffic.day(number, _PLANTED if number > last - 2 else QUIET)[0])
        operate, _ = start(folder, "operate")
        deadline = time.monotonic() + 60 * minutes
        while time.monotonic() < deadline:
            for text in alerted.texts(shop.workshop.engine):
                if "drifted" in text:
                    say(text)
                    return "found"
            time.sleep(1)
        return "not found"
    finally:
        for process in (p for p in (operate, serve) if p):
            process.terminate()
            process.wait(30)
        shop.workshop.engine.dispose()


def _send(client: httpx.Client, world: World, events: Events) -> None:
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
