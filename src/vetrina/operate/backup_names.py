"""Names of backup files: the shop, a few digits of its keys' fingerprint, and the time."""

import re
from datetime import UTC, datetime
from pathlib import Path

from vetrina.core import clock
from vetrina.core.errors import BadInput
from vetrina.store.shop_folder import ShopFolder

ENCRYPTED_SUFFIX = ".tar.zst.age"
PLAIN_SUFFIX = ".tar.zst"
_TIME_FORMAT = "%Y%m%dT%H%M%SZ"
_SHOP_ID_LENGTH = 8  # hex digits of the fingerprint of the keys


def backup_folder(shop: ShopFolder) -> Path:
    """The folder of ``[backup] to``. Raises BadInput if it does not exist: a disk that is not mounted must not go unnoticed."""
    folder = shop.root / shop.settings.backup.to
    if not folder.is_dir():
        raise BadInput(f"[backup] to {str(folder)!r}", "is no folder", "mount or make it, or name another one")
    return folder


def backup_target(shop: ShopFolder, to: Path, *, is_encrypted: bool, purpose: str = "") -> Path:
    """The file that a backup is written to: a folder gets a name with the shop's and the time. Raises BadInput if it exists."""
    target = to
    if to.is_dir():
        moment = datetime.fromtimestamp(clock.now(), UTC)
        suffix = ENCRYPTED_SUFFIX if is_encrypted else PLAIN_SUFFIX
        target = to / f"{_shop_name(shop)}{purpose}-{moment.strftime(_TIME_FORMAT)}{suffix}"
    refuse_existing(target)
    if not target.parent.is_dir():
        raise BadInput(str(target.parent), "is no folder", "make it, or name another one")
    return target


def list_backups(shop: ShopFolder, folder: Path) -> list[tuple[float, Path]]:
    """Encrypted backups of a shop in a folder that were named by their time, in seconds since 1970, newest first."""
    pattern = re.compile(re.escape(_shop_name(shop)) + r"-(\d{8}T\d{6}Z)" + re.escape(ENCRYPTED_SUFFIX))
    backups: list[tuple[float, Path]] = []
    for file in folder.iterdir():
        match = pattern.fullmatch(file.name)
        if match is not None:
            moment = datetime.strptime(match[1], _TIME_FORMAT).replace(tzinfo=UTC)
            backups.append((moment.timestamp(), file))
    return sorted(backups, reverse=True)


def refuse_existing(target: Path) -> None:
    """Raise BadInput if a file exists."""
    if target.exists():
        raise BadInput(str(target), "exists already", "name another file; a backup replaces none")


def _shop_name(shop: ShopFolder) -> str:
    """Name of a shop in file names: that of its folder, and one by its keys, as other shops may have a folder of that name."""
    return f"{shop.root.name}-{shop.keys.fingerprint[:_SHOP_ID_LENGTH]}"
