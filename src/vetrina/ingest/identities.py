"""Pseudonyms in tables: user ids, session ids and e-mail addresses are replaced before a row is written anywhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from vetrina.core.columns import TABLES
from vetrina.ingest.read import as_text
from vetrina.security.keys import ADDRESS, Keys, is_session_pseudonym

ABOUT_PEOPLE = ("events", "users", "judgments", "ads")
_LISTS_OF_USERS = ("follows", "friends")
_PSEUDONYMS = ("user_id", "session_id", *_LISTS_OF_USERS)

# Pseudonyms of distinct user ids, in their order.
NameUsers = Callable[[list[str]], list[str]]
# Pseudonyms with addresses and consent, None where a file has no such column or cell.
KeepContacts = Callable[[Sequence[str], Sequence[str | None], Sequence[str | None]], None]


@dataclass(frozen=True)
class Identities:
    """Names users, sessions and addresses; ``name_users`` and ``keep_contacts`` remember them sealed."""

    keys: Keys
    name_users: NameUsers
    keep_contacts: KeepContacts

    def pseudonymised(self, rows: pl.DataFrame, table: str) -> pl.DataFrame:
        """Rows of a file without plain ids and addresses.

        Columns that Vetrina does not know are kept, unless they repeat the row's user or session id.
        """
        if table == "users":
            self._remember_contacts(rows)
        rows = rows.drop("email", strict=False)  # no model needs it
        if table not in ABOUT_PEOPLE:
            return rows
        rows = _with_plain_types(rows, table)
        for known in ("user_id", "session_id"):
            if known in rows.columns:
                rows = rows.drop(
                    name for name in _unknown(rows, table) if _same(rows[name].cast(pl.String), rows[known])
                )
        if "user_id" in rows.columns:
            rows = self._name_users(rows)
        return self._name_the_rest(rows, self.keys.name_of_session)

    def completed(self, rows: pl.DataFrame, table: str) -> pl.DataFrame:
        """Rows whose users are pseudonyms already, with pseudonyms for what else is plain. Done twice it changes nothing."""
        if table not in ABOUT_PEOPLE:
            return rows
        rows = _with_plain_types(rows, table)
        if "user_id" in rows.columns:
            rows = rows.drop(name for name in _unknown(rows, table) if self._repeats_users(rows, name))

        def name_of_session(session_id: str) -> str:
            return session_id if is_session_pseudonym(session_id) else self.keys.name_of_session(session_id)

        return self._name_the_rest(rows, name_of_session)

    def _repeats_users(self, rows: pl.DataFrame, name: str) -> bool:
        """Whether a column holds the plain ids of users whose pseudonyms the rows have."""
        names = _renamed(rows[name].cast(pl.String), lambda ids: [self.keys.pseudonymise(user_id) for user_id in ids])
        return _same(names, rows["user_id"])

    def _remember_contacts(self, rows: pl.DataFrame) -> None:
        given = [name for name in ("email", "consent") if name in rows.columns]
        if not given:
            return
        users = rows["user_id"].to_list()
        missing = [None] * len(rows)
        emails = rows["email"].to_list() if "email" in given else missing
        consents = rows["consent"].to_list() if "consent" in given else missing
        self.keep_contacts([self.keys.pseudonymise(user) for user in users], emails, consents)

    def _name_users(self, rows: pl.DataFrame) -> pl.DataFrame:
        columns = [_renamed(rows["user_id"], self.name_users)]
        for name in _LISTS_OF_USERS:
            if name in rows.columns:
                columns.append(self._named_lists(rows[name]))
        return rows.with_columns(columns)

    def _named_lists(self, column: pl.Series) -> pl.Series:
        """Lists of user ids (JSON, or parted by blanks) as pseudonyms parted by blanks."""
        bare = column.str.strip_prefix('{"values":').str.strip_suffix("}")  # as ``read.shape`` writes a list
        listed = bare.str.replace_all(r"[\[\]\",']", " ").str.extract_all(r"\S+")
        users = listed.explode().drop_nulls().unique()
        names = pl.Series(self.name_users(users.to_list()), dtype=pl.String)
        renamed = pl.element().replace_strict(users, names, default=None, return_dtype=pl.String)
        return listed.list.eval(renamed).list.join(" ").alias(column.name)

    def _name_the_rest(self, rows: pl.DataFrame, name_of_session: Callable[[str], str]) -> pl.DataFrame:
        if "session_id" in rows.columns:
            rows = rows.with_columns(
                _renamed(rows["session_id"], lambda sessions: [name_of_session(s) for s in sessions])
            )
        texts = [name for name, dtype in rows.schema.items() if dtype == pl.String and name not in _PSEUDONYMS]
        may_hold = rows.select(pl.col(texts).str.contains("@", literal=True).any())
        return rows.with_columns(self._without_addresses(rows[name]) for name in texts if may_hold[name][0])

    def _without_addresses(self, column: pl.Series) -> pl.Series:
        texts = column.filter(column.str.contains(ADDRESS).fill_null(False)).unique()
        names = pl.Series([self.keys.pseudonymise(text) for text in texts.to_list()], dtype=pl.String)
        return column.replace(texts, names)


def _renamed(column: pl.Series, names_of: NameUsers) -> pl.Series:
    """Each distinct value under its name; nothing stays nothing."""
    values = column.drop_nulls().unique()
    names = pl.Series(names_of(values.to_list()), dtype=pl.String)
    return column.replace_strict(values, names, default=None, return_dtype=pl.String)


def _with_plain_types(rows: pl.DataFrame, table: str) -> pl.DataFrame:
    """Columns that Vetrina does not know, as text where they are nested and without bytes: an address must be seen."""
    unknown = [name for name in rows.columns if name not in TABLES[table]]
    rows = rows.with_columns(as_text(rows, name) for name in unknown)
    return rows.drop(name for name in unknown if rows.schema[name] == pl.Binary)


def _unknown(rows: pl.DataFrame, table: str) -> list[str]:
    """Columns beyond the known ones that may hold ids."""
    names = [name for name in rows.columns if name not in TABLES[table]]
    return [name for name in names if rows.schema[name] == pl.String or rows.schema[name].is_integer()]


def _same(column: pl.Series, ids: pl.Series) -> bool:
    """Whether wherever both are given they are equal, and somewhere they are."""
    equal = column == ids
    return equal.any() and equal.all()
