"""Impute, scale, encode: learnt from training rows, kept in the bundle, the same code for serving."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core.errors import BadInput
from vetrina.core.labelled_tables import EncodedTable, LabelledTable, LabelScaler
from vetrina.core.tokeniser import tokenise
from vetrina.core.types import Floats

_MAX_CATEGORIES = 32
_MAX_TARGET_ENCODED = 20_000
_SMOOTHING_ROWS = 20.0
_MIN_COUNT_FOR_ID = 5
_N_FOLDS = 5
_FOLD_SEED = 42
TARGET_RATE = "what its label is on average"
FREQUENCY = "how often it comes"
_MIN_TEXTS = 50
_MIN_WORDS_PER_TEXT = 4.0
_MIN_ROWS_PER_TERM = 3
_MAX_TERMS = 3_000
_MAX_CELLS = 60_000_000
_POSITIVE_WORDS = ("1", "1.0", "true", "True", "TRUE", "yes", "Yes", "y", "Y", "positive")
_CLIP_AT_SD = 8.0
_SKEWNESS_THRESHOLD = 2.0
N_BINS = 16
_NORMAL_QUANTILES = np.array([NormalDist().inv_cdf(k / N_BINS) for k in range(1, N_BINS)])


class NumericColumn(msgspec.Struct, frozen=True, tag="number"):
    """Missing values become the median; then (x - mean) / sd. A second column says what was missing, where anything was.

    Of ``skewed`` numbers, such as counts and amounts, the signed logarithm sign(x) ln(1 + |x|) is taken before.
    """

    name: str
    median: float
    mean: float
    sd: float
    holes: bool = False
    skewed: bool = False

    def unskew(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """(rows,) as mean and sd are of."""
        return _signed_log(raw) if self.skewed else raw

    def inverse_transform(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) in the table's own numbers, for values that lie so many standard deviations above the mean."""
        values = self.mean + scaled * self.sd
        return np.sign(values) * np.expm1(np.abs(values)) if self.skewed else values


class CategoricalColumn(msgspec.Struct, frozen=True, tag="words", dict=True):
    """One column for each of the most frequent values; other and missing values are all zeros.

    Where there are more, every value seen twice is ``known``, too, the most frequent first: a column says how far the log-odds
    of its ``rates`` lie above those of all rows (its mean label, in standard units, where ``of_number``), another how often it
    was seen, ln(1 + counts).
    """

    name: str
    values: tuple[str, ...]
    known: tuple[str, ...] = ()
    rates: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    mean: float = 0.5
    ids: int = 1  # how many numbers there are for values: 0 for rare and unseen ones
    of_number: bool = False

    @cached_property
    def index_of_value(self) -> dict[str, int]:
        """Of each known value its place."""
        return {value: at for at, value in enumerate(self.known)}


class TextColumn(msgspec.Struct, frozen=True, tag="text", dict=True):
    """Free text: log(1 + count) * idf of its words and pairs of neighbours, a row has length 1; idf = ln(rows / rows with it)."""

    name: str
    words: tuple[str, ...]
    idf: tuple[float, ...]

    @cached_property
    def index_of_term(self) -> dict[str, int]:
        """Of each word its column."""
        return {word: at for at, word in enumerate(self.words)}

    @cached_property
    def idf_array(self) -> Floats:
        """``idf`` (words,)."""
        return np.array(self.idf, np.float32)


ColumnEncoder = NumericColumn | CategoricalColumn | TextColumn


