"""Restore of a shop from a backup into an empty folder and an empty database.

Everything is read, compared with the signed manifest and written below ``.restoring`` first. Only then are the tables filled, in
one transaction, and the files moved to their places, the keys last: without keys nothing of a shop can be opened, so that half a
restore is never used, and the next one into the same folder removes it.
"""

import json
import math
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from vetrina.core.errors import BadInput
from vetrina.core.files import PRIVATE_FILE, PRIVATE_FOLDER, exclusive_lock, fsync, write_bytes
from vetrina.core.keys import BadSignature, Keys, load
from vetrina.operate.backup import KEYS_FOLDER, LAYOUTS_FILE, SETTINGS_FILE, STORE_FOLDER
from vetrina.operate.backup_file import (
    BackupEntry,
    BackupHeader,
    BackupReader,
    copy_content,
    damaged,
    read_backup_file,
    refuse_missing,
)
from vetrina.store.database import open_database
from vetrina.store.dump import TableLayout, load_store, refuse_used_database
from vetrina.store.tables import SCHEMA_VERSION

SQLITE_IN_FOLDER = "sqlite"  # in place of a URL: ``store.db`` in the shop's folder
_STAGING = ".restoring"
_STORE_FILE = "store.db"
_MAX_KEY_BYTES = 1 << 16
_MAX_TIME = 2**33  # of a file, in seconds since 1970
_IGNORED_NAMES = frozenset({"lost+found"})  # which every new disk has


@dataclass(frozen=True)
class RestoreSummary:
    """What was restored, or read.

    Attributes:
        header: First entry of the backup.
        entries: Number of its entries, all of them as they were written.
        content_bytes: Their size.
        is_signature_verified: Whether the shop's keys signed it; not known without keys.
        folder: The shop's folder; empty where the backup was only read.
        rows: Rows of the store.
        needs_upgrade: Whether the store has an earlier schema.
    """

    header: BackupHeader
    entries: int
    content_bytes: int
    is_signature_verified: bool
    folder: str = ""
    rows: int = 0
    needs_upgrade: bool = False


@dataclass(frozen=True)
class RestoreTarget:
    """Where a shop is restored to.

    Attributes:
        folder: Its folder: a new or an empty one.
        store_url: Address of its tables, or ``SQLITE_IN_FOLDER``; None for that of its settings.
        bundles_url: Address of its bundles in object storage, empty for its folder; None for that of its settings.
    """

    folder: Path
    store_url: str | None = None
    bundles_url: str | None = None


def read_backup(file: Path, identities: Sequence[str], keys_source: Path | None = None) -> RestoreSummary:
    """Read a backup to its end, compare everything with its manifest, and write nothing.

    Args:
        file: The backup.
        identities: Private keys, one of which opens it.
        keys_source: Backup of the shop's keys, or a folder with them, for the signature; None leaves it unverified.

    Raises:
        BadInput: It cannot be opened, was changed or cut off, or is not of this shop.
    """
    with read_backup_file(file, identities) as reader:
        for _ in reader.entries():
            pass
        if keys_source is not None:
            _verify_signature(reader, _read_keys(keys_source, identities), file)
        return RestoreSummary(reader.header, reader.n_entries, reader.size, keys_source is not None)


def restore_shop(file: Path, identities: Sequence[str], keys_source: Path, target: RestoreTarget) -> RestoreSummary:
    """Restore a shop. Nothing of it can be used before all of it is there.

    Args:
        file: The backup.
        identities: Private keys, one of which opens it.
        keys_source: Backup of the shop's keys, or a folder with them.
        target: Where to.

    Raises:
        BadInput: The backup cannot be opened, was changed or cut off, or is of a later Vetrina; the keys are of another shop; the
            folder or the database is not empty, or cannot be written. Nothing was changed then.
        Conflict: Another restore into the folder is under way.
    """
    refuse_missing(file)
    if target.store_url is not None and not target.store_url.startswith(SQLITE_IN_FOLDER):
        _refuse_used_database(target.store_url)  # before hours of reading; a file would be created for the look
    with _staging_folder(target.folder) as staging:
        staged_shop = staging / "shop"
        keys = _stage_keys(keys_source, identities, staged_shop)
        with read_backup_file(file, identities) as reader:
            _refuse_other_kinds(reader.header, keys, file)
            for entry in reader.entries():
                _stage(entry, staging, str(file))
            # Nothing that the backup says is done before: whoever has the public key could name a database of his own.
            _verify_signature(reader, keys, file)
            summary = RestoreSummary(reader.header, reader.n_entries, reader.size, True)
        _write_settings(staged_shop, target)
        for path in (*staged_shop.rglob("*"), staged_shop):
            fsync(path)
        # From here on nothing takes long: a server's database, once it is filled, is no part of what the next attempt removes.
        n_rows = _load_rows(staging, staged_shop)
        _move_into_place(staged_shop, target.folder)
    return replace(
        summary,
        folder=str(target.folder),
        rows=n_rows,
        needs_upgrade=summary.header.schema < SCHEMA_VERSION,
    )


