"""Readers of input files (CSV, Parquet, JSON Lines): type casting, column mapping and row quarantine.

A row that breaks a rule is quarantined: it is left out, and its row number, the reason, the column and the pattern of the value
are reported, never the value itself. Nothing here knows where rows are stored.
"""

import csv
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from vetrina.core import clock
from vetrina.core.columns import REQUIRED_COLUMNS, TABLES
from vetrina.core.errors import BadInput

_DTYPES = {"str": pl.String, "float": pl.Float64, "int": pl.Int64, "time": pl.Datetime("us")}
_MISSING_VALUES = ("", "NA", "N/A", "null", "NULL", "None", "nan", "NaN")
_MAX_MISSING_LENGTH = max(map(len, _MISSING_VALUES))
# By how much the time of an event may lie ahead of the clock.
_MAX_FUTURE_DAYS = 2
# Characters that free text is cut to.
_MAX_TEXT_LENGTH = 2_000
# Rows in which the first time is looked for.
_TIME_FORMAT_SAMPLE_ROWS = 1_000
_MICROSECONDS = 1e6  # in a second
# Numbers below are seconds (until the year 5138), numbers above are milliseconds.
_MAX_EPOCH_SECONDS = 1e11
# Column with the fields of a row that has more fields than the header.
EXTRA_COLUMN = "_extra"
# Columns of quarantined rows.
FILE = "file"
ROW_COLUMN = "_row"
REASON_COLUMN = "_reason"
COLUMN = "column"
PATTERN = "pattern"
_QUARANTINE_DTYPES = {ROW_COLUMN: pl.Int64, REASON_COLUMN: pl.String, COLUMN: pl.String, PATTERN: pl.String}
# Characters of a value whose pattern is reported.
_MAX_PATTERN_LENGTH = 40


