"""Next product on Amazon Beauty and Sports, leave-one-out, under a pinned protocol.

The last product of each user is the test, the one before it validation, the rest is learnt from (train-only fit). The files hold
no times: step k of n is given the day n - k before one end date. All products are ranked, those of the user's history left
out; ties at half rank; seed 42; all users; 95 % bootstrap. Weights, trees and epochs are chosen on validation alone.
"""

import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from benchmarks.data import folder
from benchmarks.record import note, record, row
from vetrina import Shop
from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.progress import NoProgress
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.data import dataset
from vetrina.evaluation.bootstrap import mean_interval
from vetrina.features import histories
from vetrina.scenarios.recommend.evaluate import evaluate
from vetrina.scenarios.recommend.scenario import RECIPE
from vetrina.train import train

END = datetime(2014, 7, 1, tzinfo=UTC)
DAY = 86_400.0
REFERENCES = {
    "amazon-beauty-5core": "BSARec .0611/.1008 (published, other machine); goal .064/.104",
    "amazon-sports-5core": "ICSRec .0335/.0565 (published, other machine); goal .039/.062",
}


def main(names: tuple[str, ...] = tuple(REFERENCES), most: int = 10**9) -> None:
    """Every model and the blend, on at most ``most`` users in the order of their pseudonyms: drawn by chance."""
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            _one(name, Path(scratch), most)


def files(name: str, into: Path) -> tuple[Path, Path]:
    """Products with their attributes, and events with days for times."""
    source = folder(name)
    attributes = pl.read_parquet(source / "item_attributes.parquet")
    sequences = pl.read_parquet(source / "sequences.parquet")
    steps = sequences.with_columns(pl.col("item_ids").list.len().alias("n")).explode("item_ids")
    age = pl.col("n") - 1 - pl.int_range(pl.len()).over("user_id")
    events = steps.select(
        (pl.lit(END) - pl.duration(days=age)).dt.replace_time_zone(None).alias("timestamp"),
        pl.col("user_id").cast(pl.String),
        pl.lit("purchase").alias("type"),
        pl.col("item_ids").cast(pl.String).alias("product_id"),
    )
    products = attributes.select(
        pl.col("item_id").cast(pl.String).alias("product_id"),
        ("product " + pl.col("item_id").cast(pl.String)).alias("title"),
        pl.col("attribute_ids").cast(pl.List(pl.String)).list.join(" ").alias("attributes"),
    )
    products.write_parquet(into / "products.parquet")
    events.write_parquet(into / "events.parquet")
    return into / "products.parquet", into / "events.parquet"


def _one(name: str, root: Path, most: int) -> None:
    products, events = files(name, root)
    snapshot = Shop(root / "shop").ingest(products=[products], events=[events])
    catalogue = dataset.catalogue(snapshot)
    assert catalogue is not None
    last = END.timestamp()

    def past(until: float) -> TrainingData:
        return TrainingData(catalogue, dataset.interactions(snapshot, catalogue, until), cache=root / "cache")

    def evidence(since: float) -> EvaluationData:
        return EvaluationData(targets=dataset.targets(snapshot, catalogue, since, since + DAY), now=since)

    begun = time.perf_counter()
    worked = _cpu()
    fitted, tuned = train(
        RECIPE,
        past(last - DAY),
        "pinned",
        "fit",
        TrainingPlan(),
        root / "w/fit",
        NoProgress(),
        validation=evidence(last - DAY),
    )
    took = f"{_cpu() - worked:.0f} CPU-s, {time.perf_counter() - begun:.0f} s"
    note(f"{name}: {took}; {tuned.weights['home']}; {tuned.report}; {tuned.settings}")
    # What the user took last is known when the test product is asked for, though no model learnt from it.
    histories.write(past(last).interactions, fitted.folder / "histories")
    for model in (*fitted.notes, None):
        figures = [
            mean_interval(
                evaluate(
                    fitted.folder, evidence(last), only_model=model, metric=m, new_items_only=True, max_units=most
                ).values
            )
            for m in ("NDCG@10", "Recall@10")
        ]
        text = ", ".join(f"{f.point:.4f} [{f.low:.4f}, {f.high:.4f}]" for f in figures)
        row(f"{name} {model or 'released blend'}", text, "" if model else REFERENCES[name])


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    record(
        "sequences",
        __doc__,
        lambda: main(tuple(sys.argv[1:2]) or tuple(REFERENCES), *map(int, sys.argv[2:])),
        sys.argv[1:],
    )
