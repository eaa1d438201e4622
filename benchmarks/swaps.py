"""How fast a change of champion reaches every worker under load, and what it costs.

Protocol: the shop of `vetrina simulate`, 4 serving processes on one SQLite store, each asked by a shopper all the time; the
pointer moves 50 times, every 1.5 s, and each worker is asked until it names the new version. Then 1,000 swaps in one worker.
"""

import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np

from benchmarks.record import row
from vetrina import Shop
from vetrina.serve.service import Service
from vetrina.simulate.fault_injection import serve_popularity_baseline
from vetrina.simulate.input_files import write_input_files
from vetrina.simulate.processes import start_command
from vetrina.simulate.world import World

_WORKERS = 4
_SWAPS = 50
_MANY = 1_000


def main() -> None:
    """Both measurements on one shop."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "shop"
        files = write_input_files(World(), Path(scratch) / "files")
        shop = Shop(folder)
        shop.ingest(products=[files["products"]], events=[files["events"]])
        shop.fit("recommend")
        first, _ = shop.shop_context.registry.champion("recommend")
        assert first is not None
        versions = [serve_popularity_baseline(shop), first]
        _followed(shop, versions)
        _memory(shop, versions)
        shop.shop_context.engine.dispose()


def _followed(shop: Shop, versions: list[str]) -> None:
    workers = []
    addresses = []
    for _ in range(_WORKERS):
        worker, address = start_command(shop.folder.root, "serve", "--port", "0")
        workers.append(worker)
        addresses.append(address)
    stop = threading.Event()
    failed = [0]
    n_requests = [0]
    shoppers = [threading.Thread(target=_ask, args=(a, stop, failed, n_requests)) for a in addresses]
    for shopper in shoppers:
        shopper.start()
    delays: list[float] = []
    with httpx.Client(timeout=20) as client:
        for n in range(_SWAPS):
            time.sleep(1.5)
            shop.shop_context.registry.set_champion("recommend", versions[n % 2], "bench")
            moved = time.perf_counter()
            waiting = set(addresses)
            while waiting:
                for address in list(waiting):
                    if client.get(f"{address}/readyz").json()["serving"]["recommend"] == versions[n % 2]:
                        waiting.discard(address)
                        delays.append(time.perf_counter() - moved)
    stop.set()
    for shopper in shoppers:
        shopper.join()
    for worker in workers:
        worker.terminate()
        worker.wait()
    p50, p99 = np.percentile(delays, [50, 99])
    row("a swap reaches a worker", f"p50 {p50:.2f} s, p99 {p99:.2f} s, all {_WORKERS} of them", "goal: p99 1 s")
    row(f"failed requests during {_SWAPS} swaps", f"{failed[0]} of {n_requests[0]:,}", "goal: 0")


def _ask(address: str, stop: threading.Event, failed: list[int], n_requests: list[int]) -> None:
    with httpx.Client(base_url=address, timeout=20) as client:
        n = 0
        while not stop.is_set():
            n += 1
            try:
                good = client.post("/v1/recommend", json={"user_id": f"u{n % 400:04d}"}).status_code == 200
            except httpx.TransportError:
                good = False
            n_requests[0] += 1
            failed[0] += not good
            time.sleep(0.01)


def _memory(shop: Shop, versions: list[str]) -> None:
    service = Service(shop.folder)
    sizes = []
    for n in range(_MANY):
        shop.shop_context.registry.set_champion("recommend", versions[n % 2], "bench")
        service.follower.refresh()
        if n in (99, _MANY - 1):
            sizes.append(_resident_mb())
    service.event_log.close()
    service.engine.dispose()
    row(f"resident memory after 100 and {_MANY:,} swaps", f"{sizes[0]:.0f} MB, {sizes[1]:.0f} MB", "goal: flat")


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if sys.platform == "linux" else 0
    return pages * 4_096 / 1e6