class TableEncoding(msgspec.Struct, frozen=True):
    """Columns in the order of the table; ``positive`` is the label value that means yes, where the label is no ``number``."""

    columns: tuple[ColumnEncoder, ...]
    positive: str
    negative: str
    number: LabelScaler | None = None

    @classmethod
    def fit(cls, table: LabelledTable) -> "TableEncoding":
        """From training rows alone. Raises BadInput for a label that is neither a yes or no nor a number."""
        values = sorted({str(v) for v in table.label.tolist()})
        numeric = is_regression_label(table)
        if len(values) != 2 and not numeric:
            shown = ", ".join(values[:5])
            raise BadInput(
                f"label values {shown}", f"are {len(values)}, not two", "predict answers yes or no, or a number"
            )
        if not numeric:
            positive = next((v for v in values if v in _POSITIVE_WORDS), values[-1])
            empty = cls((), positive, next(v for v in values if v != positive))
        else:
            label = table.label.astype(np.float64)
            scale = LabelScaler(float(label.mean()), float(label.std()), float(label.min()), float(label.max()))
            empty = cls((), "", "", scale)
        truth = empty.encode_labels(table.label).astype(np.float64)
        columns = tuple(_fit_column(name, raw, truth, empty.number is not None) for name, raw in table.columns.items())
        return msgspec.structs.replace(empty, columns=columns)

    def encode_labels(self, label: NDArray[Any]) -> Floats:
        """(rows,) labels as models learn them: 1 for yes and 0 for no, or in standard units."""
        if self.number is not None:
            return self.number.transform(label)
        return np.array([str(v) == self.positive for v in label.tolist()], np.float32)

    def encode(self, columns: Mapping[str, NDArray[Any]]) -> EncodedTable:
        """Rows without a label; every number is finite."""
        return self._assemble(columns, [_target_encode(c, columns[c.name]) for c in self.columns])

    def encode_training_rows(self, columns: Mapping[str, NDArray[Any]], label: NDArray[np.floating]) -> EncodedTable:
        """The rows that the encoding was learnt from, with their ``label`` (rows,) as ``truth`` gives it.

        What a value's rate says of a row comes from the other parts of _PARTS: a model must not see a row's own label in it.
        """
        part = np.random.default_rng(_FOLD_SEED).integers(0, _N_FOLDS, len(label))
        rated = [_target_encode_out_of_fold(c, columns[c.name], label, part) for c in self.columns]
        return replace(self._assemble(columns, rated), label=label.astype(np.float32))

    def _assemble(self, columns: Mapping[str, NDArray[Any]], rated: Sequence[list[NDArray[Any]]]) -> EncodedTable:
        blocks = [
            block
            for c, more in zip(self.columns, rated, strict=True)
            for block in (*_encode_column(c, columns[c.name]), *more)
        ]
        many = [c for c in self.columns if isinstance(c, CategoricalColumn) and c.known]
        ids = (
            np.stack([_category_ids(c, columns[c.name]) for c in many], 1)
            if many
            else np.zeros((len(blocks[0]), 0), np.int32)
        )
        dense = np.column_stack(blocks).astype(np.float32)
        return EncodedTable(dense, ids, tuple(c.ids for c in many), raw_columns=columns, label_scaler=self.number)

    def encoded_columns(self) -> list[tuple[ColumnEncoder, str]]:
        """Of each encoded column what it comes from, and the word that it stands for (``missing`` for holes)."""
        return [(column, word) for column in self.columns for word in _encoded_names(column)]

    def bins(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.int8]:
        """(rows, columns) what is logged of a request, too coarse to tell a person by: 0 to 15 for a number, equally likely
        if it is normal; the place of a word among ``values``; -1 for missing, -2 for any other word."""
        return np.stack([_bin_column(c, columns[c.name]) for c in self.columns], 1)

    def columns_from_rows(self, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
        """Rows of a request as columns: lists in column order, or objects by name. Raises BadInput."""
        return {
            c.name: _parse_column(c, [_get_cell(c, at, row, len(self.columns)) for row in rows])
            for at, c in enumerate(self.columns)
        }


def is_regression_label(table: LabelledTable) -> bool:
    """Whether the label is a number to be told, not one of two values."""
    return table.label.dtype != object and len(np.unique(table.label)) > 2


def _encoded_names(column: ColumnEncoder) -> Sequence[str]:
    if isinstance(column, NumericColumn):
        return ("", "missing") if column.holes else ("",)
    if isinstance(column, TextColumn):
        return column.words or ("",)
    return (*(column.values or ("",)), *((TARGET_RATE, FREQUENCY) if column.known else ()))


def _fit_column(name: str, raw: NDArray[Any], label: NDArray[np.float64], is_regression: bool) -> ColumnEncoder:
    if raw.dtype == object and _is_text(raw):
        return _fit_tfidf(name, raw)
    if raw.dtype == object:
        names, counts = np.unique([v for v in raw if v is not None], return_counts=True)
        frequent = names[np.argsort(-counts, kind="stable")][:_MAX_CATEGORIES]
        if len(names) <= _MAX_CATEGORIES:
            return CategoricalColumn(name, tuple(str(v) for v in frequent))
        return _fit_target_encoding(name, raw, label, tuple(str(v) for v in frequent), is_regression)
    there = raw[np.isfinite(raw)]
    if not len(there):
        return NumericColumn(name, 0.0, 0.0, 1.0)
    skewed = bool(_skewness(there) > _SKEWNESS_THRESHOLD and _skewness(_signed_log(there)) < _skewness(there) / 2)
    values = _signed_log(there) if skewed else there
    median = float(np.median(values))
    filled = np.full(len(raw), median)
    filled[np.isfinite(raw)] = values
    holes = bool(len(there) < len(raw))
    return NumericColumn(name, median, float(filled.mean()), float(filled.std()) or 1.0, holes, skewed)


def _signed_log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sign(values) * np.log1p(np.abs(values))


def _skewness(values: NDArray[np.float64]) -> float:
    """|third standardised moment|."""
    spread = float(values.std())
    return abs(float((((values - values.mean()) / spread) ** 3).mean())) if spread > 0 else 0.0


def _fit_target_encoding(
    name: str, raw: NDArray[Any], label: NDArray[np.float64], values: tuple[str, ...], is_regression: bool
) -> CategoricalColumn:
    counts = Counter(v for v in raw if v is not None)
    known = [value for value, n in counts.most_common(_MAX_TARGET_ENCODED) if n > 1]
    place = {value: at for at, value in enumerate(known)}
    at = np.array([place.get(v, -1) for v in raw], np.intp)
    mean = float(label.mean())
    seen = np.array([counts[v] for v in known], np.float64)
    yes = np.bincount(at[at >= 0], label[at >= 0], len(known))
    rates = (yes + _SMOOTHING_ROWS * mean) / (seen + _SMOOTHING_ROWS)
    frequent = int((seen >= _MIN_COUNT_FOR_ID).sum())
    return CategoricalColumn(
        name,
        values,
        tuple(known),
        tuple(np.round(rates, 6).tolist()),
        tuple(seen.astype(int).tolist()),
        mean,
        1 + frequent,
        is_regression,
    )


def _category_ids(column: CategoricalColumn, raw: NDArray[Any]) -> NDArray[np.int32]:
    """The number of each value, 0 for one that was seen too seldom to learn anything of."""
    at = np.array([column.index_of_value.get(v, column.ids) + 1 for v in raw], np.int32)
    return np.where(at < column.ids, at, 0).astype(np.int32)


def _target_encode(column: ColumnEncoder, raw: NDArray[Any]) -> list[NDArray[Any]]:
    if not isinstance(column, CategoricalColumn) or not column.known:
        return []
    at = np.array([column.index_of_value.get(v, -1) for v in raw], np.intp)
    rates = np.array([*column.rates, column.mean])
    counts = np.array([*column.counts, 0])
    return [_rate_difference(column, rates[at]), np.log1p(counts[at])]


def _target_encode_out_of_fold(
    column: ColumnEncoder, raw: NDArray[Any], label: NDArray[np.floating], part: NDArray[np.intp]
) -> list[NDArray[Any]]:
    if not isinstance(column, CategoricalColumn) or not column.known:
        return []
    at = np.array([column.index_of_value.get(v, len(column.known)) for v in raw], np.intp)
    cell = at * _N_FOLDS + part
    size = (len(column.known) + 1) * _N_FOLDS
    yes = np.bincount(cell, label, size).reshape(-1, _N_FOLDS)
    seen = np.bincount(cell, minlength=size).reshape(-1, _N_FOLDS)
    others_yes, others = (s.sum(1)[at] - s[at, part] for s in (yes, seen))
    rate = (others_yes + _SMOOTHING_ROWS * column.mean) / (others + _SMOOTHING_ROWS)
    rare = at == len(column.known)
    above = np.where(rare, 0.0, _rate_difference(column, rate))
    return [above, np.where(rare, 0.0, np.log1p(others))]


def _rate_difference(column: CategoricalColumn, rate: NDArray[np.floating]) -> NDArray[np.float64]:
    """How far rates lie above that of all rows."""
    if column.of_number:
        return rate.astype(np.float64) - column.mean
    return _log_odds(rate) - _log_odds(np.array(column.mean))


def _log_odds(rate: NDArray[np.floating]) -> NDArray[np.float64]:
    kept = np.clip(rate, 1e-4, 1.0 - 1e-4)
    return np.log(kept / (1.0 - kept))


def _is_text(raw: NDArray[Any]) -> bool:
    """Mostly different values of several words each."""
    there = [v for v in raw if v is not None]
    if len(there) < _MIN_TEXTS or len(set(there)) < len(there) / 2:
        return False
    return float(np.mean([len(str(v).split()) for v in there[:1_000]])) >= _MIN_WORDS_PER_TEXT


def _fit_tfidf(name: str, raw: NDArray[Any]) -> TextColumn:
    """The terms that stand in the most rows, but in no more than half of them."""
    rows = Counter(term for v in raw for term in set(_terms(v)))
    most = min(_MAX_TERMS, max(1, _MAX_CELLS // max(1, len(raw))))
    usual = [(term, n) for term, n in rows.most_common() if _MIN_ROWS_PER_TERM <= n <= len(raw) / 2]
    kept = sorted(usual, key=lambda t: (-t[1], t[0]))[:most]
    return TextColumn(name, tuple(t for t, _ in kept), tuple(round(math.log(len(raw) / n), 4) for _, n in kept))


def _terms(value: Any) -> list[str]:
    found = tokenise(str(value)) if value is not None else []
    return [*found, *(f"{a} {b}" for a, b in pairwise(found))]


def _tfidf(column: TextColumn, raw: NDArray[Any]) -> Floats:
    """(rows, words) float32."""
    place = column.index_of_term
    found = np.zeros((len(raw), len(column.words)), np.float32)
    for row, value in enumerate(raw):
        counts = Counter(place[t] for t in _terms(value) if t in place)
        if counts:
            at = np.fromiter(counts, np.intp)
            weights = np.log1p(np.fromiter(counts.values(), np.float32)) * column.idf_array[at]
            found[row, at] = weights / max(float(np.linalg.norm(weights)), 1e-9)
    return found


def _bin_column(column: ColumnEncoder, raw: NDArray[Any]) -> NDArray[np.int8]:
    if isinstance(column, TextColumn):  # only how long it is
        lengths = [-1 if v is None else min(N_BINS - 1, len(str(v).split()).bit_length()) for v in raw]
        return np.array(lengths, np.int8)
    if isinstance(column, CategoricalColumn):
        place = {value: at for at, value in enumerate(column.values)}
        return np.array([-1 if v is None else place.get(v, -2) for v in raw], np.int8)
    there = np.isfinite(raw)
    z = (np.where(there, column.unskew(raw), column.mean) - column.mean) / column.sd
    return np.where(there, np.searchsorted(_NORMAL_QUANTILES, z), -1).astype(np.int8)


def _encode_column(column: ColumnEncoder, raw: NDArray[Any]) -> list[NDArray[Any]]:
    if isinstance(column, TextColumn):
        return [_tfidf(column, raw)] if column.words else [np.zeros(len(raw))]
    if isinstance(column, CategoricalColumn):
        return [raw == value for value in column.values] or [np.zeros(len(raw))]
    filled = np.where(np.isfinite(raw), column.unskew(raw), column.median)
    # A value far outside what was seen says "very large", no more: it must not drive the network.
    scaled = np.clip((filled - column.mean) / column.sd, -_CLIP_AT_SD, _CLIP_AT_SD)
    return [scaled, ~np.isfinite(raw)] if column.holes else [scaled]


def _get_cell(column: ColumnEncoder, at: int, row: Any, width: int) -> Any:
    if isinstance(row, Mapping):
        return row.get(column.name)
    if len(row) != width:
        raise BadInput(
            f"features with {len(row)} values",
            f"must have {width}",
            "give every column in the table's order, null for unknown",
        )
    return row[at]


def _parse_column(column: ColumnEncoder, cells: list[Any]) -> NDArray[Any]:
    if not isinstance(column, NumericColumn):
        return np.array([None if c is None else _to_string(c) for c in cells] + [None], dtype=object)[:-1]
    try:
        return np.array([np.nan if c is None or c == "" else float(c) for c in cells])
    except (TypeError, ValueError):
        wrong = next(c for c in cells if not _is_numeric(c))
        raise BadInput(f"{column.name} = {wrong!r}", "is no number", "give a number, or null for unknown") from None


def _to_string(cell: Any) -> str:
    return str(cell)


def _is_numeric(cell: Any) -> bool:
    try:
        float(cell if cell not in (None, "") else 0)
    except (TypeError, ValueError):
        return False
    return True
