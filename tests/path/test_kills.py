"""kill -9 at any moment: nothing acknowledged is lost, nothing is half-written, the same command goes on."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import shops

from vetrina import Shop
from vetrina.store import bundles, eventlog
from vetrina.store.database import open_store
from vetrina.store.folder import ShopFolder

pytestmark = pytest.mark.heavy


def command(folder: Path, *words: str) -> list[str]:
    """A real process."""
    return [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), *words]


@pytest.mark.parametrize("seed", range(6))
def test_a_run_killed_anywhere_ends_like_one_that_was_not(tmp_path: Path, seed: int):
    files = shops.checkerboard(tmp_path, users=40, items=30, days=40)
    folder = tmp_path / "shop"
    rng = random.Random(seed)
    steps = (("ingest", "--products", str(files["products"]), "--events", str(files["events"])), ("run", "recommend"))
    for step in steps:
        for _ in range(2):
            process = subprocess.Popen(command(folder, *step), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.uniform(0.2, 9.0 if step[0] == "run" else 2.0))
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = subprocess.run(command(folder, *step), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    shop = Shop(folder)
    registry = shop.workshop.registry
    champion, _ = registry.champion("recommend")
    assert champion is not None
    assert registry.show(champion)["verdict"]["outcome"] in ("pass", "baseline")
    assert len(registry.promotions("recommend")) == 1, "one verdict, one promotion"
    bundles.unpack(champion, folder / "bundles", shop.folder.keys, check_parts=True)
    assert shop.recommend("u003", limit=5).items
    assert shop.ingest().rows == {"products": 30, "events": 1_600}


def test_no_acknowledged_event_is_lost_when_the_server_is_killed(trained, tmp_path: Path):
    folder = trained[0]
    for attempt in range(3):
        server = subprocess.Popen(command(folder, "serve", "--port", "0"), stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        address = server.stderr.readline().strip().removeprefix("listening on ")
        acknowledged: list[str] = []
        writers = [threading.Thread(target=_post, args=(address, f"{attempt}-{n}", acknowledged)) for n in range(4)]
        for writer in writers:
            writer.start()
        deadline = time.monotonic() + 60
        while len(acknowledged) < 200 and time.monotonic() < deadline:
            time.sleep(0.01)
        server.send_signal(signal.SIGKILL)
        server.communicate()
        for writer in writers:
            writer.join()
        assert len(acknowledged) >= 200
        engine = open_store(ShopFolder(folder).store_url)
        kept = {e["event_id"] for e in eventlog.after(engine, 0)[0]}
        engine.dispose()
        assert set(acknowledged) <= kept


def _post(address: str, name: str, acknowledged: list[str]) -> None:
    with httpx.Client(base_url=address, timeout=10) as client:
        number = 0
        while True:
            batch = [
                {"user_id": f"k{name}", "type": "view", "product_id": "p001", "event_id": f"{name}-{number + n}"}
                for n in range(5)
            ]
            number += 5
            try:
                answer = client.post("/v1/events", content=json.dumps(batch))
            except httpx.TransportError:
                if acknowledged and number > 5:
                    return
                time.sleep(0.05)
                continue
            if answer.status_code == 202:
                acknowledged += [e["event_id"] for e in batch]
