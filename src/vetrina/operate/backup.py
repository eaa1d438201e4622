"""Backup of a shop while it runs: its store at one moment, and the files that belong to that moment.

The store is read in one transaction. Its files are hard-linked into ``work/backup`` at that moment, so that nobody who ingests,
trains or cleans up waits for the copy, and nothing that they remove is missing from it. The keys are no part of a shop's backup:
they have one of their own.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from sqlalchemy import Connection, inspect, select

from vetrina.core import clock
from vetrina.core.errors import BadInput, Conflict, NotFound
from vetrina.core.files import (
    PRIVATE_FILE,
    exclusive_lock,
    fsync,
    waiting_lock,
    waiting_shared_lock,
)
from vetrina.core.keys import BadSignature, load
from vetrina.core.progress import NoProgress, Progress
from vetrina.core.version import VERSION
from vetrina.data.images import IMAGE_FOLDER
from vetrina.operate.age import new_key_pair
from vetrina.operate.backup_file import (
    FORMAT,
    HEADER,
    BackupHeader,
    BackupWriter,
    read_backup_file,
    write_backup_file,
)
from vetrina.operate.backup_names import backup_target, refuse_existing
from vetrina.store.database import consistent_read, open_older_store, refuse_other_keys, stored_schema
from vetrina.store.dump import row_pages, table_layouts
from vetrina.store.registry import Registry, replay_promotions
from vetrina.store.rollouts import running_versions_in
from vetrina.store.shop_folder import ShopFolder
from vetrina.store.tables import champions, rollouts, versions

SETTINGS_FILE = "vetrina.toml"
STORE_FOLDER = "store"  # in a backup: the rows of the store
LAYOUTS_FILE = f"{STORE_FOLDER}/layouts.json"
KEYS_FOLDER = "keys"
_PARTIAL_SUFFIX = ".vetrina-partial"
_SNAPSHOT_NAME_LENGTH = 16  # hex digits of the digest


@dataclass(frozen=True)
class BackupSummary:
    """What a backup holds.

    Attributes:
        file: Where it lies.
        file_bytes: Size of the file.
        content_bytes: Size of what is in it.
        rows: Rows of the store.
        versions: Versions whose bundles are in it.
        left_out: Versions whose bundles should be in it, and why they are not.
    """

    file: str
    file_bytes: int
    content_bytes: int
    rows: int = 0
    versions: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass
class _PinnedShop:
    """Files of a shop at one moment, hard-linked into a folder, and what is known of them."""

    folder: Path
    versions: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def pin(self, root: Path, file: Path) -> None:
        """Keep a file, whatever happens to its name in the shop's folder ``root``."""
        target = self.folder / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            return
        try:
            target.hardlink_to(file)
        except OSError:  # on another disk, or one without links
            shutil.copy2(file, target)

    def files(self) -> list[Path]:
        """All pinned files, in the order of their names."""
        return [file for file in sorted(self.folder.rglob("*")) if file.is_file()]


def back_up_shop(shop: ShopFolder, to: Path, recipient: str, progress: Progress | None = None) -> BackupSummary:
    """Write a backup of a shop, without its keys, and read it back.

    Args:
        shop: The shop; everything that uses it may go on.
        to: The new file, or a folder in which it gets a name.
        recipient: Public key of age; empty for a backup that is not encrypted.
        progress: Where the progress is reported.

    Raises:
        BadInput: There is no shop, the file exists or cannot be written, or what was read back is not what was written.
        Conflict: Another backup is under way.
    """
    engine = open_older_store(shop.store_url)
    try:
        schema = stored_schema(engine)
        if schema is None:
            raise BadInput(str(shop.root), "holds no shop to back up", "name its folder with --shop-dir")
        refuse_other_keys(engine, shop.keys)
        target = backup_target(shop, to, is_encrypted=bool(recipient))
        # One at a time: what one that was killed has pinned is removed first.
        with exclusive_lock(_work_folder(shop)), _pinned_files(shop) as pinned, ExitStack() as transaction:
            with waiting_shared_lock(shop.root):  # nothing is removed
                with waiting_lock(shop.lake):  # and nothing added to the lake, which may not be ahead of the store
                    connection = transaction.enter_context(consistent_read(engine))
                    moment = clock.now()
                    _refuse_missing_lake(shop, connection)
                    _pin_folder(pinned, shop.root, shop.lake)
                _pin_settings(pinned, shop)
                _pin_folder(pinned, shop.root, shop.root / IMAGE_FOLDER)
                _pin_versions(pinned, shop, connection)

            def write(writer: BackupWriter) -> int:
                n_rows = _write_store(writer, connection)
                transaction.close()  # the store's log may be shortened again
                _write_files(writer, pinned, progress or NoProgress())
                return n_rows

            header = BackupHeader(FORMAT, "shop", VERSION, schema, moment, shop.keys.fingerprint)
            content_bytes, n_rows = _write_and_verify(target, recipient, header, write, shop.keys.sign)
        return BackupSummary(
            file=str(target),
            file_bytes=target.stat().st_size,
            content_bytes=content_bytes,
            rows=n_rows,
            versions=tuple(pinned.versions),
            left_out=tuple(pinned.left_out),
        )
    finally:
        engine.dispose()