def _read_keys(source: Path, identities: Sequence[str]) -> Keys:
    """The keys of a folder or of a backup, which leaves no file behind."""
    with tempfile.TemporaryDirectory() as scratch:
        return _stage_keys(source, identities, Path(scratch))


def _stage_keys(source: Path, identities: Sequence[str], staged_shop: Path) -> Keys:
    """Copy the keys of a folder or of a backup into the folder of a shop."""
    folder = staged_shop / KEYS_FOLDER
    folder.mkdir(parents=True, mode=PRIVATE_FOLDER)
    if source.is_dir():
        for file in source.iterdir():
            if file.is_file() and not file.name.startswith("."):
                write_bytes(folder / file.name, file.read_bytes())
    else:
        with read_backup_file(source, identities) as reader:
            if reader.header.kind != "keys":
                raise BadInput(str(source), "is no backup of keys", "give what `vetrina backup --keys-to FILE` wrote")
            for entry in reader.entries():
                name = PurePosixPath(entry.name).name
                if entry.name != f"{KEYS_FOLDER}/{name}":
                    raise damaged(str(source))
                content = entry.content.read(_MAX_KEY_BYTES + 1)
                if len(content) > _MAX_KEY_BYTES:
                    raise damaged(str(source))
                write_bytes(folder / name, content)
    return load(folder)


def _refuse_other_kinds(header: BackupHeader, keys: Keys, file: Path) -> None:
    if header.kind != "shop":
        raise BadInput(str(file), "is a backup of keys alone", "give it with --keys, and the shop's backup as FILE")
    if header.schema > SCHEMA_VERSION:
        rule = f"was made by a later Vetrina ({header.vetrina}, schema {header.schema})"
        raise BadInput(str(file), rule, "upgrade Vetrina on this machine, then repeat")
    if header.keys != keys.fingerprint:
        raise BadInput(
            str(file), "is of a shop with other keys", "give with --keys those of the shop that it was made of"
        )


def _verify_signature(reader: BackupReader, keys: Keys, file: Path) -> None:
    try:
        keys.verify(*reader.signed_manifest())
    except BadSignature:
        rule = "was not signed with these keys"
        raise BadInput(str(file), rule, "give with --keys those of the shop that it was made of") from None


def _stage(entry: BackupEntry, staging: Path, shown_name: str) -> None:
    """Write an entry below the staging folder. The manifest is compared later, so that no name is trusted here."""
    target = _staged_path(entry.name, staging, shown_name)
    if not math.isfinite(entry.modified_at) or abs(entry.modified_at) > _MAX_TIME:
        raise damaged(shown_name)
    target.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    if entry.link:
        source = _staged_path(entry.link, staging, shown_name)
        if not source.is_file() or target.exists():
            raise damaged(shown_name)
        target.hardlink_to(source)
        return
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    except FileExistsError:
        raise damaged(shown_name) from None
    with os.fdopen(handle, "wb") as content:
        copy_content(entry.content, content)
    os.utime(target, (entry.modified_at, entry.modified_at))


