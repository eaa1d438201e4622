"""A copy of a shop that a load test may write to: the shop itself gets no answer, event or user of the load."""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from vetrina.core.errors import BadInput
from vetrina.store.shop_folder import ShopFolder

_STORE = "store.db"
_OWN_ENTRIES = (_STORE, "work")  # of the copy; everything else is only read and therefore linked


@contextmanager
def copy_of_shop(folder: ShopFolder) -> Generator[Path]:
    """The folder of a copy, which is removed at the end of the context.

    Its store is copied by SQLite while others may write to it; keys, bundles and settings are links.

    Args:
        folder: the shop's folder.

    Raises:
        BadInput: the store is no file of the shop's folder, so that it cannot be copied.
    """
    if folder.settings.store.url:
        rule = "is a database that a load would write its answers to"
        raise BadInput("[store] url", rule, "start a service on a copy of it, and name that with --url")
    with TemporaryDirectory(prefix="vetrina-load-") as temporary:
        copy = Path(temporary)
        for entry in folder.root.iterdir():
            if not entry.name.startswith(_OWN_ENTRIES):
                (copy / entry.name).symlink_to(entry)
        with closing(sqlite3.connect(folder.root / _STORE)) as store, closing(sqlite3.connect(copy / _STORE)) as target:
            store.backup(target)
        yield copy
