"""Reads one file of a shop into typed columns under the design's names; sets aside rows that break a rule."""

import csv
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from vetrina.core import clock
from vetrina.core.columns import REQUIRED_COLUMNS, TABLES
from vetrina.core.errors import BadInput

_DTYPES = {"str": pl.String, "float": pl.Float64, "int": pl.Int64, "time": pl.Datetime("us")}
_MISSING_VALUES = ("", "NA", "N/A", "null", "NULL", "None", "nan", "NaN")
_MAX_MISSING_LENGTH = max(map(len, _MISSING_VALUES))
_MAX_FUTURE_DAYS = 2
_MAX_TEXT_LENGTH = 2_000
_TIME_FORMAT_SAMPLE_ROWS = 1_000
EXTRA_COLUMN = "_extra"
# The columns of what is set aside.
FILE = "file"
ROW_COLUMN = "_row"
REASON_COLUMN = "_reason"
COLUMN = "column"
PATTERN = "pattern"
_LONGEST_PATTERN = 40


def parse_rows(
    raw_rows: pl.DataFrame, table: str, mapping: dict[str, str], source: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The good rows, typed, and of the bad rows number, reason, column and pattern of its value; any value may name somebody.

    ``mapping`` gives the name that ``source`` has for a column. Raises BadInput for what cannot be this table at all.
    """
    raw_rows = _rename_columns(raw_rows, mapping, source, table)
    known = {name: kind for name, kind in TABLES[table].items() if name in raw_rows.columns}
    typed = raw_rows.with_columns(
        _parse_times(raw_rows[name]) if kind == "time" else _cast_column(raw_rows, name, kind)
        for name, kind in known.items()
    )
    mixed = [n for n, kind in known.items() if kind == "time" and typed[n].null_count() > raw_rows[n].null_count()]
    typed = typed.with_columns(_parse_other_time_formats(raw_rows[name], typed[name]) for name in mixed)
    rules = _rules(raw_rows, table)
    reason = _rejection_reasons(typed, rules)
    if reason.null_count() == len(reason):
        return typed.drop(EXTRA_COLUMN, strict=False), _set_aside(raw_rows.clear(), reason.clear(), rules)
    good = typed.filter(reason.is_null()).drop(EXTRA_COLUMN, strict=False)
    return good, _set_aside(raw_rows, reason, rules)


def read_table_file(
    path: Path, *, keep_ragged: bool = False, number_columns: Collection[str] = (), time_columns: Collection[str] = ()
) -> pl.DataFrame:
    """Any of the three formats, columns as they are; CSV cells stay text. Raises BadInput.

    CSV columns among ``numbers`` and ``times`` are read as such at once if every cell is one. A row with more fields than the
    header is an error, or with ``keep_ragged`` has the rest in the column ``_extra``.
    """
    if not path.exists():
        raise BadInput(str(path), "does not exist", "check the name")
    if path.stat().st_size == 0:
        raise BadInput(str(path), "is empty", "export it again with a header line and rows")
    try:
        frame = (
            _read_csv(path, number_columns, time_columns)
            if path.suffix.lower() == ".csv"
            else _READERS[path.suffix.lower()](path)
        )
    except KeyError:
        raise BadInput(str(path), "is not .csv, .parquet, .jsonl or .ndjson", "convert or rename it") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        detail = str(error).splitlines()[0]
        raise BadInput(
            str(path), f"cannot be read as {path.suffix[1:]} ({detail})", "check how it was exported"
        ) from None
    if frame.is_empty():
        raise BadInput(str(path), "has a header but no rows", "export it again")
    if EXTRA_COLUMN in frame.columns and not keep_ragged:
        row = frame[EXTRA_COLUMN].is_not_null().arg_max()
        raise BadInput(f"{path}: row {row}", "has more fields than the header", "quote cells that hold a comma")
    return frame


def _read_csv(path: Path, numbers: Collection[str] = (), times: Collection[str] = ()) -> pl.DataFrame:
    try:
        return _nullify_missing(_scan_csv(path, numbers, times))
    except pl.exceptions.PolarsError as error:
        if "more fields" in str(error):
            return _read_ragged_csv(path)
        if "utf-8" in str(error).lower() or "utf8" in str(error).lower():
            return _nullify_missing(pl.read_csv(path, infer_schema=False, encoding="utf8-lossy"))
        if numbers or times:  # a cell is no number or time: as text, so that its row can be set aside as it stands
            return _read_csv(path)
        raise


def _scan_csv(path: Path, numbers: Collection[str], times: Collection[str]) -> pl.DataFrame:
    # Told of words that stand for nothing, the reader would compare every cell with each: a quarter slower.
    lazy = pl.scan_csv(path, infer_schema=False, schema_overrides=dict.fromkeys(numbers, pl.Float64))
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        first = next(csv.DictReader(file), {})
    forms = {name: _detect_time_format(pl.Series([first[name]], dtype=pl.String)) for name in times if name in first}
    typed = lazy.with_columns(form(pl.col(name), True) for name, form in forms.items())
    return typed.collect(engine="in-memory")


def _nullify_missing(frame: pl.DataFrame) -> pl.DataFrame:
    text = pl.col(pl.String)
    short = text.filter(text.str.len_bytes() <= _MAX_MISSING_LENGTH)
    held = frame.lazy().select(short.is_in(_MISSING_VALUES).any()).collect(engine="streaming")
    names = [c for c in held.columns if held[c][0]]
    return frame.with_columns(pl.when(~pl.col(c).is_in(_MISSING_VALUES)).then(pl.col(c)).alias(c) for c in names)


def _read_ragged_csv(path: Path) -> pl.DataFrame:
    """Slow and patient: what a row has beyond the header's fields goes into the column ``_extra``."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        header, *rows = (row for row in csv.reader(file) if row)
    width = len(header)
    cells = [[None if c in _MISSING_VALUES else c for c in row[:width]] + [None] * (width - len(row)) for row in rows]
    frame = pl.DataFrame(cells, schema=dict.fromkeys(header, pl.String), orient="row")
    return frame.with_columns(pl.Series(EXTRA_COLUMN, [",".join(r[width:]) if len(r) > width else None for r in rows]))


_READERS = {".parquet": pl.read_parquet, ".jsonl": pl.read_ndjson, ".ndjson": pl.read_ndjson}


def _rename_columns(raw: pl.DataFrame, mapping: dict[str, str], source: str, table: str) -> pl.DataFrame:
    known = TABLES[table]
    for ours, theirs in mapping.items():
        if theirs not in raw.columns:
            found = ", ".join(raw.columns[:12])
            raise BadInput(f"{source}: column {theirs!r}", "is mapped but not in the file", f"the file has: {found}")
        if ours not in known:
            raise BadInput(f"[columns.{table}] {ours}", "is no column of this table", f"known: {', '.join(known)}")
    raw = raw.rename({theirs: ours for ours, theirs in mapping.items() if theirs != ours})
    missing = [c for c in REQUIRED_COLUMNS[table] if c not in raw.columns]
    if missing:
        found = ", ".join(raw.columns[:12])
        way_out = f"the file has: {found}; map names under [columns.{table}] in vetrina.toml"
        raise BadInput(f"{source}: column {missing[0]!r}", f"is required for {table} and missing", way_out)
    return raw.select(sorted(raw.columns))


def _cast_column(raw: pl.DataFrame, name: str, kind: str) -> pl.Expr:
    column = pl.col(name)
    dtype = raw.schema[name]
    if kind == "str":
        text = as_text(raw, name).cast(pl.String)
        return text.str.slice(0, _MAX_TEXT_LENGTH).alias(name) if is_free_text(name) else text.alias(name)
    bare = column.str.strip_chars() if dtype == pl.String else column  # as the CSV reader does with numbers
    number = bare.cast(pl.Float64, strict=False)
    finite = pl.when(number.is_finite()).then(number)
    return (finite.cast(pl.Int64, strict=False) if kind == "int" else finite).alias(name)


def as_text(frame: pl.DataFrame, name: str) -> pl.Expr:
    """A nested column as JSON, a categorical one as text, any other as it is."""
    column = pl.col(name)
    dtype = frame.schema[name]
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    if not dtype.is_nested():
        return column
    record = column if isinstance(dtype, pl.Struct) else pl.struct(column.alias("values"))
    return pl.when(column.is_not_null()).then(record.struct.json_encode()).alias(name)


def is_free_text(name: str) -> bool:
    """Columns of prose and names, cut to a length that no honest value reaches; ids are never cut."""
    return name in ("title", "description", "category", "brand", "query", "attributes")


def _parse_times(column: pl.Series) -> pl.Expr:
    """Times in UTC with microseconds, text in the form of its first value."""
    dtype = column.dtype
    named = pl.col(column.name)
    if isinstance(dtype, pl.Datetime):
        zoned = named.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if dtype.time_zone else named
        return zoned.cast(pl.Datetime("us"))
    if dtype == pl.Date:
        return named.cast(pl.Datetime("us"))
    if dtype.is_numeric():
        return _datetime_from_epoch(named.cast(pl.Float64))
    return _detect_time_format(column.head(_TIME_FORMAT_SAMPLE_ROWS))(named, False)


def _detect_time_format(text: pl.Series) -> "_TimeFormat":
    """That of the first value: nearly every file keeps one form."""
    first = text.drop_nulls().head(1)
    return next(
        (f for f in _TIME_FORMATS if len(first) and _apply_time_format(f, first).null_count() == 0), _TIME_FORMATS[0]
    )


def _parse_other_time_formats(column: pl.Series, found: pl.Series) -> pl.Series:
    """Text that the first value's form does not read, in any other form; what none reads is missing."""
    if column.dtype != pl.String:
        return found
    for form in _TIME_FORMATS:
        found = found.zip_with(found.is_not_null(), _apply_time_format(form, column))
    return found


_TimeFormat = Callable[[pl.Expr, bool], pl.Expr]  # text to times; the flag: raise where it is none, else missing


def _apply_time_format(form: _TimeFormat, column: pl.Series) -> pl.Series:
    return pl.select(form(pl.lit(column), False).alias(column.name)).to_series()


def _iso_format(separator: str, fraction: str = "%.f") -> _TimeFormat:
    """A time without zone is UTC."""
    form = f"%Y-%m-%d{separator}%H:%M:%S{fraction}"
    return lambda text, strict: text.str.to_datetime(form, time_unit="us", strict=strict)


def _zoned_format(text: pl.Expr, strict: bool) -> pl.Expr:
    """ "Z" and offsets are taken to UTC."""
    found = text.str.to_datetime(time_unit="us", time_zone="UTC", strict=strict, exact=True, format="%+")
    return found.dt.replace_time_zone(None)


def _date_format(text: pl.Expr, strict: bool) -> pl.Expr:
    return text.str.to_date("%Y-%m-%d", strict=strict).cast(pl.Datetime("us"))


def _epoch_format(text: pl.Expr, strict: bool) -> pl.Expr:
    return _datetime_from_epoch(text.cast(pl.Float64, strict=strict))


def _datetime_from_epoch(number: pl.Expr) -> pl.Expr:
    # Seconds until the year 5138; larger numbers are milliseconds.
    seconds = pl.when(number.abs() < 1e11).then(number).otherwise(number / 1_000)
    return (
        pl.when(seconds.is_finite()).then((seconds * 1e6).round()).cast(pl.Int64, strict=False).cast(pl.Datetime("us"))
    )


# A fraction of known length is read in half the time of any fraction.
_TIME_FORMATS = (
    _iso_format("T", ".%6f"),
    _iso_format(" ", ".%6f"),
    _iso_format("T"),
    _iso_format(" "),
    _zoned_format,
    _date_format,
    _epoch_format,
)


@dataclass(frozen=True)
class _Rule:
    """What a row must not be. ``hint`` is quick to look for and holds wherever ``broken`` does."""

    column: str
    reason: str
    broken: pl.Expr
    hint: pl.Expr


def _rules(raw: pl.DataFrame, table: str) -> list[_Rule]:
    rules: list[_Rule] = []
    if EXTRA_COLUMN in raw.columns:
        more = pl.col(EXTRA_COLUMN).is_not_null()
        rules.append(_Rule(EXTRA_COLUMN, "has more fields than the header: a comma in an unquoted cell?", more, more))
    for name in REQUIRED_COLUMNS[table]:
        kind = TABLES[table][name]
        missing = pl.col(name).is_null()
        rules.append(_Rule(name, f"{name} is missing or no {kind}", missing, missing))
        if kind == "str" and raw.schema[name] == pl.String:
            blank = pl.col(name).str.strip_chars() == ""
            begins_unseen = ~pl.col(name).is_between(pl.lit("!"), pl.lit("\x7f"))
            rules.append(_Rule(name, f"{name} is blank", blank, begins_unseen))
    if table == "events":
        latest = pl.lit(int((clock.now() + _MAX_FUTURE_DAYS * clock.DAY) * 1e6)).cast(pl.Datetime("us"))
        ahead = pl.col("timestamp") > latest
        rules.append(_Rule("timestamp", f"timestamp lies more than {_MAX_FUTURE_DAYS} days ahead", ahead, ahead))
    return rules


def _rejection_reasons(typed: pl.DataFrame, rules: Sequence[_Rule]) -> pl.Series:
    """Of each row the first rule that it breaks, in words; null for a good one."""
    if not any(typed.select(rule.hint.any().alias(rule.reason) for rule in rules).row(0)):
        return pl.Series(REASON_COLUMN, [None], pl.String).new_from_index(0, len(typed))
    expression = pl.lit(None, pl.String)
    for rule in reversed(rules):
        expression = pl.when(rule.broken).then(pl.lit(rule.reason)).otherwise(expression)
    return typed.select(expression.alias(REASON_COLUMN))[REASON_COLUMN]


def _set_aside(raw: pl.DataFrame, reason: pl.Series, rules: Sequence[_Rule]) -> pl.DataFrame:
    """Of the rows with a reason what nobody can be known by: a value stands under any column in a row that slipped."""
    column_of = {rule.reason: rule.column for rule in rules}
    columns = list(dict.fromkeys(column_of.values()))
    bad = raw.select(columns).with_row_index(ROW_COLUMN).with_columns(reason).filter(reason.is_not_null())
    bad = bad.with_columns(pl.col(REASON_COLUMN).replace_strict(column_of, return_dtype=pl.String).alias(COLUMN))
    patterns = [pl.when(pl.col(COLUMN) == name).then(_pattern(bad, name)) for name in columns]
    return bad.select(ROW_COLUMN, REASON_COLUMN, COLUMN, pl.coalesce(patterns).alias(PATTERN))


def _pattern(frame: pl.DataFrame, name: str) -> pl.Expr:
    """How values look: "31.12.2023" is "99.99.9999", "Anna" is "aaaa"."""
    text = as_text(frame, name).cast(pl.String).str.slice(0, _LONGEST_PATTERN)
    letters = text.str.replace_all(r"\p{L}", "a")
    digits = letters.str.replace_all(r"\p{N}", "9")
    return digits.str.replace_all(r"[^a9 .,:;/+_-]", "?")
