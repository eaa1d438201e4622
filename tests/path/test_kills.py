"""kill -9 at any moment: nothing acknowledged is lost, nothing is half-written, the same command goes on."""

import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import shops
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from vetrina import Shop
from vetrina.ingest.lake import last_seqs, load_index
from vetrina.operate.age import new_key_pair
from vetrina.operate.backup import back_up_shop
from vetrina.operate.restore import RestoreTarget, restore_shop
from vetrina.simulate.processes import start_command
from vetrina.store import event_queries
from vetrina.store.database import open_store
from vetrina.store.shop_folder import ShopFolder

pytestmark = pytest.mark.kills


def command(folder: Path, *words: str) -> list[str]:
    """A real process."""
    return [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(folder), *words]


@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_anywhere_ends_like_one_that_was_not(tmp_path: Path, url: str, seed: int):
    files = shops.checkerboard(tmp_path, users=40, items=30, days=40)
    folder = tmp_path / "shop"
    on(folder, url)
    rng = random.Random(seed)
    steps = (("ingest", "--products", str(files["products"]), "--events", str(files["events"])), ("run", "recommend"))
    for step in steps:
        for _ in range(3):
            process = subprocess.Popen(command(folder, *step), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.uniform(0.2, 12.0 if step[0] == "run" else 2.0))
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = subprocess.run(command(folder, *step), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    shop = Shop(folder)
    registry = shop.shop_context.registry
    champion, _ = registry.champion("recommend")
    assert champion is not None
    assert registry.get_version(champion).verdict.outcome in ("pass", "baseline")
    assert len(registry.promotions("recommend")) == 1, "one verdict, one promotion"
    assert {r.state for r in shop.shop_context.runs.list_runs()} == {"done"}
    shop.folder.bundles.unpack(champion, check_parts=True)
    assert shop.recommend("u003", limit=5).items
    assert shop.ingest().rows == {"products": 30, "events": 1_600}
    shop.shop_context.engine.dispose()


def test_no_acknowledged_event_is_lost_when_the_server_is_killed(trained, url: str, tmp_path: Path):
    folder = shutil.copytree(trained[0], tmp_path / "shop")
    on(folder, url)
    for attempt in range(3):
        with serving(folder) as (server, address):
            acknowledged: list[str] = []
            writers = [threading.Thread(target=_post, args=(address, f"{attempt}-{n}", acknowledged)) for n in range(4)]
            for writer in writers:
                writer.start()
            _until(lambda known=acknowledged: len(known) >= 200)
            server.send_signal(signal.SIGKILL)
            for writer in writers:
                writer.join()
        assert len(acknowledged) >= 200
        assert set(acknowledged) <= set(shops.stored_event_ids(folder))


def test_no_acknowledged_event_is_lost_or_doubled_when_connections_are_cut(trained, url: str, tmp_path: Path):
    """The database throws everybody out again and again; what it did not take is sent again by the shop."""
    if url.startswith("sqlite"):
        pytest.skip("SQLite has no connections that could be cut")
    folder = shutil.copytree(trained[0], tmp_path / "shop")
    on(folder, url)
    with serving(folder) as (server, address):
        acknowledged: list[str] = []
        writers = [threading.Thread(target=_post, args=(address, f"c-{n}", acknowledged)) for n in range(4)]
        for writer in writers:
            writer.start()
        for cut in range(1, 8):
            _until(lambda cut=cut: len(acknowledged) >= 100 * cut)
            cut_connections(folder)
        _until(lambda: len(acknowledged) >= 1_000)
        server.send_signal(signal.SIGKILL)
        for writer in writers:
            writer.join()
    there = shops.stored_event_ids(folder)
    assert len(there) == len(set(there))
    assert set(acknowledged) <= set(there)


def on(folder: Path, url: str) -> None:
    """Let the shop keep its tables there."""
    folder.mkdir(exist_ok=True)
    (folder / "vetrina.toml").write_text(f'[store]\nurl = "{url}"\n')


@contextmanager
def controlled(folder: Path) -> Iterator[None]:
    """A controller in a process of its own."""
    controller, _ = start_command(folder, "operate")
    yield
    controller.kill()
    controller.wait()


@contextmanager
def serving(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A server in a process of its own."""
    server, address = start_command(folder, "serve", "--port", "0")
    yield server, address
    server.kill()
    server.wait()


def cut_connections(folder: Path) -> None:
    """End every other connection to the database."""
    shop = ShopFolder(folder)
    engine = open_store(shop.store_url, shop.keys)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            others = "datname = current_database() AND pid != pg_backend_pid()"
            connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))
        else:
            mine = connection.execute(text("SELECT connection_id()")).scalar()
            query = "SELECT id FROM information_schema.processlist WHERE db = database()"
            for (other,) in connection.execute(text(query)).all():
                if other != mine:
                    with suppress(DBAPIError):  # gone by itself meanwhile
                        connection.execute(text(f"KILL {other}"))
    engine.dispose()


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert done()


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
                answer = client.post("/v1/events", json=batch)
                while answer.status_code == 503:  # not taken: the same again, as the answer says
                    answer = client.post("/v1/events", json=batch)
            except httpx.TransportError:
                if acknowledged and number > 5:
                    return
                time.sleep(0.05)
                continue
            if answer.status_code == 202:
                acknowledged += [e["event_id"] for e in batch]


@pytest.fixture
def moved(trained, url: str, tmp_path: Path) -> Path:
    """The trained shop with its tables in each database: restored there from a backup of it."""
    copy = shutil.copytree(trained[0], tmp_path / "copy", ignore=shutil.ignore_patterns("work"))
    file = Path(back_up_shop(ShopFolder(copy), tmp_path, "").file)
    restore_shop(file, [], copy / "keys", RestoreTarget(tmp_path / "shop", store_url=url))
    return tmp_path / "shop"


def test_a_backup_taken_while_events_arrive_holds_what_was_acknowledged(moved: Path, tmp_path: Path):
    """Service, controller, an ingest and a clean-up go on; a backup of any database is restored into SQLite."""
    identity, recipient = new_key_pair()
    (tmp_path / "identity").write_text(identity)
    before: dict[Path, list[str]] = {}
    with controlled(moved), serving(moved) as (server, address):
        acknowledged: list[str] = []
        writers = [threading.Thread(target=_post, args=(address, f"b-{n}", acknowledged)) for n in range(4)]
        for writer in writers:
            writer.start()
        for number in range(3):
            _until(lambda number=number: len(acknowledged) >= 200 * (number + 1))
            ingest = subprocess.Popen(command(moved, "ingest"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            file = tmp_path / f"backup-{number}.age"
            before[file] = list(acknowledged)
            words = ("backup", str(file), "--recipient", recipient, "--keys-to", str(file.with_suffix(".keys")))
            done = subprocess.run(command(moved, *words), capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            ingest.wait()
        during = len(acknowledged) - len(before[file])
        assert during > 0, "the writers stood still while the backup was made"
        server.send_signal(signal.SIGKILL)
        for writer in writers:
            writer.join()
    for file, known in before.items():
        into = tmp_path / f"{file.stem}-restored"
        words = (
            "restore",
            str(file),
            "--identity",
            str(tmp_path / "identity"),
            "--keys",
            str(file.with_suffix(".keys")),
        )
        words += ("--into", str(into), "--store-url", "sqlite")
        done = subprocess.run(command(moved, *words), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        shop = Shop(into)
        assert shop.recommend("u003", limit=5).items
        # A lake that is ahead of the log would leave out what arrives next.
        in_lake = last_seqs(load_index(shop.folder.lake))["events"]
        assert in_lake <= event_queries.last_seq(shop.shop_context.engine)
        shop.ingest()
        shop.shop_context.engine.dispose()
        there = shops.stored_event_ids(into)
        assert set(known) <= set(there)
        assert len(there) == len(set(there))
        with serving(into) as (_, address), httpx.Client(base_url=address, timeout=20) as client:
            event = {"user_id": "k", "type": "view", "product_id": "p001", "event_id": "after"}
            assert client.post("/v1/events", json=event).status_code == 202
        assert set(shops.stored_event_ids(into)) == {*there, "after"}


@pytest.mark.parametrize("seed", range(2))
def test_a_backup_and_a_restore_killed_anywhere_leave_nothing_half_done(
    moved: Path, fresh_url: str, tmp_path: Path, seed: int
):
    rng = random.Random(seed)
    target = tmp_path / "target"
    target.mkdir()
    identity, recipient = new_key_pair()
    (tmp_path / "identity").write_text(identity)
    into = tmp_path / "into"
    backup = ("backup", str(target / "backup.age"), "--recipient", recipient)
    killed_until_done(command(moved, *backup), lambda: not (target / "backup.age").exists(), rng)
    after = ("backup", str(target / "after.age"), "--recipient", recipient)
    assert subprocess.run(command(moved, *after), capture_output=True, check=False).returncode == 0
    assert {path.name for path in target.iterdir()} == {"backup.age", "after.age"}
    assert {path.name for path in (moved / "work" / "backup").iterdir()} == {".lock"}

    def is_unusable() -> bool:
        if (into / "keys").exists():
            return False
        if not into.exists() or {path.name for path in into.iterdir()} <= {".restoring"}:
            return True
        refused = subprocess.run(command(into, "versions"), capture_output=True, text=True, check=False)
        return refused.returncode == 2

    restore = (
        "restore",
        str(target / "backup.age"),
        "--identity",
        str(tmp_path / "identity"),
        "--keys",
        str(moved / "keys"),
    )
    restore += ("--into", str(into), "--store-url", fresh_url)
    killed_until_done(command(moved, *restore), is_unusable, rng)
    shop = Shop(into)
    assert shop.recommend("u003", limit=5).items
    for version in shop.shop_context.registry.champions().values():
        shop.folder.bundles.verified_files(version)
    shop.shop_context.engine.dispose()


def killed_until_done(words: list[str], is_undone: Callable[[], bool], rng: random.Random) -> None:
    """Kill a command at random moments, six times unless it is done before, then let it end."""
    for _ in range(6):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.3, 2.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if not is_undone():
            return
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 120 MB; skipped where none can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs rights that are not there")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave_mb: float) -> Path:
    """Take all room but some."""
    ballast = folder / "ballast"
    free = shutil.disk_usage(folder).free - int(leave_mb * 1e6)
    with ballast.open("wb") as file:
        while free > 0:
            free -= file.write(bytes(min(free, 1 << 20)))
    return ballast


@pytest.mark.parametrize("left", [0.05, 0.5, 1.5])
def test_a_run_on_a_full_disk_says_so_and_goes_on_when_there_is_room(small_disk: Path, tmp_path: Path, left: float):
    files = shops.checkerboard(tmp_path, users=40, items=30, days=40)
    folder = small_disk / "shop"
    ingest = ("ingest", "--products", str(files["products"]), "--events", str(files["events"]))
    assert subprocess.run(command(folder, *ingest), capture_output=True, check=False).returncode == 0
    ballast = fill(small_disk, left)
    full = subprocess.run(command(folder, "run", "recommend"), capture_output=True, text=True, check=False)
    assert full.returncode in (2, 75), "a file, or the store, could not be written: there was room after all"
    assert "Traceback" not in full.stderr, full.stderr[-1_000:]
    ballast.unlink()
    done = subprocess.run(command(folder, "run", "recommend"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shop = Shop(folder)
    champion, _ = shop.shop_context.registry.champion("recommend")
    assert len(shop.shop_context.registry.promotions("recommend")) == 1
    shop.folder.bundles.unpack(champion, check_parts=True)
    shop.shop_context.engine.dispose()


def test_events_on_a_full_disk_are_refused_not_lost(trained, small_disk: Path):
    folder = shutil.copytree(trained[0], small_disk / "shop", ignore=shutil.ignore_patterns("work"))
    event = {"user_id": "full", "type": "view", "product_id": "p001"}
    with serving(folder) as (_, address), httpx.Client(base_url=address, timeout=20) as client:
        assert client.post("/v1/events", json={**event, "event_id": "before"}).status_code == 202
        ballast = fill(small_disk, 0.0)
        acknowledged = ["before"]
        refused = 0
        for number in range(400):
            batch = [{**event, "event_id": f"f{number}-{n}"} for n in range(20)]
            status = client.post("/v1/events", json=batch).status_code
            assert status in (202, 503)
            refused += status == 503
            acknowledged += [e["event_id"] for e in batch] if status == 202 else []
            if refused == 3:
                break
        assert refused == 3, "the disk never filled"
        ballast.unlink()
        _until(lambda: client.post("/v1/events", json={**event, "event_id": "after"}).status_code == 202)
    there = shops.stored_event_ids(folder)
    assert set(acknowledged) | {"after"} <= set(there)
    assert len(there) == len(set(there))
