"""Logical dump of a store: rows by table in a form that is the same for SQLite, PostgreSQL and MySQL/MariaDB.

A store of an earlier schema is dumped as it is, with the columns, indexes and unique keys that it has, and is loaded as it was.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Index,
    MetaData,
    Table,
    UniqueConstraint,
    and_,
    func,
    insert,
    inspect,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import DataError, IntegrityError

from vetrina.core.errors import BadInput
from vetrina.store.database import schema_lock
from vetrina.store.tables import leases, metadata, run_steps, runs

_PAGE_ROWS = 2_000
# Leases belong to processes that run, and results of steps to files of ``work/``, of which there is no backup.
_TABLES_WITHOUT_ROWS = (leases.name, run_steps.name)


class TableLayout(msgspec.Struct, frozen=True):
    """A table as it is in the store.

    Attributes:
        name: Its name.
        columns: Names of its columns, in the order of the values of a row.
        indexes: Names of its indexes that ``store.tables`` knows.
        unique_keys: Columns of each unique key that is none of those indexes.
    """

    name: str
    columns: tuple[str, ...]
    indexes: tuple[str, ...]
    unique_keys: tuple[tuple[str, ...], ...]


class RowPage(NamedTuple):
    """Rows of a table: their number, and a MessagePack array of arrays of values."""

    n_rows: int
    content: bytes


def table_layouts(connection: Connection) -> list[TableLayout]:
    """Layouts of the tables of ``store.tables`` that the store has."""
    inspector = inspect(connection)
    stored_names = set(inspector.get_table_names())
    layouts: list[TableLayout] = []
    for table in metadata.sorted_tables:
        if table.name not in stored_names:
            continue
        stored_columns = {column["name"] for column in inspector.get_columns(table.name)}
        known_indexes = {str(index.name) for index in table.indexes}
        stored_indexes = {str(index["name"]) for index in inspector.get_indexes(table.name)}
        unique_keys: list[tuple[str, ...]] = []
        for constraint in inspector.get_unique_constraints(table.name):
            # MySQL reports an index that is unique here, too.
            if constraint["name"] not in known_indexes:
                unique_keys.append(tuple(str(name) for name in constraint["column_names"]))
        layout = TableLayout(
            name=str(table.name),
            columns=tuple(str(column.name) for column in table.columns if column.name in stored_columns),
            indexes=tuple(sorted(known_indexes & stored_indexes)),
            unique_keys=tuple(sorted(unique_keys)),
        )
        layouts.append(layout)
    return layouts


def row_pages(connection: Connection, layout: TableLayout) -> Iterator[RowPage]:
    """The rows of a table in the order of its key, page by page.

    A page is read by a statement of its own, so that memory is bounded on every database.

    Args:
        connection: Connection of ``consistent_read``.
        layout: The table.
    """
    if layout.name in _TABLES_WITHOUT_ROWS:
        return
    table = metadata.tables[layout.name]
    key = list(table.primary_key.columns)
    query = select(*(table.c[name] for name in layout.columns)).order_by(*key).limit(_PAGE_ROWS)
    rows = connection.execute(query).all()
    while rows:
        yield RowPage(len(rows), msgspec.msgpack.encode([tuple(row) for row in rows]))
        if len(rows) < _PAGE_ROWS:
            return
        last_values = [rows[-1]._mapping[column] for column in key]  # pyright: ignore[reportPrivateUsage] - public by its docs
        rows = connection.execute(query.where(_comes_after(key, last_values))).all()


def load_store(engine: Engine, layouts: Sequence[TableLayout], pages: Iterable[tuple[str, bytes]]) -> int:
    """Create the tables in an empty database and fill them, in one transaction; returns the number of rows.

    Runs that were under way when the dump was made are queued again, from their beginning.

    Args:
        engine: The database, from ``open_older_store``.
        layouts: The tables.
        pages: Name of the table and content of each page.

    Raises:
        BadInput: The database has rows or tables of somebody else, or takes one of the rows not.
        Conflict: Another process is creating tables there.
    """
    n_rows = 0
    with engine.connect() as connection, schema_lock(connection):
        _drop_empty_tables(connection)
        tables = _create_tables(connection, layouts)
        for name, page in pages:
            n_rows += _insert_page(connection, tables[name], page)
        _requeue_interrupted_runs(connection, tables)
        _continue_sequences(connection, tables)
        connection.commit()
        if engine.dialect.name == "sqlite":
            # The file alone is the store from here on: nothing of it is left in a log beside it.
            cursor = connection.connection.cursor()
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.close()
    return n_rows


def refuse_used_database(engine: Engine) -> None:
    """Raise BadInput if a database holds rows of a shop, or another program's tables of the same names."""
    with engine.connect() as connection:
        _stored_empty_tables(connection)