def back_up_keys(shop: ShopFolder, to: Path, recipient: str) -> BackupSummary:
    """Write an encrypted backup of a shop's keys, and read it back.

    Args:
        shop: The shop.
        to: The new file, or a folder in which it gets a name.
        recipient: Public key of age.

    Raises:
        BadInput: Keys are missing, or the file exists or cannot be written.
    """
    keys_folder = shop.root / KEYS_FOLDER
    keys = load(keys_folder)
    target = backup_target(shop, to, is_encrypted=True, purpose="-keys")
    header = BackupHeader(FORMAT, "keys", VERSION, 0, clock.now(), keys.fingerprint)

    def write(writer: BackupWriter) -> int:
        for file in sorted(keys_folder.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                writer.add_file(f"{KEYS_FOLDER}/{file.name}", file)
        return 0

    content_bytes, _ = _write_and_verify(target, recipient, header, write, keys.sign)
    return BackupSummary(str(target), target.stat().st_size, content_bytes)


def remove_abandoned_pins(shop: ShopFolder) -> None:
    """Remove the files that a backup which was killed keeps from being freed."""
    if _pins_of(shop).exists():
        with contextlib.suppress(Conflict), exclusive_lock(_work_folder(shop)):  # else they are those of one under way
            shutil.rmtree(_pins_of(shop), ignore_errors=True)


def _work_folder(shop: ShopFolder) -> Path:
    return shop.work / "backup"


def _pins_of(shop: ShopFolder) -> Path:
    return _work_folder(shop) / "files"


@contextmanager
def _pinned_files(shop: ShopFolder) -> Generator[_PinnedShop]:
    folder = _pins_of(shop)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield _PinnedShop(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_missing_lake(shop: ShopFolder, connection: Connection) -> None:
    """Raise BadInput on a machine that shares the store of a shop, but not its lake."""
    if not shop.has_lake and connection.execute(select(versions.c.version).limit(1)).first():
        rule = "has no lake/, without which a backup is not whole"
        raise BadInput(str(shop.root), rule, "take the backup on the machine that has it")


def _pin_folder(pinned: _PinnedShop, root: Path, folder: Path) -> None:
    """Pin the files of a folder, but for those that somebody is writing, whose names begin with a dot."""
    for file in folder.rglob("*"):
        if file.is_file() and not file.name.startswith("."):
            pinned.pin(root, file)


def _pin_settings(pinned: _PinnedShop, shop: ShopFolder) -> None:
    """Pin the settings and the model file that they name, if it lies in the shop's folder. An editor may change both in place."""
    root = Path(os.path.abspath(shop.root))
    files = [root / SETTINGS_FILE]
    if shop.settings.predict.onnx:
        onnx_file = Path(os.path.abspath(root / shop.settings.predict.onnx))  # the setting may be absolute
        if onnx_file.is_relative_to(root):
            files.append(onnx_file)
    for file in files:
        if file.is_file():
            target = pinned.folder / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)


def _pin_versions(pinned: _PinnedShop, shop: ShopFolder, connection: Connection) -> None:
    """Pin bundles and snapshots of what serves, is being released, or can be rolled back to."""
    for version in sorted(_versions_in_use(pinned, shop, connection)):
        row = connection.execute(select(versions).where(versions.c.version == version)).first()
        bundles = {version}
        if row is not None:
            bundles.add(row.judged)
            _pin_folder(pinned, shop.root, shop.snapshots / row.snapshot[:_SNAPSHOT_NAME_LENGTH])
        try:
            for bundle in sorted(bundles):
                for file in shop.bundles.verified_files(bundle):
                    pinned.pin(shop.root, file)
            pinned.versions.append(version)
        except (NotFound, BadSignature, OSError) as error:
            pinned.left_out.append(f"{version} ({error})")


def _versions_in_use(pinned: _PinnedShop, shop: ShopFolder, connection: Connection) -> set[str]:
    registry = Registry(connection.engine, shop.keys)
    in_use: set[str] = set()
    for champion in connection.execute(select(champions)).all():
        in_use.add(champion.version)
        try:
            previous = replay_promotions(registry.promotions_in(connection, champion.scenario)).previous
        except BadSignature as error:  # a shop that somebody changed needs its backup most
            pinned.left_out.append(f"the version before {champion.version} ({error})")
            continue
        if previous is not None:
            in_use.add(previous)
    if inspect(connection).has_table(rollouts.name):  # not in 0.1.0
        in_use |= running_versions_in(connection)
    return in_use


def _write_store(writer: BackupWriter, connection: Connection) -> int:
    """Write layouts and rows of the store; returns the number of rows."""
    layouts = table_layouts(connection)
    writer.add_bytes(LAYOUTS_FILE, msgspec.json.encode(layouts))
    n_rows = 0
    for layout in layouts:
        for number, page in enumerate(row_pages(connection, layout)):
            writer.add_bytes(f"{STORE_FOLDER}/{layout.name}/{number:06d}.msgpack", page.content)
            n_rows += page.n_rows
    return n_rows


def _write_files(writer: BackupWriter, pinned: _PinnedShop, progress: Progress) -> None:
    files = pinned.files()
    total_bytes = sum(file.stat().st_size for file in files)
    with progress.step("backing up files", max(total_bytes, 1)) as step:
        for file in files:
            writer.add_file(str(file.relative_to(pinned.folder)), file)
            step.advance(file.stat().st_size)


def _write_and_verify(
    target: Path,
    recipient: str,
    header: BackupHeader,
    write: Callable[[BackupWriter], int],
    sign: Callable[[bytes], str],
) -> tuple[int, int]:
    """Write a backup under a temporary name, read it back, and give it its name.

    It is encrypted to a second key, too, that nobody but this process ever has: with it what lies on the disk is decrypted, and
    every digest is compared.

    Args:
        target: The file.
        recipient: Public key of age; empty for no encryption.
        header: First entry.
        write: Writes the other entries; returns the number of rows.
        sign: Signs the manifest.

    Returns:
        The size of the content, and the number of rows.
    """
    recipients: list[str] = []
    identities: list[str] = []
    if recipient:
        own_identity, own_recipient = new_key_pair()
        recipients = [recipient, own_recipient]
        identities = [own_identity]
    with _partial_file(target) as partial:
        with write_backup_file(partial, recipients) as writer:
            writer.add_bytes(HEADER, msgspec.json.encode(header))
            n_rows = write(writer)
            content_bytes = writer.finish(sign)
        fsync(partial)
        _drop_from_cache(partial)
        _verify(partial, identities, target)
    return content_bytes, n_rows


def _verify(file: Path, identities: Sequence[str], target: Path) -> None:
    with read_backup_file(file, identities, str(target)) as reader:
        for _ in reader.entries():
            pass


def _drop_from_cache(file: Path) -> None:
    """Let the next reader of a file read the disk, where the system can be asked for it."""
    if not hasattr(os, "posix_fadvise"):
        return
    with file.open("rb") as content:
        os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def _partial_file(target: Path) -> Generator[Path]:
    """A file beside ``target`` that gets its name on success and is removed otherwise. Raises BadInput if it cannot be written.

    Whoever writes it holds a lock on it, so that the next backup into the same folder knows which ones killed processes left.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}{_PARTIAL_SUFFIX}")
    try:
        _remove_abandoned_files(target.parent)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not partial.exists():
                raise Conflict(str(partial), "was removed by another backup that began just now", "repeat")
            yield partial
            refuse_existing(target)
            partial.replace(target)
            fsync(target.parent)
        finally:
            partial.unlink(missing_ok=True)
            os.close(handle)
    except OSError as error:
        place = error.filename or target
        cause = error.strerror or error
        raise BadInput(str(place), f"cannot be used ({cause})", "free space or rights there, then repeat") from None


def _remove_abandoned_files(folder: Path) -> None:
    for file in folder.glob(f".*{_PARTIAL_SUFFIX}"):
        # It is being written, has just been finished, or is another user's, who may back up other shops in this folder.
        with contextlib.suppress(BlockingIOError, FileNotFoundError, PermissionError), file.open("rb") as content:
            fcntl.flock(content, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()
