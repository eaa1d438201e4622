"""The store and the shop's folder: who waits for whom, what is proved, who may read it."""

import base64
import os
import pickle
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import delete, event, func, select

from vetrina.cli.main import cli
from vetrina.core.errors import BadInput, VetrinaError
from vetrina.pipeline.steps import Journal, run_durably
from vetrina.security.keys import BadSignature, load_or_create
from vetrina.store.database import open_store
from vetrina.store.registry import Registry
from vetrina.store.shop_folder import ShopFolder
from vetrina.store.tables import promotions

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


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="S27: on SQLite, reading takes the write lock")
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


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="S46: the journal of runs is pickled and not signed")
def test_who_writes_the_journal_of_runs_runs_no_code(tmp_path):
    """S46: the results of steps are read as data, whatever somebody wrote in their place."""

    def work(journal: Journal) -> int:
        return journal.step("add", lambda: 1 + 1)

    url = f"sqlite:///{tmp_path / 'store.db'}"
    mark = tmp_path / "code was run"
    run_durably("cut off", work, tmp_path, url)
    content = base64.b64encode(pickle.dumps(Intruder(mark))).decode()
    with sqlite3.connect(tmp_path / "runs.db") as journal:
        journal.execute("UPDATE workflow_status SET status = 'PENDING', completed_at = NULL")
        journal.execute("UPDATE operation_outputs SET output = ?, serialization = 'py_pickle'", [content])
    with suppress(Exception):  # whatever the run says of its journal
        run_durably("cut off", work, tmp_path, url)
    assert not mark.exists()


@pytest.mark.xfail(strict=True, raises=DID_NOT_RAISE, reason="S29: missing keys are made anew without a word")
def test_a_shop_without_its_keys_is_refused(own_shop):
    """S29: where there is a store, a lake or a bundle, keys that are missing are an error."""
    shutil.rmtree(own_shop / "keys")
    with pytest.raises(BadInput):
        _ = ShopFolder(own_shop).keys


# Who may read it


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """New files are readable by everybody, as on most systems."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="S51: the store is readable by everybody on the machine")
@pytest.mark.usefixtures("usual_umask")
def test_other_users_of_the_machine_cannot_read_the_store(tmp_path, keys):
    """S51: a store on SQLite is its owner's alone."""
    file = tmp_path / "store.db"
    open_store(f"sqlite:///{file}", keys).dispose()
    assert not file.stat().st_mode & OTHERS


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="S51: vetrina.toml is readable by everybody on the machine"
)
@pytest.mark.usefixtures("usual_umask")
def test_other_users_of_the_machine_cannot_read_the_settings(tmp_path):
    """S51: vetrina.toml, which may hold passwords, is its owner's alone."""
    CliRunner().invoke(cli, ["init", str(tmp_path / "shop")], catch_exceptions=False)
    assert not (tmp_path / "shop" / "vetrina.toml").stat().st_mode & OTHERS


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="S51: a folder of keys that others may read is left as it is"
)
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
