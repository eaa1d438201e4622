"""Table encoding: imputation, scaling, one-hot and target encoding, TF-IDF.

Fitted on training rows and stored in the bundle; training and serving encode with the same code.
"""

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

from vetrina.core.arrays import Floats
from vetrina.core.errors import BadInput
from vetrina.core.labelled_tables import EncodedTable, LabelledTable, LabelScaler
from vetrina.core.tokeniser import tokenise

_MAX_CATEGORIES = 32  # one-hot columns of a categorical column
_MAX_TARGET_ENCODED = 20_000  # values of a categorical column with a target encoding
_SMOOTHING_ROWS = 20.0  # rows by which a value's label rate is shrunk to that of all rows
_MIN_COUNT_FOR_ID = 5  # rows of a value with an id of its own
_N_FOLDS = 5
_FOLD_SEED = 42
TARGET_RATE = "target encoding"  # names of encoded columns, for people
FREQUENCY = "log frequency"
_MIN_TEXTS = 50  # rows below which no column is taken for free text
_MIN_WORDS_PER_TEXT = 4.0
_MAX_TEXTS_INSPECTED = 1_000
_MIN_ROWS_PER_TERM = 3
_MAX_TERMS = 3_000
_MAX_CELLS = 60_000_000  # rows times terms
_POSITIVE_WORDS = ("1", "1.0", "true", "True", "TRUE", "yes", "Yes", "y", "Y", "positive")
_CLIP_AT_SD = 8.0
_SKEWNESS_THRESHOLD = 2.0
_MIN_RATE = 1e-4  # and 1 minus the largest: the log-odds stay finite
_MIN_NORM = 1e-9
N_BINS = 16
_NORMAL_QUANTILES = np.array([NormalDist().inv_cdf(k / N_BINS) for k in range(1, N_BINS)])
_MISSING_BIN = -1
_OTHER_VALUE_BIN = -2


