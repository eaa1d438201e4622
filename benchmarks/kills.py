"""200 random kills (SIGKILL) on each database: 100 of ingest and run, 100 of a server that takes events.

Protocol: a shop of 40 users and 30 products, one training thread. Ingest and run are killed at random moments again and again
until they have ended; what serves then must have the very digest of a shop that nobody disturbed, with one promotion. The
server is killed while four shoppers send events in batches of five; whatever was acknowledged must be there, once.
"""

import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.record import row
from vetrina import Shop

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
_PATH_KILLS = 100
_EVENT_KILLS = 100
_A_STEP = 6
_LONGEST = {"ingest": 1.5, "run": 8.0}


def main() -> None:
    """SQLite, PostgreSQL and MariaDB, two at a time."""
    import servers  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(2) as pool:
        root = Path(scratch)
        undisturbed = _undisturbed(root / "undisturbed")
        jobs = [pool.submit(_database, "SQLite", root / "sqlite", None, undisturbed)]
        for name, start in (("PostgreSQL", servers.postgresql), ("MariaDB", servers.mariadb)):
            jobs.append(pool.submit(_database, name, root / name.lower(), start, undisturbed))
        for job in jobs:
            job.result()


def _database(name: str, folder: Path, start, undisturbed: Path) -> None:
    import servers  # pyright: ignore[reportMissingImports]

    folder.mkdir()
    if start is None:
        _measure(name, folder, lambda turn: f"sqlite:///{folder / f'store{turn}.db'}", undisturbed)
        return
    (folder / "server").mkdir()
    with start(folder / "server") as server:
        _measure(name, folder, lambda turn: servers.fresh_database(server, f"kills{turn}"), undisturbed)


def _measure(name: str, folder: Path, url, undisturbed: Path) -> None:
    rng = random.Random(name)  # noqa: S311
    kills = 0
    rounds = 0
    equal = 0
    promotions = 0
    while kills < _PATH_KILLS:
        shop = folder / f"shop{rounds}"
        _begin(shop, undisturbed, url(rounds))
        kills += _killed(shop, undisturbed, rng)
        version, promoted = _outcome(shop)
        equal += version == _outcome(undisturbed)[0]
        promotions += promoted
        rounds += 1
    row(
        f"{name}: kills of ingest and run",
        f"{kills} kills, {equal} of {rounds} shops with the undisturbed digest, {promotions} promotions",
        "goal: all equal, one each",
    )
    events = folder / "events"
    _begin(events, undisturbed, url("events"))
    for words in _steps(undisturbed):
        subprocess.run(_command(events, *words), check=True, capture_output=True)
    sent = [_server_killed(events, rng, turn) for turn in range(_EVENT_KILLS)]
    acknowledged = [e for batch in sent for e in batch]
    there = _stored_event_ids(events)
    lost = len(set(acknowledged) - set(there))
    doubled = len(there) - len(set(there))
    row(
        f"{name}: kills of a server",
        f"{len(sent)} kills, {len(acknowledged):,} events acknowledged, {lost} lost, {doubled} doubled",
        "goal: none",
    )


def _undisturbed(folder: Path) -> Path:
    import shops  # pyright: ignore[reportMissingImports]

    (folder / "files").mkdir(parents=True)
    shops.checkerboard(folder / "files", users=40, items=30, days=40)
    (folder / "vetrina.toml").write_text("[train]\nthreads = 1\n")
    for words in _steps(folder):
        subprocess.run(_command(folder, *words), check=True, capture_output=True)
    return folder


def _begin(shop: Path, undisturbed: Path, url: str) -> None:
    """Another shop with the same keys, so that the same users have the same pseudonyms."""
    shop.mkdir()
    shutil.copytree(undisturbed / "keys", shop / "keys")
    (shop / "vetrina.toml").write_text(f'[train]\nthreads = 1\n\n[store]\nurl = "{url}"\n')


def _steps(undisturbed: Path) -> list[tuple[str, ...]]:
    files = undisturbed / "files"
    given = ("--products", str(files / "products.csv"), "--events", str(files / "events.csv"))
    return [("ingest", *given), ("run", "recommend")]


def _killed(shop: Path, undisturbed: Path, rng: random.Random) -> int:
    kills = 0
    for words in _steps(undisturbed):
        for _ in range(_A_STEP):
            process = subprocess.Popen(_command(shop, *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                process.wait(rng.uniform(0.2, _LONGEST[words[0]]))
            except subprocess.TimeoutExpired:
                kills += 1
                process.kill()
                process.wait()
        subprocess.run(_command(shop, *words), check=True, capture_output=True)
    return kills


def _server_killed(shop: Path, rng: random.Random, turn: int) -> list[str]:
    from path.test_kills import _post, serving  # pyright: ignore[reportMissingImports]

    acknowledged: list[str] = []
    with serving(shop) as (server, address):
        writers = [
            threading.Thread(target=_post, args=(address, f"{turn}-{n}", acknowledged), daemon=True) for n in range(4)
        ]
        for writer in writers:
            writer.start()
        deadline = time.monotonic() + 30
        while not acknowledged and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 1.0))
        server.kill()
        for writer in writers:
            writer.join(30)
    return acknowledged


def _outcome(folder: Path) -> tuple[str | None, int]:
    shop = Shop(folder)
    version, _ = shop.shop_context.registry.champion("recommend")
    promotions = len(shop.shop_context.registry.promotions("recommend"))
    shop.shop_context.engine.dispose()
    return version, promotions


def _command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), *words]


def _stored_event_ids(folder: Path) -> list[str]:
    import shops  # pyright: ignore[reportMissingImports]

    return shops.stored_event_ids(folder)