def _comes_after(key: Sequence[Column[Any]], values: Sequence[Any]) -> ColumnElement[bool]:
    """Whether a row comes after another one in the order of a key of one or several columns."""
    alternatives: list[ColumnElement[bool]] = []
    for position, column in enumerate(key):
        equal_before = [key[n] == values[n] for n in range(position)]
        alternatives.append(and_(*equal_before, column > values[position]))
    return or_(*alternatives)


def _stored_empty_tables(connection: Connection) -> list[Table]:
    """Tables of ``store.tables`` that exist and are empty. Raises BadInput if one has a row, or is somebody else's."""
    inspector = inspect(connection)
    stored_names = set(inspector.get_table_names())
    tables = [table for table in metadata.sorted_tables if table.name in stored_names]
    shown_url = connection.engine.url.render_as_string(hide_password=True)
    for table in tables:
        if connection.execute(select(text("1")).select_from(table).limit(1)).first() is not None:
            raise BadInput(shown_url, "holds the store of a shop already", "give an empty database with --store-url")
        stored_columns = {column["name"] for column in inspector.get_columns(table.name)}
        if not stored_columns <= set(table.columns.keys()):
            rule = f"holds a table {table.name} of another program"
            raise BadInput(shown_url, rule, "give an empty database with --store-url")
    return tables


def _drop_empty_tables(connection: Connection) -> None:
    """Drop tables without rows: MySQL and MariaDB keep those that a restore made which was killed."""
    for table in _stored_empty_tables(connection):
        table.drop(connection)


def _create_tables(connection: Connection, layouts: Sequence[TableLayout]) -> dict[str, Table]:
    restored = MetaData()
    tables: dict[str, Table] = {}
    for layout in layouts:
        known = metadata.tables[layout.name]
        columns = [_copy_column(known.c[name]) for name in layout.columns]
        unique_keys = [UniqueConstraint(*names, name=_name_of_key(known, names)) for names in layout.unique_keys]
        table = Table(layout.name, restored, *columns, *unique_keys, **dict(known.dialect_kwargs))
        for index in known.indexes:
            if index.name in layout.indexes:
                Index(index.name, *(table.c[column.name] for column in index.columns), unique=index.unique)
        tables[layout.name] = table
    restored.create_all(connection)
    return tables


def _copy_column(column: Column[Any]) -> Column[Any]:
    return Column(
        column.name,
        column.type,
        primary_key=column.primary_key,
        nullable=column.nullable,
        autoincrement=column.autoincrement,
    )


def _name_of_key(table: Table, columns: Sequence[str]) -> str | None:
    """The name that ``store.tables`` gives a unique key; None leaves the choice to the database."""
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint) and set(constraint.columns.keys()) == set(columns):
            return None if constraint.name is None else str(constraint.name)
    return None


def _insert_page(connection: Connection, table: Table, page: bytes) -> int:
    names = table.columns.keys()
    rows = [dict(zip(names, row, strict=True)) for row in msgspec.msgpack.decode(page, type=list[list[Any]])]
    try:
        connection.execute(insert(table), rows)
    except (DataError, IntegrityError) as error:
        rule = f"holds a row that this database does not take ({type(error).__name__})"
        raise BadInput(f"table {table.name}", rule, "restore into the kind of database that it was made from") from None
    return len(rows)


def _requeue_interrupted_runs(connection: Connection, tables: Mapping[str, Table]) -> None:
    table = tables.get(runs.name)
    if table is None:  # of 0.1.0
        return
    again = {"state": "queued", "started": None, "attempts": table.c.attempts + 1}
    connection.execute(update(table).where(table.c.state == "running").values(**again))


def _continue_sequences(connection: Connection, tables: Mapping[str, Table]) -> None:
    """Let new rows be numbered after the restored ones. The other databases do so by themselves."""
    if connection.dialect.name != "postgresql":
        return
    for table in tables.values():
        column = table.autoincrement_column
        if column is None:
            continue
        last_number = connection.execute(select(func.max(column))).scalar()
        if last_number is None:
            continue
        set_number = text("SELECT setval(pg_get_serial_sequence(:table, :column), :number)")
        quoted_name = connection.dialect.identifier_preparer.format_table(table)
        values = {"table": quoted_name, "column": column.name, "number": last_number}
        connection.execute(set_number, values)
