"""Batch answers: a file of requests in, a file with fixed columns out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from vetrina.api import channels
from vetrina.api.shop import Shop
from vetrina.api.webhook_signature import load_webhook_secret
from vetrina.core.errors import BadInput
from vetrina.core.files import atomic_write
from vetrina.core.progress import Progress, track
from vetrina.engines import find_engine
from vetrina.ingest.read import read_table_file
from vetrina.pipeline.recipe import compute_of
from vetrina.scenarios.commands import FileOfRequests
from vetrina.serve.recipients import RecipientList

Row = TypeVar("Row")

_WRITERS: dict[str, Callable[[pl.DataFrame, Path], None]] = {
    ".csv": lambda frame, path: _without_formulas(frame).write_csv(path),
    ".parquet": lambda frame, path: frame.write_parquet(path),
    ".jsonl": lambda frame, path: frame.write_ndjson(path),
}
_PREDICT_BATCH_ROWS = 1_000
_REQUESTS_PER_BATCH = 200
_NUMBER = r"^[+-]?[0-9]+([.][0-9]+)?$"  # a label of predict may be the text -1
_MAX_LISTED_COLUMNS = 12  # in an error message


_RankedRow = tuple[str, int, str, float]  # key, rank, product id, score


@dataclass
class _RequestRanker:
    """Answers batches of requests; another process that is sent it opens the shop again.

    Attributes:
        shop: The shop.
        scenario: The scenario that answers.
        requests: How a row becomes a request.
        parameters: Further parameters of every request.
    """

    shop: Shop
    scenario: str
    requests: FileOfRequests
    parameters: Mapping[str, Any]

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_ranker, (self.shop.folder.root, self.scenario, self.requests, self.parameters)

    def __call__(self, batch: Sequence[Mapping[str, Any]]) -> list[_RankedRow]:
        """The ranked products of each request of a batch."""
        ranked: list[_RankedRow] = []
        for row in batch:
            answer = self.shop.rank(self.scenario, **self.requests.parameters(row), **self.parameters)
            key = str(row[self.requests.key])
            for rank, item in enumerate(answer.items, start=1):
                ranked.append((key, rank, item.product_id, item.score))
        return ranked


def _open_ranker(
    shop_dir: Path, scenario: str, requests: FileOfRequests, parameters: Mapping[str, Any]
) -> _RequestRanker:
    return _RequestRanker(Shop(shop_dir), scenario, requests, parameters)


def rank_file(
    shop: Shop,
    scenario: str,
    requests: FileOfRequests,
    file: Path,
    out: Path,
    progress: Progress,
    parameters: Mapping[str, Any],
    engine: str | None = None,
) -> int:
    """Answer a file of requests with rankings: key, rank from 1, product_id, score.

    Args:
        shop: The shop.
        scenario: The scenario that answers.
        requests: How a row becomes a request.
        file: Requests, one a row.
        out: Output file: .csv, .parquet or .jsonl.
        progress: Where progress is reported.
        parameters: Further parameters of every request.
        engine: ``local`` or ``ray``; None for that of the settings.

    Returns:
        The number of rows written.

    Raises:
        BadInput: A column is missing, the output format is unknown, or the engine cannot be used.
    """
    key = requests.key
    frame = _require_columns(read_table_file(file), requests.columns, file)
    _check_output_format(out)
    shop.load(scenario)  # nothing is started where nothing is released
    compute = compute_of(shop.shop_context)
    if engine is not None:
        compute = replace(compute, engine=engine)
    compute_engine = find_engine(compute, threads=1)
    ranker = _RequestRanker(shop, scenario, requests, parameters)
    batches = _batches(frame.to_dicts(), _REQUESTS_PER_BATCH)
    rows: list[_RankedRow] = []
    with progress.step(f"{requests.name}: {file.name}", len(frame)) as step:
        for batch, ranked in zip(batches, compute_engine.map(ranker, batches), strict=True):
            rows += ranked
            step.advance(len(batch))
    product_column = "product_id"
    if key == product_column:
        product_column = "similar_product_id"  # the key is a product itself
    columns = {key: pl.String, "rank": pl.Int64, product_column: pl.String, "score": pl.Float64}
    _write_frame(pl.DataFrame(rows, schema=columns, orient="row"), out)
    return len(rows)


def predict_file(shop: Shop, file: Path, out: Path, progress: Progress, scenario: str = "predict") -> int:
    """Predict a file of rows: row from 0, probability (of a yes or no), prediction.

    Args:
        shop: The shop.
        file: Rows with the columns of the training table.
        out: Output file: .csv, .parquet or .jsonl.
        progress: Where progress is reported.
        scenario: The scenario that answers.

    Returns:
        The number of rows written.

    Raises:
        BadInput: A column is missing, or the output format is unknown.
    """
    frame = read_table_file(file)
    _check_output_format(out)
    column_names = [column.name for column in shop.load(scenario).encoding.columns]
    _require_columns(frame, tuple(column_names), file)
    rows = frame.select(column_names).rows()
    predictions: list[dict[str, Any]] = []
    for batch in track(progress, f"predict: {file.name}", _batches(rows, _PREDICT_BATCH_ROWS)):
        predictions += shop.predict(batch, scenario)
    columns: dict[str, list[Any]] = {"row": list(range(len(predictions)))}
    for name in ("probability", "prediction"):
        if predictions and name in predictions[0]:
            columns[name] = [prediction[name] for prediction in predictions]
    _write_frame(pl.DataFrame(columns), out)
    return len(predictions)


def audience_file(shop: Shop, file: Path, out: Path, progress: Progress, size: int, scenario: str = "launch") -> int:
    """Select an audience for each product of a file: product_id, rank, user_id, score.

    Args:
        shop: The shop.
        file: Rows with a column product_id.
        out: Output file: .csv, .parquet or .jsonl.
        progress: Where progress is reported.
        size: Users of each audience.
        scenario: The scenario that answers.

    Returns:
        The number of rows written.

    Raises:
        BadInput: The column is missing, or the output format is unknown.
    """
    frame = _require_columns(read_table_file(file), ("product_id",), file)
    _check_output_format(out)
    product_ids = frame["product_id"].cast(pl.String).to_list()
    rows: list[tuple[str, int, str, float]] = []
    for product_id in track(progress, f"audience: {file.name}", product_ids):
        recipients = shop.audience(product_id, scenario=scenario, size=size).recipients
        for rank, recipient in enumerate(recipients, start=1):
            rows.append((product_id, rank, recipient.user_id, recipient.score))
    columns = {"product_id": pl.String, "rank": pl.Int64, "user_id": pl.String, "score": pl.Float64}
    _write_frame(pl.DataFrame(rows, schema=columns, orient="row"), out)
    return len(rows)


def read_user_ids(file: Path) -> tuple[str, ...]:
    """The distinct values of the user_id column of a file. Raises BadInput without that column."""
    frame = _require_columns(read_table_file(file), ("user_id",), file)
    user_ids = frame["user_id"].cast(pl.String).drop_nulls().unique()
    return tuple(user_ids.to_list())


def deliver_audience(
    shop: Shop, channel: str, recipients: RecipientList, product: str | None, out: str
) -> dict[str, Any]:
    """Write an audience to a file, or send it to a webhook.

    Args:
        shop: The shop.
        channel: Channel, ``webhook`` among them.
        recipients: The audience.
        product: Id of the product it is about.
        out: File or URL.

    Returns:
        ``users``, the number of recipients, and ``out``, what was written or the URL.
    """
    product_record = None
    if product:
        product_record = shop.product(product)
    if channel == "webhook":
        secret = load_webhook_secret(shop.folder.root / "keys")
        n_sent = channels.post_audience(recipients.recipients, product_record, out, secret)
        return {"users": n_sent, "out": out}
    settings = shop.folder.settings.channels
    files = channels.write_audience(channel, recipients.recipients, product_record, Path(out), settings)
    return {"users": len(recipients.recipients), "out": ", ".join(str(file) for file in files)}


def _require_columns(frame: pl.DataFrame, required: tuple[str, ...], file: Path) -> pl.DataFrame:
    """The frame. Raises BadInput where a column is missing."""
    for name in required:
        if name not in frame.columns:
            present = ", ".join(frame.columns[:_MAX_LISTED_COLUMNS])
            raise BadInput(f"{file}: column {name!r}", "is required and missing", f"the file has: {present}")
    return frame


def _check_output_format(out: Path) -> None:
    if out.suffix.lower() not in _WRITERS:
        raise BadInput(str(out), "is not .csv, .parquet or .jsonl", "name the output so")


def _write_frame(frame: pl.DataFrame, out: Path) -> None:
    with atomic_write(out) as temporary:
        _WRITERS[out.suffix.lower()](frame, temporary)


def _without_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with an apostrophe before texts that a spreadsheet would take for a formula; numbers stay as they are."""
    text = pl.col(pl.String)
    is_formula = text.str.slice(0, 1).is_in(channels.FORMULA_STARTS) & ~text.str.contains(_NUMBER)
    return frame.with_columns(pl.when(is_formula).then("'" + text).otherwise(text).name.keep())


def _batches(rows: list[Row], size: int) -> list[list[Row]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
