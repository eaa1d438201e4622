"""`vetrina upgrade`: the store of an earlier version, copied first, then changed step by step."""

import itertools
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, text

from vetrina.core.errors import BadInput
from vetrina.core.keys import Keys, load_or_create
from vetrina.store.database import open_older_store, open_store, stored_schema, upgrade_store
from vetrina.store.shop_folder import ShopFolder
from vetrina.store.tables import SCHEMA_VERSION
from vetrina.store.upgrade import upgrade_shop

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def old(tmp_path) -> ShopFolder:
    """The shop of 0.1.0, as it was left."""
    with tarfile.open(FIXTURES / "shop-0.1.0.tar.gz") as file:
        file.extractall(tmp_path, filter="data")
    return ShopFolder(tmp_path / "shop")


@pytest.fixture
def keys(tmp_path) -> Keys:
    """Keys of a new shop."""
    return load_or_create(tmp_path / "keys")


def vetrina(shop: ShopFolder, *words: str) -> "subprocess.CompletedProcess[str]":
    """The command, in a process of its own."""
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(shop.root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def schema_in(file: Path) -> int:
    """The schema that a SQLite file says it has."""
    with sqlite3.connect(file) as connection:
        return connection.execute("SELECT version FROM schema_version").fetchone()[0]


@pytest.mark.parametrize("words", [("versions",), ("serve", "--port", "0")])
def test_an_older_store_is_refused_with_one_line_that_names_the_command(old, words):
    done = vetrina(old, *words)
    assert done.returncode == 2
    assert "vetrina upgrade" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert schema_in(old.root / "store.db") == 1


def test_the_command_copies_then_upgrades_and_a_dry_run_does_neither(old):
    before = (old.root / "store.db").read_bytes()
    dry = vetrina(old, "upgrade", "--dry-run")
    assert (dry.returncode, (old.root / "store.db").read_bytes()) == (0, before)
    assert len(dry.stdout.splitlines()) > SCHEMA_VERSION - 1, "a line for each step"

    assert vetrina(old, "upgrade").returncode == 0
    (copy,) = old.root.glob("store.db.schema-1.*Z")
    assert schema_in(copy) == 1
    assert not copy.stat().st_mode & 0o077
    open_store(old.store_url, old.keys).dispose()
    assert "nothing to do" in vetrina(old, "upgrade").stdout
    assert list(old.root.glob("store.db.schema-*Z")) == [copy]


def test_a_database_on_a_server_is_not_called_copied(url, keys):
    engine = open_store(url, keys)
    with engine.begin() as connection:
        connection.execute(text("UPDATE schema_version SET version = 3"))
    engine.dispose()
    if url.startswith("sqlite"):
        assert upgrade_shop(url, keys, is_copied=False).copy is not None
        return
    with pytest.raises(BadInput, match="--copied"):
        upgrade_shop(url, keys, is_copied=False)
    done = upgrade_shop(url, keys, is_copied=True)
    assert (done.copy, done.from_schema) == (None, 3)
    open_store(url, keys).dispose()


class Killed(BaseException):
    """The process ends here."""


def killed_at(engine: Engine, statement: int) -> None:
    """Let the process end before a statement of this number; -1 for never."""
    numbers = itertools.count()

    def execute(*_: object) -> None:
        if next(numbers) == statement:
            raise Killed

    event.listen(engine, "before_cursor_execute", execute)


def test_an_upgrade_killed_anywhere_goes_on(old, tmp_path):
    """The same command does the rest, whatever was done already."""
    survived = 0
    finished = False
    while not finished:
        shop = ShopFolder(shutil.copytree(old.root, tmp_path / f"killed at {survived}"))
        engine = open_older_store(shop.store_url)
        killed_at(engine, survived)
        try:
            upgrade_store(engine, shop.keys)
            finished = True
        except Killed:
            upgrade_shop(shop.store_url, shop.keys, is_copied=True)
        engine.dispose()
        open_store(shop.store_url, shop.keys).dispose()
        survived += 7  # statements; each of them would take too long
    assert survived > 7


def test_where_ddl_commits_by_itself_an_upgrade_goes_on_too(url, keys):
    """Every step finds what it would add already there, as after a crash between its end and its record."""
    engine = open_store(url, keys)
    with engine.begin() as connection:
        connection.execute(text("UPDATE schema_version SET version = 3"))
    upgrade_store(engine, keys)
    assert stored_schema(engine) == SCHEMA_VERSION
    engine.dispose()


def test_the_keys_of_another_shop_upgrade_nothing(old, tmp_path):
    with pytest.raises(BadInput, match="other keys"):
        upgrade_shop(old.store_url, load_or_create(tmp_path / "keys"), is_copied=True)
    assert schema_in(old.root / "store.db") == 1, "no step was done: pseudonyms of other keys fit nothing"
    with pytest.raises(BadInput, match="vetrina upgrade"):
        open_store(old.store_url, old.keys)


def test_the_store_of_a_later_version_is_left_alone(tmp_path, keys):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    engine = open_store(url, keys)
    with engine.begin() as connection:
        connection.execute(text("UPDATE schema_version SET version = 99"))
    engine.dispose()
    with pytest.raises(BadInput, match="later Vetrina"):
        upgrade_shop(url, keys, is_copied=True)


def test_where_there_is_no_store_nothing_is_made(tmp_path, keys):
    with pytest.raises(BadInput, match="does not exist"):
        upgrade_shop(f"sqlite:///{tmp_path / 'store.db'}", keys, is_copied=False)
    assert not (tmp_path / "store.db").exists()
