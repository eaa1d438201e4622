"""Bytes of a product, a user and an event, and CPU of an answer: what an estimate for a larger shop multiplies.

A made shop: products with titles of eight words and descriptions of thirty, users with 20 purchases each, popular products taken
more often. Sizes are those of files; a part of a bundle counts as that of products, users or events by what its rows are. Memory
is the growth of the resident set of a fresh process that opens the bundle.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.record import row
from vetrina import Shop
from vetrina.core.keys import load_or_create
from vetrina.store.database import open_store
from vetrina.store.event_log import Event, EventLog

_PRODUCTS = 2_000
_USERS = 4_000
_EVENTS_PER_USER = 20
_STORED_EVENTS = 20_000
_REQUESTS = 300
_WORDS = 4_000
_DAY = 86_400
_START = 1_700_000_000
_SETTINGS = """
[train]
exclude_models = ["sasrec", "gru", "ease", "fusion"]
[gate]
latency_ms = 1e6
"""
_BODY = '{"type":"click","product_id":"p000123","request_id":"0123456789abcdef","position":3}'


def main() -> None:
    """The made shop, its released versions and its store."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        products, events = _write_files(root)
        (root / "shop").mkdir()
        (root / "shop/vetrina.toml").write_text(_SETTINGS)
        shop = Shop(root / "shop")
        shop.ingest(products=[products], events=[events])
        n_events = _USERS * _EVENTS_PER_USER
        row("lake, bytes an event", f"{_size(root / 'shop/lake', 'events') / n_events:.1f}")
        row("lake, bytes a product", f"{_size(root / 'shop/lake', 'products') / _PRODUCTS:.0f}")
        shop.shop_context.engine.dispose()  # which ends the write-ahead log
        row("store, bytes a user (sealed id)", f"{(root / 'shop/store.db').stat().st_size / _USERS:.0f}")
        cpu_before = time.process_time()
        shop.fit("recommend", budget_minutes=4.0)
        row("run of recommend, CPU-seconds", f"{time.process_time() - cpu_before:.0f}")
        folder = shop.shop_context.version_folder(shop.champion("recommend"))
        sizes: dict[str, int] = defaultdict(int)
        for file in folder.rglob("*"):
            if file.is_file():
                sizes[str(file.relative_to(folder))] += file.stat().st_size
        for name, size in sorted(sizes.items(), key=lambda part: -part[1])[:12]:
            figure = f"{size / _PRODUCTS:.1f} a product, {size / _USERS:.1f} a user, {size / n_events:.2f} an event"
            row(f"bundle, {name}", f"{size:,} bytes", figure)
        row("bundle, all files", f"{sum(sizes.values()):,} bytes")
        _stored_events(root)
        output = subprocess.run(
            [sys.executable, "-m", "benchmarks.scale", str(root / "shop")], capture_output=True, check=True, text=True
        ).stdout
        for name, figure in json.loads(output).items():
            row(name, figure)


def _write_files(root: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(5)
    words = np.array([f"{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}{chr(97 + n // 676)}word" for n in range(_WORDS)])
    ids = [f"p{n:06d}" for n in range(_PRODUCTS)]
    products = pl.DataFrame(
        {
            "product_id": ids,
            "title": [" ".join(rng.choice(words, 8)) for _ in ids],
            "description": [" ".join(rng.choice(words, 30)) for _ in ids],
            "category": [f"home > kind{rng.integers(100)}" for _ in ids],
            "brand": [f"brand{rng.integers(500)}" for _ in ids],
            "price": rng.uniform(1, 200, _PRODUCTS).round(2),
            "stock": np.full(_PRODUCTS, 10),
        }
    )
    n_events = _USERS * _EVENTS_PER_USER
    popularity = 1.0 / np.arange(1, _PRODUCTS + 1) ** 0.8
    item = rng.choice(_PRODUCTS, n_events, p=popularity / popularity.sum())
    repeated = rng.random(n_events) < 0.3
    user = np.repeat(np.arange(_USERS), _EVENTS_PER_USER)
    item[repeated] = item[np.maximum(np.flatnonzero(repeated) - 1, 0)]
    events = pl.DataFrame(
        {
            "timestamp": _START + (rng.random(n_events) * 90 * _DAY).astype(np.int64),
            "user_id": [f"user-{n}" for n in user.tolist()],
            "type": ["purchase"] * n_events,
            "product_id": [ids[n] for n in item.tolist()],
        }
    )
    products.write_parquet(root / "products.parquet")
    events.write_parquet(root / "events.parquet")
    return root / "products.parquet", root / "events.parquet"


def _size(folder: Path, name: str) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and name in str(file))


def _stored_events(root: Path) -> None:
    """Bytes that the store grows by with each event of the service."""
    keys = load_or_create(root / "keys")
    database = root / "log.db"
    engine = open_store(f"sqlite:///{database}", keys)
    engine.dispose()
    before = database.stat().st_size
    log = EventLog(engine, keys)
    sealed = keys.seal("user-12345")
    for start in range(0, _STORED_EVENTS, 20):
        numbers = range(start, start + 20)
        log.add([Event(f"{n:032x}", f"u{n % 1_000:031d}", None, 1.0, _BODY, sealed) for n in numbers]).result()
    log.close()
    engine.dispose()  # which ends the write-ahead log
    row("store, bytes an event (SQLite)", f"{(database.stat().st_size - before) / _STORED_EVENTS:.0f}")


def _open_and_ask(shop_dir: Path) -> None:
    """Memory of the opened bundle and CPU of an answer, in this process."""
    import psutil

    process = psutil.Process()
    shop = Shop(shop_dir)
    shop.champion("recommend")
    before = process.memory_info().rss
    shop.load("recommend")
    for user in range(20):
        shop.recommend(f"user-{user}", limit=10)
    grown = process.memory_info().rss - before
    started = time.process_time()
    for user in range(_REQUESTS):
        shop.recommend(f"user-{user}", limit=10)
    milliseconds = 1e3 * (time.process_time() - started) / _REQUESTS
    print(
        json.dumps(
            {
                f"memory of the opened bundle, {_PRODUCTS:,} products and {_USERS:,} users": f"{grown / 1e6:.0f} MB",
                "CPU of an answer to a known user": f"{milliseconds:.2f} ms",
            }
        )
    )


if __name__ == "__main__":
    _open_and_ask(Path(sys.argv[1]))
