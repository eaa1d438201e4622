"""`vetrina upgrade`: the store of an earlier version, after a backup of the shop, changed step by step."""

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
from vetrina.operate.backup import back_up_shop
from vetrina.operate.restore import RestoreTarget, restore_shop
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


def test_the_command_backs_up_then_upgrades_and_a_dry_run_does_neither(old, tmp_path):
    before = (old.root / "store.db").read_bytes()
    dry = vetrina(old, "upgrade", "--dry-run")
    assert (dry.returncode, (old.root / "store.db").read_bytes()) == (0, before)
    assert len(dry.stdout.splitlines()) > SCHEMA_VERSION - 1, "a line for each step"

    assert vetrina(old, "upgrade").returncode == 0
    (backup,) = (old.root / "backups").iterdir()
    assert not backup.stat().st_mode & 0o077
    open_store(old.store_url, old.keys).dispose()
    assert "nothing to do" in vetrina(old, "upgrade").stdout
    assert list((old.root / "backups").iterdir()) == [backup]

    way_back = ("restore", str(backup), "--keys", str(old.root / "keys"), "--into", str(tmp_path / "back"))
    assert vetrina(old, *way_back).returncode == 0
    assert schema_in(tmp_path / "back" / "store.db") == 1
    assert rows_and_tables(tmp_path / "back" / "store.db") == rows_and_tables_of_bytes(before, tmp_path / "before.db")


def rows_and_tables(file: Path) -> dict[str, tuple[list[str], list[tuple[object, ...]]]]:
    """Columns and rows of each table of a SQLite file that holds any."""
    content = {}
    with sqlite3.connect(file) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            cursor = connection.execute(f'SELECT * FROM "{name}"')
            rows = cursor.fetchall()
            if rows:
                content[name] = ([column[0] for column in cursor.description], sorted(rows))
    return content


def rows_and_tables_of_bytes(content: bytes, file: Path) -> dict[str, tuple[list[str], list[tuple[object, ...]]]]:
    """The same of a SQLite file's bytes."""
    file.write_bytes(content)
    return rows_and_tables(file)


def test_an_upgrade_whose_backup_fails_changes_nothing(old):
    (old.root / "vetrina.toml").write_text('[backup]\nto = "not-there/backups"\n')
    done = vetrina(old, "upgrade")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert schema_in(old.root / "store.db") == 1
    assert vetrina(old, "upgrade", "--no-backup").returncode == 0


def test_a_store_on_a_server_is_backed_up_first_too(url, old, tmp_path):
    """The shop of 0.1.0 on each database; the backup of it is restored into SQLite as it was."""
    (old.root / "backups").mkdir()
    file = Path(back_up_shop(old, old.root / "backups", "").file)
    target = RestoreTarget(tmp_path / "moved", store_url=url)
    assert restore_shop(file, [], old.root / "keys", target).needs_upgrade
    moved = ShopFolder(tmp_path / "moved")
    done = vetrina(moved, "upgrade")
    assert done.returncode == 0, done.stderr
    open_store(moved.store_url, moved.keys).dispose()
    (backup,) = (moved.root / "backups").iterdir()
    way_back = RestoreTarget(tmp_path / "back", store_url="sqlite")
    restore_shop(backup, [], moved.root / "keys", way_back)
    assert rows_and_tables(tmp_path / "back" / "store.db") == rows_and_tables(old.root / "store.db")


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
            if stored_schema(engine) != SCHEMA_VERSION:
                with pytest.raises(BadInput, match="vetrina upgrade"):
                    open_store(shop.store_url, shop.keys)
            upgrade_shop(shop.store_url, shop.keys)
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
        upgrade_shop(old.store_url, load_or_create(tmp_path / "keys"))
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
        upgrade_shop(url, keys)


def test_where_there_is_no_store_nothing_is_made(tmp_path, keys):
    with pytest.raises(BadInput, match="does not exist"):
        upgrade_shop(f"sqlite:///{tmp_path / 'store.db'}", keys)
    assert not (tmp_path / "store.db").exists()
