"""The store and the shop's folder: who waits for whom, what is proved, who may read it."""

import os
import pickle
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from sqlalchemy import delete, event, func, select, update

from vetrina.cli.main import cli
from vetrina.core.errors import BadInput, VetrinaError
from vetrina.core.keys import BadSignature, load_or_create
from vetrina.pipeline.steps import StoredJournal
from vetrina.store.database import open_store
from vetrina.store.registry import Registry
from vetrina.store.run_steps import StepResultStore
from vetrina.store.shop_folder import ShopFolder
from vetrina.store.tables import promotions, run_steps

pytestmark = pytest.mark.security

DID_NOT_RAISE = pytest.fail.Exception
OTHERS = 0o077  # what group and others may do
PATIENCE_MS = 50


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Hold the lock of somebody who writes to a store on SQLite."""
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


# Who waits for whom


@pytest.mark.parametrize(
    ("route", "status"),
    [
        ("/v1/versions", 200),
        ("/v1/releases", 200),
        ("/v1/releases/unknown", 404),
        ("/v1/verdicts/unknown", 404),
    ],
)
def test_who_reads_does_not_wait_for_who_writes(own_shop, own_client, token, route, status):
    """S27: routes that read are answered while another process writes."""

    def patience(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA busy_timeout={PATIENCE_MS}")

    event.listen(own_client.app.state.service.engine, "checkout", patience)
    with writing(own_shop / "store.db"):
        answer = own_client.get(route, headers=token)
    assert answer.status_code == status


# What is proved


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="S44: the pointer is neither signed nor compared with its log"
)
def test_a_pointer_that_somebody_moved_in_the_database_is_not_followed(own_shop, own_client):
    """S44: workers serve the version that the signed log of promotions names last."""
    champion = own_client.get("/readyz").json()["serving"]["recommend"]
    packed = [folder.name for folder in (own_shop / "bundles").glob("recommend-*")]
    other = next(version for version in packed if version != champion)
    with sqlite3.connect(own_shop / "store.db") as store:
        store.execute("UPDATE champions SET version = ? WHERE scenario = 'recommend'", [other])
    with suppress(VetrinaError):
        own_client.app.state.service.follower.refresh()
    assert own_client.get("/readyz").json()["serving"]["recommend"] == champion


@pytest.mark.xfail(strict=True, raises=DID_NOT_RAISE, reason="S44: the end of the log of promotions can be cut off")
def test_a_log_of_promotions_that_lacks_its_end_is_refused(engine, keys):
    """S44: entries removed from the end of the log break its verification."""
    registry = Registry(engine, keys)
    for version in ("first", "second"):
        registry.set_champion("recommend", version, "promoted by hand")
    last = select(func.max(promotions.c.seq)).scalar_subquery()
    with engine.begin() as connection:
        connection.execute(delete(promotions).where(promotions.c.seq == last))
    with pytest.raises(BadSignature):
        registry.promotions("recommend")


class Intruder:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple:
        """What unpickling calls."""
        return os.mkdir, (str(self._folder),)


def test_who_writes_the_results_of_steps_runs_no_code(tmp_path, engine, keys):
    """S46: the results of steps are read as data, whatever somebody wrote in their place."""
    mark = tmp_path / "code was run"
    results = StepResultStore(engine, keys, "cut off", 1)
    assert StoredJournal(results).step("add", int, lambda: 1 + 1) == 2
    with engine.begin() as connection:
        connection.execute(update(run_steps).values(result=pickle.dumps(Intruder(mark))))
    assert StoredJournal(results).step("add", int, lambda: 1 + 2) == 3, "it is refused, and the step is done again"
    assert not mark.exists()
    assert not (tmp_path / "runs.db").exists(), "there is one database"


def test_who_writes_the_results_of_steps_changes_no_verdict(engine, keys):
    """S46: the results of steps are signed, so that nobody but the shop writes a verdict."""
    results = StepResultStore(engine, keys, "cut off", 1)
    StoredJournal(results).step("gate", str, lambda: "fail")
    with engine.begin() as connection:
        connection.execute(update(run_steps).values(result=msgspec.msgpack.encode("pass")))
    assert StoredJournal(results).step("gate", str, lambda: "fail") == "fail"


def test_a_shop_without_its_keys_is_refused(own_shop):
    """S29: where there is a store, a lake or a bundle, keys that are missing are an error."""
    shutil.rmtree(own_shop / "keys")
    with pytest.raises(BadInput):
        _ = ShopFolder(own_shop).keys


def test_a_shop_that_lost_one_of_its_keys_is_refused_and_makes_no_other(own_shop):
    """S29: a key that is missing is named, and what is there stays as it was."""
    (own_shop / "keys" / "sealing.key").unlink()
    with pytest.raises(BadInput, match=r"sealing\.key"):
        _ = ShopFolder(own_shop).keys
    assert not (own_shop / "keys" / "sealing.key").exists()


def test_processes_that_start_a_new_shop_together_have_the_same_keys(tmp_path):
    """S29: none of them replaces a key that another one has written."""
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda _: load_or_create(tmp_path / "keys"), range(4)))
    assert all(keys == loaded[0] for keys in loaded)


def test_two_shops_do_not_share_a_store(engine, keys, tmp_path):
    """S30: a store belongs to the keys that it was made with."""
    url = str(engine.url)
    with pytest.raises(BadInput, match="another shop"):
        open_store(url, load_or_create(tmp_path / "another shop" / "keys"))
    open_store(url, keys).dispose()


def test_keys_are_not_printed(keys):
    """S54: what is logged of keys names none of them."""
    assert repr(keys) == "Keys()"


# Who may read it


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """New files are readable by everybody, as on most systems."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("usual_umask")
def test_other_users_of_the_machine_cannot_read_the_store(tmp_path, keys):
    """S51: a store on SQLite is its owner's alone."""
    file = tmp_path / "store.db"
    open_store(f"sqlite:///{file}", keys).dispose()
    assert not file.stat().st_mode & OTHERS


@pytest.mark.usefixtures("usual_umask")
def test_other_users_of_the_machine_cannot_read_the_settings(tmp_path):
    """S51: vetrina.toml, which may hold passwords, is its owner's alone."""
    CliRunner().invoke(cli, ["init", str(tmp_path / "shop")], catch_exceptions=False)
    assert not (tmp_path / "shop" / "vetrina.toml").stat().st_mode & OTHERS


def test_a_folder_of_keys_that_others_may_read_is_closed_or_refused(tmp_path):
    """S51: keys are not used while their folder is open to others."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    used = False
    with suppress(BadInput):
        load_or_create(folder)
        used = True
    closed = not folder.stat().st_mode & OTHERS
    assert closed or not used