def _staged_path(name: str, staging: Path, shown_name: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or "\0" in name or parts[0] in ("/", KEYS_FOLDER, _STORE_FILE):
        raise damaged(shown_name)
    parent = staging if parts[0] == STORE_FOLDER else staging / "shop"
    return parent.joinpath(*parts)


@contextmanager
def _staging_folder(folder: Path) -> Generator[Path]:
    """An empty folder below ``folder``, which is removed at the end. Raises BadInput unless ``folder`` is new or empty."""
    is_new = not folder.exists()
    if not is_new:
        _refuse_used_folder(folder)
    staging = folder / _STAGING
    try:
        staging.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        with exclusive_lock(staging), _removed_unless_whole(folder):
            yield staging
    except OSError as error:
        place = error.filename or folder
        cause = error.strerror or error
        raise BadInput(str(place), f"cannot be used ({cause})", "free space or rights there, then repeat") from None
    finally:
        if is_new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def _removed_unless_whole(folder: Path) -> Generator[None]:
    """Remove what a restore that was killed left in a folder, and at the end what this one left without the keys."""
    _refuse_used_folder(folder)  # again: another restore may have ended since
    _empty(folder)
    try:
        yield
    finally:
        if not (folder / KEYS_FOLDER).exists():
            _empty(folder)
        shutil.rmtree(folder / _STAGING, ignore_errors=True)


def _refuse_used_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise BadInput(str(folder), "is no folder", "name a new or an empty one with --into")
    names = {path.name for path in folder.iterdir()} - _IGNORED_NAMES
    has_half_a_restore = _STAGING in names and KEYS_FOLDER not in names
    if names and not has_half_a_restore:
        raise BadInput(str(folder), "is not empty", "name a new or an empty folder with --into")


def _empty(folder: Path) -> None:
    """Remove everything from a folder that was empty before a restore, but for the lock of the restore under way."""
    for path in (*folder.iterdir(), *(folder / _STAGING).iterdir()):
        if path.name in _IGNORED_NAMES or path.name in (_STAGING, ".lock"):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _move_into_place(staged_shop: Path, folder: Path) -> None:
    fsync(staged_shop)
    names = {path.name for path in staged_shop.iterdir()} - {KEYS_FOLDER}
    for name in (*sorted(names), KEYS_FOLDER):
        (staged_shop / name).rename(folder / name)
    fsync(folder)


def _load_rows(staging: Path, staged_shop: Path) -> int:
    """Fill the tables of the database that the settings name; returns the number of rows."""
    layouts = msgspec.json.decode((staging / LAYOUTS_FILE).read_bytes(), type=list[TableLayout])
    engine = open_database(_store_url(staged_shop))
    try:
        return load_store(engine, layouts, _pages(staging, layouts))
    finally:
        engine.dispose()


def _pages(staging: Path, layouts: Sequence[TableLayout]) -> Iterator[tuple[str, bytes]]:
    for layout in layouts:
        for file in sorted((staging / STORE_FOLDER / layout.name).glob("*.msgpack")):
            yield layout.name, file.read_bytes()


def _refuse_used_database(url: str) -> None:
    engine = open_database(url)
    try:
        refuse_used_database(engine)
    finally:
        engine.dispose()


def _store_url(staged_shop: Path) -> str:
    """Address of the tables by the settings, which may be those of an earlier version."""
    own_store = f"sqlite:///{staged_shop / _STORE_FILE}"
    file = staged_shop / SETTINGS_FILE
    if not file.exists():
        return own_store
    return _parse(file.read_text("utf-8")).get("store", {}).get("url", "") or own_store


def _write_settings(staged_shop: Path, target: RestoreTarget) -> None:
    """Let the settings name the store and the bundles of the restored shop."""
    file = staged_shop / SETTINGS_FILE
    text = file.read_text("utf-8") if file.exists() else ""
    if target.store_url is not None:
        url = "" if target.store_url == SQLITE_IN_FOLDER else target.store_url
        text = with_setting(text, "store", "url", url)
    if target.bundles_url is not None:
        text = with_setting(text, "store", "bundles", target.bundles_url)
    if text:
        write_bytes(file, text.encode())


def with_setting(text: str, table: str, name: str, value: str) -> str:
    """The text of a TOML file with another value of a setting; everything else stays, comments included.

    Args:
        text: The file.
        table: Name of the table.
        name: Name of the setting.
        value: The new value.

    Raises:
        BadInput: The setting is written in a way that is not understood.
    """
    expected = _parse(text)
    expected.setdefault(table, {})[name] = value
    lines = text.splitlines()
    new_line = f"{name} = {json.dumps(value, ensure_ascii=False)}"
    headers = [number for number, line in enumerate(lines) if re.match(rf"\s*\[\s*{table}\s*\]", line)]
    if not headers:
        lines += ["", f"[{table}]", new_line]
    else:
        _set_in_table(lines, headers[0] + 1, name, new_line)
    changed = "\n".join(lines) + "\n"
    try:
        is_as_expected = tomllib.loads(changed) == expected
    except tomllib.TOMLDecodeError:
        is_as_expected = False
    if not is_as_expected:
        rule = f"has [{table}] {name} in a form that cannot be replaced"
        raise BadInput(SETTINGS_FILE, rule, f"restore without that option, then change {name} by hand")
    return changed


def _set_in_table(lines: list[str], start: int, name: str, new_line: str) -> None:
    """Replace the line of a setting in the table that begins at a line, or insert it there."""
    for number in range(start, len(lines)):
        if lines[number].lstrip().startswith("["):
            break
        if re.match(rf"\s*{name}\s*=", lines[number]):
            lines[number] = new_line
            return
    lines.insert(start, new_line)


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(
            SETTINGS_FILE, f"is no TOML ({error})", "correct it in the shop, then take another backup"
        ) from None