def parse_rows(
    raw_rows: pl.DataFrame, table: str, mapping: dict[str, str], source: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rename and cast the columns of a table, and quarantine rows that break a rule.

    Args:
        raw_rows: Rows as they were read.
        table: Name of the table in ``core.columns``.
        mapping: Names of the columns in the source by names of ``core.columns``; other columns have the same name.
        source: Name of the source, for error messages.

    Returns:
        The accepted rows, typed, and of each quarantined row its number, the reason, the column and the pattern of the value.
        Values are left out because any of them may identify a person.

    Raises:
        BadInput: A required or mapped column is missing.
    """
    raw_rows = _rename_columns(raw_rows, mapping, source, table)
    types = {name: column_type for name, column_type in TABLES[table].items() if name in raw_rows.columns}
    typed = raw_rows.with_columns(_typed_column(raw_rows, name, column_type) for name, column_type in types.items())
    for name, column_type in types.items():
        if column_type == "time" and typed[name].null_count() > raw_rows[name].null_count():
            typed = typed.with_columns(_parse_other_time_formats(raw_rows[name], typed[name]))
    rules = _rules(raw_rows, table)
    reasons = _rejection_reasons(typed, rules)
    if reasons.null_count() == len(reasons):
        return typed.drop(EXTRA_COLUMN, strict=False), _quarantine(raw_rows.clear(), reasons.clear(), rules)
    accepted = typed.filter(reasons.is_null()).drop(EXTRA_COLUMN, strict=False)
    return accepted, _quarantine(raw_rows, reasons, rules)


def shape_log_rows(
    rows: Sequence[Mapping[str, Any]], table: str, source: str, first_row: int = 0
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of a log as ``parse_rows`` returns those of a file. A row that cannot be shaped at all is quarantined.

    Args:
        rows: Rows under the column names of ``core.columns``.
        table: Name of the table.
        source: Name of the log.
        first_row: Number of the first row.
    """
    try:
        raw_rows = pl.DataFrame(list(rows), infer_schema_length=None)
        accepted, rejected = parse_rows(raw_rows, table, {}, source)
    except Exception:  # noqa: BLE001 - whatever Polars raises for a value, one row must not stop all later ones
        return _shape_halves(rows, table, source, first_row)
    return accepted, rejected.with_columns(pl.col(ROW_COLUMN).cast(pl.Int64) + first_row)


def _shape_halves(
    rows: Sequence[Mapping[str, Any]], table: str, source: str, first_row: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """``shape_log_rows`` of either half of rows that cannot be shaped together, until the bad one is alone."""
    if len(rows) == 1:
        dtypes = {name: _DTYPES[TABLES[table][name]] for name in REQUIRED_COLUMNS[table]}
        row = {ROW_COLUMN: first_row, REASON_COLUMN: "a value cannot be stored in a table", COLUMN: None, PATTERN: None}
        return pl.DataFrame(schema=dtypes), pl.DataFrame([row], schema=_QUARANTINE_DTYPES)
    half = len(rows) // 2
    first = shape_log_rows(rows[:half], table, source, first_row)
    second = shape_log_rows(rows[half:], table, source, first_row + half)
    accepted = pl.concat([first[0], second[0]], how="diagonal_relaxed")
    rejected = pl.concat([first[1], second[1]], how="diagonal_relaxed")
    return accepted, rejected


def read_table_file(
    path: Path, *, keep_ragged: bool = False, number_columns: Collection[str] = (), time_columns: Collection[str] = ()
) -> pl.DataFrame:
    """Rows of a CSV, Parquet or JSON Lines file. Cells of a CSV file are text.

    Args:
        path: The file.
        keep_ragged: Whether a CSV row may have more fields than the header; the rest is put into the column ``_extra``.
        number_columns: CSV columns that are read as numbers if all their cells are numbers.
        time_columns: CSV columns that are read as times if all their cells are times.

    Raises:
        BadInput: The file is missing, empty, of another format or broken.
    """
    if not path.exists():
        raise BadInput(str(path), "does not exist", "check the name")
    if path.stat().st_size == 0:
        raise BadInput(str(path), "is empty", "export it again with a header line and rows")
    suffix = path.suffix.lower()
    if suffix != ".csv" and suffix not in _READERS:
        raise BadInput(str(path), "is not .csv, .parquet, .jsonl or .ndjson", "convert or rename it")
    try:
        frame = _read_file(path, number_columns, time_columns)
    except (pl.exceptions.PolarsError, OSError) as error:
        detail = str(error).splitlines()[0]
        rule = f"cannot be read as {path.suffix[1:]} ({detail})"
        raise BadInput(str(path), rule, "check how it was exported") from None
    if frame.is_empty():
        raise BadInput(str(path), "has a header but no rows", "export it again")
    if EXTRA_COLUMN in frame.columns and not keep_ragged:
        row = frame[EXTRA_COLUMN].is_not_null().arg_max()
        raise BadInput(f"{path}: row {row}", "has more fields than the header", "quote cells that hold a comma")
    return frame


def _read_file(path: Path, number_columns: Collection[str], time_columns: Collection[str]) -> pl.DataFrame:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _read_csv(path, number_columns, time_columns)
    return _READERS[suffix](path)


def _read_csv(path: Path, number_columns: Collection[str] = (), time_columns: Collection[str] = ()) -> pl.DataFrame:
    try:
        return _nullify_missing(_scan_csv(path, number_columns, time_columns))
    except pl.exceptions.PolarsError as error:
        message = str(error).lower()
        if "more fields" in str(error):
            return _read_ragged_csv(path)
        if "utf-8" in message or "utf8" in message:
            return _nullify_missing(pl.read_csv(path, infer_schema=False, encoding="utf8-lossy"))
        if number_columns or time_columns:
            # A cell is no number or no time: read all cells as text, so that its row can be quarantined.
            return _read_csv(path)
        raise


def _scan_csv(path: Path, number_columns: Collection[str], time_columns: Collection[str]) -> pl.DataFrame:
    # Missing values are not passed to the reader: it would compare every cell with each of them, a quarter slower.
    lazy = pl.scan_csv(path, infer_schema=False, schema_overrides=dict.fromkeys(number_columns, pl.Float64))
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        first_row: Mapping[str, str] = next(csv.DictReader(file), {})
    time_formats: dict[str, _TimeFormat] = {}
    for name in time_columns:
        if name in first_row:
            time_formats[name] = _detect_time_format(pl.Series([first_row[name]], dtype=pl.String))
    typed = lazy.with_columns(parse(pl.col(name), True) for name, parse in time_formats.items())
    return typed.collect(engine="in-memory")


def _nullify_missing(frame: pl.DataFrame) -> pl.DataFrame:
    """``frame`` with null in place of the texts that stand for a missing value."""
    text = pl.col(pl.String)
    short_text = text.filter(text.str.len_bytes() <= _MAX_MISSING_LENGTH)
    has_missing = frame.lazy().select(short_text.is_in(_MISSING_VALUES).any()).collect(engine="streaming")
    names = [name for name in has_missing.columns if has_missing[name][0]]
    return frame.with_columns(
        pl.when(~pl.col(name).is_in(_MISSING_VALUES)).then(pl.col(name)).alias(name) for name in names
    )


def _read_ragged_csv(path: Path) -> pl.DataFrame:
    """A CSV file whose rows may have more fields than the header: they go into the column ``_extra``. Slow."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        header, *rows = (row for row in csv.reader(file) if row)
    width = len(header)
    cells: list[list[str | None]] = []
    extra_fields: list[str | None] = []
    for row in rows:
        values = [None if value in _MISSING_VALUES else value for value in row[:width]]
        padding = [None] * (width - len(row))
        cells.append([*values, *padding])
        extra_fields.append(",".join(row[width:]) if len(row) > width else None)
    frame = pl.DataFrame(cells, schema=dict.fromkeys(header, pl.String), orient="row")
    return frame.with_columns(pl.Series(EXTRA_COLUMN, extra_fields))


_READERS = {".parquet": pl.read_parquet, ".jsonl": pl.read_ndjson, ".ndjson": pl.read_ndjson}


def _rename_columns(raw: pl.DataFrame, mapping: dict[str, str], source: str, table: str) -> pl.DataFrame:
    """``raw`` with the names of ``core.columns``, sorted by name. Raises BadInput for missing and unknown columns."""
    table_columns = TABLES[table]
    for name, name_in_file in mapping.items():
        if name_in_file not in raw.columns:
            way_out = f"the file has: {_first_names(raw)}"
            raise BadInput(f"{source}: column {name_in_file!r}", "is mapped but not in the file", way_out)
        if name not in table_columns:
            way_out = f"known: {', '.join(table_columns)}"
            raise BadInput(f"[columns.{table}] {name}", "is no column of this table", way_out)
    raw = raw.rename({name_in_file: name for name, name_in_file in mapping.items() if name_in_file != name})
    missing = [name for name in REQUIRED_COLUMNS[table] if name not in raw.columns]
    if missing:
        way_out = f"the file has: {_first_names(raw)}; map names under [columns.{table}] in vetrina.toml"
        raise BadInput(f"{source}: column {missing[0]!r}", f"is required for {table} and missing", way_out)
    return raw.select(sorted(raw.columns))


def _first_names(frame: pl.DataFrame) -> str:
    """Names of the first columns, for an error message."""
    return ", ".join(frame.columns[:12])


def _typed_column(raw: pl.DataFrame, name: str, column_type: str) -> pl.Expr:
    """A column as one of the types of ``core.columns``; values of another type become null."""
    if column_type == "time":
        return _parse_times(raw[name])
    if column_type == "str":
        text = as_text(raw, name).cast(pl.String)
        if is_free_text(name):
            text = text.str.slice(0, _MAX_TEXT_LENGTH)
        return text.alias(name)
    column = pl.col(name)
    if raw.schema[name] == pl.String:
        column = column.str.strip_chars()  # as the CSV reader does with numbers
    number = column.cast(pl.Float64, strict=False)
    number = pl.when(number.is_finite()).then(number)
    if column_type == "int":
        number = number.cast(pl.Int64, strict=False)
    return number.alias(name)


def as_text(frame: pl.DataFrame, name: str) -> pl.Expr:
    """A nested column as JSON, a categorical column as text, any other column unchanged."""
    column = pl.col(name)
    dtype = frame.schema[name]
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    if not dtype.is_nested():
        return column
    record = column if isinstance(dtype, pl.Struct) else pl.struct(column.alias("values"))
    return pl.when(column.is_not_null()).then(record.struct.json_encode()).alias(name)


def is_free_text(name: str) -> bool:
    """Whether a column holds prose or names, which are cut to a maximum length. Ids are never cut."""
    return name in ("title", "description", "category", "brand", "query", "attributes")


def _parse_times(column: pl.Series) -> pl.Expr:
    """Times in UTC as microseconds; text is parsed in the format of its first value."""
    dtype = column.dtype
    times = pl.col(column.name)
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone:
            times = times.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return times.cast(pl.Datetime("us"))
    if dtype == pl.Date:
        return times.cast(pl.Datetime("us"))
    if dtype.is_numeric():
        return _datetime_from_epoch(times.cast(pl.Float64))
    parse = _detect_time_format(column.head(_TIME_FORMAT_SAMPLE_ROWS))
    return parse(times, False)


def _detect_time_format(texts: pl.Series) -> "_TimeFormat":
    """Format of the first value: nearly every file has a single one."""
    first_value = texts.drop_nulls().head(1)
    if first_value.is_empty():
        return _TIME_FORMATS[0]
    for time_format in _TIME_FORMATS:
        if _apply_time_format(time_format, first_value).null_count() == 0:
            return time_format
    return _TIME_FORMATS[0]


def _parse_other_time_formats(column: pl.Series, times: pl.Series) -> pl.Series:
    """``times`` with missing values parsed from the text of ``column`` in any other format."""
    if column.dtype != pl.String:
        return times
    for time_format in _TIME_FORMATS:
        times = times.zip_with(times.is_not_null(), _apply_time_format(time_format, column))
    return times


# Parses text as times. The flag decides about text of another format: True raises, False makes it missing.
_TimeFormat = Callable[[pl.Expr, bool], pl.Expr]


def _apply_time_format(time_format: _TimeFormat, column: pl.Series) -> pl.Series:
    expression = time_format(pl.lit(column), False)
    return pl.select(expression.alias(column.name)).to_series()


def _iso_format(separator: str, fraction: str = "%.f") -> _TimeFormat:
    """ISO 8601 without a time zone, which is UTC."""
    pattern = f"%Y-%m-%d{separator}%H:%M:%S{fraction}"

    def parse(text: pl.Expr, strict: bool) -> pl.Expr:
        return text.str.to_datetime(pattern, time_unit="us", strict=strict)

    return parse


def _zoned_format(text: pl.Expr, strict: bool) -> pl.Expr:
    """ISO 8601 with "Z" or an offset, converted to UTC."""
    times = text.str.to_datetime(time_unit="us", time_zone="UTC", strict=strict, exact=True, format="%+")
    return times.dt.replace_time_zone(None)


def _date_format(text: pl.Expr, strict: bool) -> pl.Expr:
    return text.str.to_date("%Y-%m-%d", strict=strict).cast(pl.Datetime("us"))


def _epoch_format(text: pl.Expr, strict: bool) -> pl.Expr:
    return _datetime_from_epoch(text.cast(pl.Float64, strict=strict))


def _datetime_from_epoch(number: pl.Expr) -> pl.Expr:
    seconds = pl.when(number.abs() < _MAX_EPOCH_SECONDS).then(number).otherwise(number / 1_000)
    microseconds = pl.when(seconds.is_finite()).then((seconds * _MICROSECONDS).round())
    return microseconds.cast(pl.Int64, strict=False).cast(pl.Datetime("us"))


# In the order in which they are tried. A fraction of fixed length is parsed twice as fast as any other.
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
    """A rule that rows must keep.

    Attributes:
        column: Column that is reported.
        reason: What is wrong with a row that breaks the rule.
        is_broken: Whether a row breaks the rule.
        may_be_broken: A condition that is fast to evaluate and true for every row that breaks the rule.
    """

    column: str
    reason: str
    is_broken: pl.Expr
    may_be_broken: pl.Expr


def _rules(raw: pl.DataFrame, table: str) -> list[_Rule]:
    rules: list[_Rule] = []
    if EXTRA_COLUMN in raw.columns:
        has_extra = pl.col(EXTRA_COLUMN).is_not_null()
        reason = "has more fields than the header: a comma in an unquoted cell?"
        rules.append(_Rule(EXTRA_COLUMN, reason, has_extra, has_extra))
    for name in REQUIRED_COLUMNS[table]:
        column_type = TABLES[table][name]
        is_missing = pl.col(name).is_null()
        rules.append(_Rule(name, f"{name} is missing or no {column_type}", is_missing, is_missing))
        if column_type == "str" and raw.schema[name] == pl.String:
            is_blank = pl.col(name).str.strip_chars() == ""
            starts_with_blank = ~pl.col(name).is_between(pl.lit("!"), pl.lit("\x7f"))
            rules.append(_Rule(name, f"{name} is blank", is_blank, starts_with_blank))
    if table == "events":
        latest = clock.now() + _MAX_FUTURE_DAYS * clock.DAY
        latest_time = pl.lit(int(latest * _MICROSECONDS)).cast(pl.Datetime("us"))
        is_ahead = pl.col("timestamp") > latest_time
        reason = f"timestamp lies more than {_MAX_FUTURE_DAYS} days ahead"
        rules.append(_Rule("timestamp", reason, is_ahead, is_ahead))
    return rules


def _rejection_reasons(typed: pl.DataFrame, rules: Sequence[_Rule]) -> pl.Series:
    """(n,) reason of the first rule that each row breaks; null for accepted rows."""
    hints = typed.select(rule.may_be_broken.any().alias(rule.reason) for rule in rules)
    if not any(hints.row(0)):
        return pl.Series(REASON_COLUMN, [None], pl.String).new_from_index(0, len(typed))
    reason = pl.lit(None, pl.String)
    for rule in reversed(rules):
        reason = pl.when(rule.is_broken).then(pl.lit(rule.reason)).otherwise(reason)
    return typed.select(reason.alias(REASON_COLUMN))[REASON_COLUMN]


def _quarantine(raw: pl.DataFrame, reasons: pl.Series, rules: Sequence[_Rule]) -> pl.DataFrame:
    """Number, reason, column and pattern of the rows with a reason. It contains no value of any column.

    In a row with too many or too few fields, any column may hold a value that identifies a person.
    """
    column_of = {rule.reason: rule.column for rule in rules}
    columns = list(dict.fromkeys(column_of.values()))
    rejected = raw.select(columns).with_row_index(ROW_COLUMN).with_columns(reasons).filter(reasons.is_not_null())
    column = pl.col(REASON_COLUMN).replace_strict(column_of, return_dtype=pl.String)
    rejected = rejected.with_columns(column.alias(COLUMN))
    patterns = [pl.when(pl.col(COLUMN) == name).then(_pattern(rejected, name)) for name in columns]
    return rejected.select(ROW_COLUMN, REASON_COLUMN, COLUMN, pl.coalesce(patterns).alias(PATTERN))


def _pattern(frame: pl.DataFrame, name: str) -> pl.Expr:
    """Shape of the values: "31.12.2023" is "99.99.9999", "Anna" is "aaaa"."""
    text = as_text(frame, name).cast(pl.String).str.slice(0, _MAX_PATTERN_LENGTH)
    letters = text.str.replace_all(r"\p{L}", "a")
    digits = letters.str.replace_all(r"\p{N}", "9")
    return digits.str.replace_all(r"[^a9 .,:;/+_-]", "?")
