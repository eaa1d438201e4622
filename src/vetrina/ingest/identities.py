"""Pseudonyms in tables: user ids, session ids and e-mail addresses are replaced before a row is written anywhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from vetrina.core.columns import TABLES
from vetrina.core.keys import ADDRESS, Keys, is_session_pseudonym
from vetrina.ingest.read import as_text

ABOUT_PEOPLE = ("events", "users", "judgments", "ads")
_LISTS_OF_USERS = ("follows", "friends")
_PSEUDONYMS = ("user_id", "session_id", *_LISTS_OF_USERS)

# Pseudonyms of distinct user ids, in the order of the ids.
NameUsers = Callable[[list[str]], list[str]]
# Stores addresses and consent by pseudonym; None if a file has no such column or cell.
KeepContacts = Callable[[Sequence[str], Sequence[str | None], Sequence[str | None]], None]


@dataclass(frozen=True)
class Identities:
    """Pseudonyms of users, sessions and addresses.

    Attributes:
        keys: The shop's keys.
        name_users: Returns pseudonyms of user ids and stores the encrypted ids.
        keep_contacts: Stores encrypted addresses and consent.
    """

    keys: Keys
    name_users: NameUsers
    keep_contacts: KeepContacts

    def pseudonymised(self, rows: pl.DataFrame, table: str) -> pl.DataFrame:
        """Rows of a file without plain ids and addresses.

        Further columns of the shop are kept, unless they repeat the user or session id.
        """
        if table == "users":
            self._store_contacts(rows)
        rows = rows.drop("email", strict=False)  # no model needs it
        if table not in ABOUT_PEOPLE:
            return rows
        rows = _with_plain_types(rows, table)
        for id_column in ("user_id", "session_id"):
            if id_column in rows.columns:
                ids = rows[id_column]
                copies = [name for name in _extra_columns(rows, table) if _is_same(rows[name].cast(pl.String), ids)]
                rows = rows.drop(copies)
        if "user_id" in rows.columns:
            rows = self._name_users(rows)
        return self._name_the_rest(rows, self.keys.name_of_session)

    def completed(self, rows: pl.DataFrame, table: str) -> pl.DataFrame:
        """Rows whose users are pseudonyms already, with pseudonyms for sessions and addresses, too. Idempotent."""
        if table not in ABOUT_PEOPLE:
            return rows
        rows = _with_plain_types(rows, table)
        if "user_id" in rows.columns:
            copies = [name for name in _extra_columns(rows, table) if self._repeats_users(rows, name)]
            rows = rows.drop(copies)

        def name_of_session(session_id: str) -> str:
            if is_session_pseudonym(session_id):
                return session_id
            return self.keys.name_of_session(session_id)

        return self._name_the_rest(rows, name_of_session)

    def _repeats_users(self, rows: pl.DataFrame, name: str) -> bool:
        """Whether a column contains the plain ids of the users whose pseudonyms are in ``user_id``."""
        pseudonyms = _renamed(rows[name].cast(pl.String), self._pseudonyms)
        return _is_same(pseudonyms, rows["user_id"])

    def _pseudonyms(self, user_ids: list[str]) -> list[str]:
        return [self.keys.pseudonymise(user_id) for user_id in user_ids]

    def _store_contacts(self, rows: pl.DataFrame) -> None:
        if "email" not in rows.columns and "consent" not in rows.columns:
            return
        pseudonyms = self._pseudonyms(rows["user_id"].to_list())
        self.keep_contacts(pseudonyms, _values_or_nulls(rows, "email"), _values_or_nulls(rows, "consent"))

    def _name_users(self, rows: pl.DataFrame) -> pl.DataFrame:
        columns = [_renamed(rows["user_id"], self.name_users)]
        for name in _LISTS_OF_USERS:
            if name in rows.columns:
                columns.append(self._named_lists(rows[name]))
        return rows.with_columns(columns)

    def _named_lists(self, column: pl.Series) -> pl.Series:
        """Lists of user ids (JSON or separated by blanks) as pseudonyms separated by blanks."""
        texts = column.str.strip_prefix('{"values":').str.strip_suffix("}")  # as ``read.as_text`` writes a list
        user_lists = texts.str.replace_all(r"[\[\]\",']", " ").str.extract_all(r"\S+")
        users = user_lists.explode().drop_nulls().unique()
        pseudonyms = pl.Series(self.name_users(users.to_list()), dtype=pl.String)
        renamed = pl.element().replace_strict(users, pseudonyms, default=None, return_dtype=pl.String)
        return user_lists.list.eval(renamed).list.join(" ").alias(column.name)

    def _name_the_rest(self, rows: pl.DataFrame, name_of_session: Callable[[str], str]) -> pl.DataFrame:
        """Pseudonyms for session ids, and for texts with an e-mail address."""

        def names_of_sessions(session_ids: list[str]) -> list[str]:
            return [name_of_session(session_id) for session_id in session_ids]

        if "session_id" in rows.columns:
            rows = rows.with_columns(_renamed(rows["session_id"], names_of_sessions))
        text_columns = [name for name, dtype in rows.schema.items() if dtype == pl.String and name not in _PSEUDONYMS]
        contains_at_sign = pl.col(text_columns).str.contains("@", literal=True)
        has_at_sign = rows.select(contains_at_sign.any())
        suspects = [name for name in text_columns if has_at_sign[name][0]]
        return rows.with_columns(self._without_addresses(rows[name]) for name in suspects)

    def _without_addresses(self, column: pl.Series) -> pl.Series:
        has_address = column.str.contains(ADDRESS).fill_null(False)
        texts = column.filter(has_address).unique()
        pseudonyms = pl.Series(self._pseudonyms(texts.to_list()), dtype=pl.String)
        return column.replace(texts, pseudonyms)


def _values_or_nulls(rows: pl.DataFrame, name: str) -> list[str | None]:
    """The values of a column, nulls where there is no such column."""
    if name not in rows.columns:
        return [None] * len(rows)
    return rows[name].to_list()


def _renamed(column: pl.Series, names_of: NameUsers) -> pl.Series:
    """``column`` with each distinct value replaced by its name; null stays null."""
    values = column.drop_nulls().unique()
    names = pl.Series(names_of(values.to_list()), dtype=pl.String)
    return column.replace_strict(values, names, default=None, return_dtype=pl.String)


def _with_plain_types(rows: pl.DataFrame, table: str) -> pl.DataFrame:
    """``rows`` with nested columns of the shop as text and without its binary ones, so that addresses can be detected."""
    names = [name for name in rows.columns if name not in TABLES[table]]
    rows = rows.with_columns(as_text(rows, name) for name in names)
    return rows.drop(name for name in names if rows.schema[name] == pl.Binary)


def _extra_columns(rows: pl.DataFrame, table: str) -> list[str]:
    """Text and integer columns that are not in ``core.columns``: they may contain ids."""
    names = [name for name in rows.columns if name not in TABLES[table]]
    return [name for name in names if rows.schema[name] == pl.String or rows.schema[name].is_integer()]


def _is_same(column: pl.Series, ids: pl.Series) -> bool:
    """Whether the values are equal in all rows that have both, and in at least one."""
    equal = column == ids
    return equal.any() and equal.all()