class NumericColumn(msgspec.Struct, frozen=True, tag="number"):
    """Imputation and scaling of a numeric column: missing values become the median; then (x - mean) / sd.

    Attributes:
        name: Name of the column.
        median: Median, in the units of ``mean``.
        mean: Mean after imputation.
        sd: Standard deviation after imputation, in the same units.
        holes: Whether values were missing; if so, a second encoded column marks them.
        skewed: Whether mean and sd are of the signed logarithm sign(x) ln(1 + |x|), as for counts and amounts.
    """

    name: str
    median: float
    mean: float
    sd: float
    holes: bool = False
    skewed: bool = False

    def unskew(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``raw`` (rows,) in the units of ``mean`` and ``sd``."""
        if self.skewed:
            return _signed_log(raw)
        return raw

    def inverse_transform(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the table's own values (n,) of ``scaled`` ones, in standard deviations above the mean."""
        values = self.mean + scaled * self.sd
        if self.skewed:
            return np.sign(values) * np.expm1(np.abs(values))
        return values


class CategoricalColumn(msgspec.Struct, frozen=True, tag="words", dict=True):
    """One-hot encoding of the most frequent values; other and missing values are all zeros.

    If a column has more values than one-hot columns, it gets two more: the target encoding, which is the difference between
    the log-odds of the value's label rate and those of all rows (for a regression label the difference of mean labels, in
    standard units), and ln(1 + count) of the value.

    Attributes:
        name: Name of the column.
        values: Values with a one-hot column, most frequent first.
        known: Values with a target encoding, which are in at least two rows, most frequent first.
        rates: Smoothed label rate of each of ``known``.
        counts: Number of rows of each of ``known``.
        mean: Label rate of all rows.
        ids: Number of ids of values; 0 is the id of rare and unseen ones.
        of_number: Whether the label is a number to be predicted by regression.
    """

    name: str
    values: tuple[str, ...]
    known: tuple[str, ...] = ()
    rates: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    mean: float = 0.5
    ids: int = 1
    of_number: bool = False

    @cached_property
    def index_of_value(self) -> dict[str, int]:
        """Index in ``known`` by value."""
        return {value: index for index, value in enumerate(self.known)}


class TextColumn(msgspec.Struct, frozen=True, tag="text", dict=True):
    """TF-IDF of free text: log(1 + count) * idf of its words and word pairs, each row with norm 1.

    idf = ln(rows / rows with the term).
    """

    name: str
    words: tuple[str, ...]
    idf: tuple[float, ...]

    @cached_property
    def index_of_term(self) -> dict[str, int]:
        """Encoded column by term."""
        return {term: index for index, term in enumerate(self.words)}

    @cached_property
    def idf_array(self) -> Floats:
        """``idf`` (terms,) as an array."""
        return np.array(self.idf, np.float32)


ColumnEncoder = NumericColumn | CategoricalColumn | TextColumn


class TableEncoding(msgspec.Struct, frozen=True):
    """Encoders of all columns, in the order of the table, and the encoding of the label.

    Attributes:
        columns: One encoder a column.
        positive: Label value that means yes; empty for a regression label.
        negative: Label value that means no; empty for a regression label.
        number: Scaling of a regression label, None for a binary one.
    """

    columns: tuple[ColumnEncoder, ...]
    positive: str
    negative: str
    number: LabelScaler | None = None

    @classmethod
    def fit(cls, table: LabelledTable) -> "TableEncoding":
        """Return the encoding fitted on the training rows of ``table``.

        Raises:
            BadInput: The label is neither binary nor a number.
        """
        empty = cls._fit_label(table)
        label = empty.encode_labels(table.label).astype(np.float64)
        is_regression = empty.number is not None
        columns = tuple(_fit_column(name, raw, label, is_regression) for name, raw in table.columns.items())
        return msgspec.structs.replace(empty, columns=columns)

    @classmethod
    def _fit_label(cls, table: LabelledTable) -> "TableEncoding":
        """The encoding of the label, still without columns."""
        if is_regression_label(table):
            label = table.label.astype(np.float64)
            scaler = LabelScaler(float(label.mean()), float(label.std()), float(label.min()), float(label.max()))
            return cls((), "", "", scaler)
        values = sorted({str(value) for value in table.label.tolist()})
        if len(values) != 2:
            raise BadInput(
                f"label values {', '.join(values[:5])}",
                f"are {len(values)}, not two",
                "predict answers yes or no, or a number",
            )
        positive = next((value for value in values if value in _POSITIVE_WORDS), values[-1])
        negative = next(value for value in values if value != positive)
        return cls((), positive, negative)

    def encode_labels(self, label: NDArray[Any]) -> Floats:
        """Return labels (rows,) as models learn them: 1 for yes and 0 for no, or a number in standard units."""
        if self.number is not None:
            return self.number.transform(label)
        return np.array([str(value) == self.positive for value in label.tolist()], np.float32)

    def encode(self, columns: Mapping[str, NDArray[Any]]) -> EncodedTable:
        """Return encoded rows without a label; every number is finite."""
        target_columns = [_target_encode(column, columns[column.name]) for column in self.columns]
        return self._assemble(columns, target_columns)

    def encode_training_rows(self, columns: Mapping[str, NDArray[Any]], label: NDArray[np.floating]) -> EncodedTable:
        """Return the encoded rows on which the encoding was fitted, with their label.

        Target encodings are computed out of fold: a model must not see a row's own label in them.

        Args:
            columns: Raw values (rows,) by column.
            label: (rows,) labels as returned by ``encode_labels``.
        """
        fold_of_row = np.random.default_rng(_FOLD_SEED).integers(0, _N_FOLDS, len(label))
        target_columns = [
            _target_encode_out_of_fold(column, columns[column.name], label, fold_of_row) for column in self.columns
        ]
        return replace(self._assemble(columns, target_columns), label=label.astype(np.float32))

    def _assemble(
        self, columns: Mapping[str, NDArray[Any]], target_columns: Sequence[list[NDArray[Any]]]
    ) -> EncodedTable:
        """Encoded rows; ``target_columns`` are the target encodings of each column, none for most."""
        blocks: list[NDArray[Any]] = []
        id_columns: list[NDArray[np.int32]] = []
        id_counts: list[int] = []
        for column, target_encodings in zip(self.columns, target_columns, strict=True):
            raw = columns[column.name]
            blocks.extend(_encode_column(column, raw))
            blocks.extend(target_encodings)
            if isinstance(column, CategoricalColumn) and column.known:
                id_columns.append(_category_ids(column, raw))
                id_counts.append(column.ids)
        category_ids = np.zeros((len(blocks[0]), 0), np.int32)
        if id_columns:
            category_ids = np.stack(id_columns, 1)
        dense = np.column_stack(blocks).astype(np.float32)
        return EncodedTable(dense, category_ids, tuple(id_counts), raw_columns=columns, label_scaler=self.number)

    def encoded_columns(self) -> list[tuple[ColumnEncoder, str]]:
        """Return the source of each encoded column: its encoder, and the value or term (``missing`` for a marker)."""
        return [(column, name) for column in self.columns for name in _encoded_names(column)]

    def bins(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.int8]:
        """Return binned values (rows, columns) for the request log, too coarse to identify a person.

        0 to 15 for a number, equally likely if it is normal; the index in ``values`` for a category; the magnitude of its
        length for a text; -1 for a missing value, -2 for any other category.
        """
        return np.stack([_bin_column(column, columns[column.name]) for column in self.columns], 1)

    def columns_from_rows(self, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
        """Return the rows of a request as raw columns; each row is a list in column order or an object by name.

        Raises:
            BadInput: A row has the wrong length, or a cell of a numeric column is no number.
        """
        columns = {}
        for index, column in enumerate(self.columns):
            cells = [_get_cell(column, index, row, len(self.columns)) for row in rows]
            columns[column.name] = _parse_column(column, cells)
        return columns


def is_regression_label(table: LabelledTable) -> bool:
    """Return whether the label is a number to be predicted by regression, not one of two values."""
    return table.label.dtype != object and len(np.unique(table.label)) > 2


def _encoded_names(column: ColumnEncoder) -> list[str]:
    """Value or term of each encoded column, in the order of ``_encode_column`` and ``_target_encode``."""
    if isinstance(column, NumericColumn):
        if column.holes:
            return ["", "missing"]
        return [""]
    if isinstance(column, TextColumn):
        return list(column.words) or [""]
    names = list(column.values) or [""]
    if column.known:
        names += [TARGET_RATE, FREQUENCY]
    return names


def _fit_column(name: str, raw: NDArray[Any], label: NDArray[np.float64], is_regression: bool) -> ColumnEncoder:
    if raw.dtype != object:
        return _fit_numeric(name, raw)
    if _is_text(raw):
        return _fit_tfidf(name, raw)
    values, counts = np.unique([value for value in raw if value is not None], return_counts=True)
    by_frequency = np.argsort(-counts, kind="stable")
    frequent = tuple(str(value) for value in values[by_frequency][:_MAX_CATEGORIES])
    if len(values) <= _MAX_CATEGORIES:
        return CategoricalColumn(name, frequent)
    return _fit_target_encoding(name, raw, label, frequent, is_regression)


def _fit_numeric(name: str, raw: NDArray[np.float64]) -> NumericColumn:
    is_present = np.isfinite(raw)
    present = raw[is_present]
    if not len(present):
        return NumericColumn(name, 0.0, 0.0, 1.0)
    skewed = False
    skewness = _skewness(present)
    if skewness > _SKEWNESS_THRESHOLD:
        skewed = bool(_skewness(_signed_log(present)) < skewness / 2)
    if skewed:
        present = _signed_log(present)
    median = float(np.median(present))
    imputed = np.full(len(raw), median)
    imputed[is_present] = present
    sd = float(imputed.std())
    if sd == 0.0:
        sd = 1.0
    holes = len(present) < len(raw)
    return NumericColumn(name, median, float(imputed.mean()), sd, holes, skewed)


def _signed_log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sign(values) * np.log1p(np.abs(values))


def _skewness(values: NDArray[np.float64]) -> float:
    """|third standardised moment|, 0 for a constant."""
    sd = float(values.std())
    if sd > 0:
        standardised = (values - values.mean()) / sd
        return abs(float((standardised**3).mean()))
    return 0.0


def _fit_target_encoding(
    name: str,
    raw: NDArray[Any],
    label: NDArray[np.float64],
    values: tuple[str, ...],
    is_regression: bool,
) -> CategoricalColumn:
    """Target encoding of the most frequent values that are in at least two rows.

    Args:
        name: Name of the column.
        raw: (rows,) values, None where missing.
        label: (rows,) encoded labels.
        values: Values with a one-hot column.
        is_regression: Whether the label is a number to be predicted by regression.
    """
    count_of_value = Counter(value for value in raw if value is not None)
    encoded = [value for value, count in count_of_value.most_common(_MAX_TARGET_ENCODED) if count > 1]
    index_of_value = {value: index for index, value in enumerate(encoded)}
    index = np.array([index_of_value.get(value, -1) for value in raw], np.intp)
    is_encoded = index >= 0
    mean = float(label.mean())
    counts = np.array([count_of_value[value] for value in encoded], np.float64)
    label_sums = np.bincount(index[is_encoded], label[is_encoded], len(encoded))
    rates = (label_sums + _SMOOTHING_ROWS * mean) / (counts + _SMOOTHING_ROWS)
    n_with_id = int((counts >= _MIN_COUNT_FOR_ID).sum())
    return CategoricalColumn(
        name=name,
        values=values,
        known=tuple(encoded),
        rates=tuple(np.round(rates, 6).tolist()),
        counts=tuple(counts.astype(int).tolist()),
        mean=mean,
        ids=1 + n_with_id,
        of_number=is_regression,
    )


def _category_ids(column: CategoricalColumn, raw: NDArray[Any]) -> NDArray[np.int32]:
    """Id (rows,) of each value from 1, 0 for one that was in too few training rows."""
    ids = np.array([column.index_of_value.get(value, column.ids) + 1 for value in raw], np.int32)
    return np.where(ids < column.ids, ids, 0).astype(np.int32)


def _target_encode(column: ColumnEncoder, raw: NDArray[Any]) -> list[NDArray[Any]]:
    """Target encoding and log frequency (rows,), or nothing for a column without them."""
    if not isinstance(column, CategoricalColumn) or not column.known:
        return []
    # The index -1 of other values is the last entry of both arrays.
    index = np.array([column.index_of_value.get(value, -1) for value in raw], np.intp)
    rates = np.array([*column.rates, column.mean])
    counts = np.array([*column.counts, 0])
    return [_rate_difference(column, rates[index]), np.log1p(counts[index])]


def _target_encode_out_of_fold(
    column: ColumnEncoder,
    raw: NDArray[Any],
    label: NDArray[np.floating],
    fold_of_row: NDArray[np.intp],
) -> list[NDArray[Any]]:
    """As ``_target_encode``, by the rows of the other folds."""
    if not isinstance(column, CategoricalColumn) or not column.known:
        return []
    n_values = len(column.known)
    index = np.array([column.index_of_value.get(value, n_values) for value in raw], np.intp)
    # Sums by value and fold; the last value stands for all others.
    cell = index * _N_FOLDS + fold_of_row
    n_cells = (n_values + 1) * _N_FOLDS
    label_sums = np.bincount(cell, label, n_cells).reshape(-1, _N_FOLDS)
    row_counts = np.bincount(cell, minlength=n_cells).reshape(-1, _N_FOLDS)
    other_label_sums = label_sums.sum(1)[index] - label_sums[index, fold_of_row]
    other_row_counts = row_counts.sum(1)[index] - row_counts[index, fold_of_row]
    rates = (other_label_sums + _SMOOTHING_ROWS * column.mean) / (other_row_counts + _SMOOTHING_ROWS)
    is_rare = index == n_values
    target_encoding = np.where(is_rare, 0.0, _rate_difference(column, rates))
    log_frequency = np.where(is_rare, 0.0, np.log1p(other_row_counts))
    return [target_encoding, log_frequency]


def _rate_difference(column: CategoricalColumn, rates: NDArray[np.floating]) -> NDArray[np.float64]:
    """Difference of ``rates`` from that of all rows, in log-odds for a binary label."""
    if column.of_number:
        return rates.astype(np.float64) - column.mean
    return _log_odds(rates) - _log_odds(np.array(column.mean))


def _log_odds(rate: NDArray[np.floating]) -> NDArray[np.float64]:
    p = np.clip(rate, _MIN_RATE, 1.0 - _MIN_RATE)
    return np.log(p / (1.0 - p))


def _is_text(raw: NDArray[Any]) -> bool:
    """Whether most values are distinct and have several words."""
    present = [value for value in raw if value is not None]
    if len(present) < _MIN_TEXTS or len(set(present)) < len(present) / 2:
        return False
    word_counts = [len(str(value).split()) for value in present[:_MAX_TEXTS_INSPECTED]]
    return float(np.mean(word_counts)) >= _MIN_WORDS_PER_TEXT


def _fit_tfidf(name: str, raw: NDArray[Any]) -> TextColumn:
    """TF-IDF of the terms that are in the most rows, but in no more than half of them."""
    n_rows = len(raw)
    document_counts: Counter[str] = Counter()
    for value in raw:
        document_counts.update(set(_terms(value)))
    max_terms = min(_MAX_TERMS, max(1, _MAX_CELLS // max(1, n_rows)))
    usual = [(term, count) for term, count in document_counts.items() if _MIN_ROWS_PER_TERM <= count <= n_rows / 2]
    usual.sort(key=_most_frequent_first)
    selected = usual[:max_terms]
    terms = tuple(term for term, _ in selected)
    idf = tuple(round(math.log(n_rows / count), 4) for _, count in selected)
    return TextColumn(name, terms, idf)


def _most_frequent_first(term_count: tuple[str, int]) -> tuple[int, str]:
    term, count = term_count
    return -count, term


def _terms(value: Any) -> list[str]:
    """Words and pairs of neighbouring words."""
    if value is None:
        return []
    words = tokenise(str(value))
    pairs = [f"{first} {second}" for first, second in pairwise(words)]
    return [*words, *pairs]


def _tfidf(column: TextColumn, raw: NDArray[Any]) -> Floats:
    """(rows, terms) float32."""
    index_of_term = column.index_of_term
    encoded = np.zeros((len(raw), len(column.words)), np.float32)
    for row, value in enumerate(raw):
        counts = Counter(index_of_term[term] for term in _terms(value) if term in index_of_term)
        if not counts:
            continue
        terms = np.fromiter(counts, np.intp)
        term_counts = np.fromiter(counts.values(), np.float32)
        weights = np.log1p(term_counts) * column.idf_array[terms]
        norm = max(float(np.linalg.norm(weights)), _MIN_NORM)
        encoded[row, terms] = weights / norm
    return encoded


def _bin_column(column: ColumnEncoder, raw: NDArray[Any]) -> NDArray[np.int8]:
    """Bins (rows,) of a raw column, see ``TableEncoding.bins``."""
    if isinstance(column, TextColumn):
        return np.array([_bin_text(value) for value in raw], np.int8)
    if isinstance(column, CategoricalColumn):
        bin_of_value: dict[str | None, int] = {value: index for index, value in enumerate(column.values)}
        bin_of_value[None] = _MISSING_BIN
        return np.array([bin_of_value.get(value, _OTHER_VALUE_BIN) for value in raw], np.int8)
    is_present = np.isfinite(raw)
    values = np.where(is_present, column.unskew(raw), column.mean)
    standardised = (values - column.mean) / column.sd
    bins = np.searchsorted(_NORMAL_QUANTILES, standardised)
    return np.where(is_present, bins, _MISSING_BIN).astype(np.int8)


def _bin_text(value: Any) -> int:
    """Number of bits of the number of words."""
    if value is None:
        return _MISSING_BIN
    n_words = len(str(value).split())
    return min(N_BINS - 1, n_words.bit_length())


def _encode_column(column: ColumnEncoder, raw: NDArray[Any]) -> list[NDArray[Any]]:
    """Encoded columns (rows,) or (rows, terms) of a raw column, without target encodings; a zero column if there are none."""
    if isinstance(column, TextColumn):
        if not column.words:
            return [np.zeros(len(raw))]
        return [_tfidf(column, raw)]
    if isinstance(column, CategoricalColumn):
        if not column.values:
            return [np.zeros(len(raw))]
        return [raw == value for value in column.values]
    is_present = np.isfinite(raw)
    imputed = np.where(is_present, column.unskew(raw), column.median)
    # Clipped: a value far outside of the training values must not dominate a network's other inputs.
    scaled = np.clip((imputed - column.mean) / column.sd, -_CLIP_AT_SD, _CLIP_AT_SD)
    if column.holes:
        return [scaled, ~is_present]
    return [scaled]


def _get_cell(column: ColumnEncoder, index: int, row: Any, n_columns: int) -> Any:
    if isinstance(row, Mapping):
        return row.get(column.name)
    if len(row) != n_columns:
        raise BadInput(
            f"features with {len(row)} values",
            f"must have {n_columns}",
            "give every column in the table's order, null for unknown",
        )
    return row[index]


def _parse_column(column: ColumnEncoder, cells: list[Any]) -> NDArray[Any]:
    """Raw column (rows,) of a request's cells."""
    if not isinstance(column, NumericColumn):
        values = np.empty(len(cells), dtype=object)
        for row, cell in enumerate(cells):
            values[row] = None if cell is None else str(cell)
        return values
    try:
        return np.array([_to_float(cell) for cell in cells])
    except (TypeError, ValueError):
        wrong = next(cell for cell in cells if not _is_numeric(cell))
        raise BadInput(f"{column.name} = {wrong!r}", "is no number", "give a number, or null for unknown") from None


def _to_float(cell: Any) -> float:
    if cell is None or cell == "":
        return np.nan
    return float(cell)


def _is_numeric(cell: Any) -> bool:
    try:
        _to_float(cell)
    except (TypeError, ValueError):
        return False
    return True
