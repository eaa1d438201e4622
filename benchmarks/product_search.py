"""Product search with graded judgments: Chorus electronics, full retrieval, unjudged products gain nothing.

Weights are chosen on half of the queries (by hash) and shown on the other half as well as on all; a five-fold figure would
need as many trainings of nothing: only four numbers are chosen.
"""

import shutil
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from benchmarks.data import folder, row
from vetrina import Shop
from vetrina.core.types import Evidence
from vetrina.metrics.bootstrap import interval
from vetrina.pipeline.compose import Held
from vetrina.scenarios.search.evaluate import evaluate
from vetrina.scenarios.search.tune import DEFAULT


def main() -> None:
    """BM25, dense and the released blend."""
    source = folder("chorus-electronics")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        products, judgments = _files(source, root)
        shop = Shop(root / "shop")
        shop.ingest(products=[products], judgments=[judgments])
        release = shop.fit("search")["search"]
        assert release is not None
        shown = shop.workshop.registry.show(shop.workshop.registry.all()[0]["version"])
        print(f"{release.outcome}: {release.note}; weights {shown['notes']['settled']['weights']}")
        served = shop.workshop.open_version(shown["version"])
        held = Held(shop.ingest(), {}, "search")
        first, second = held._judgments
        for name, judged in (("queries of validation", first), ("queries of holdout", second)):
            for only in ("bm25", "text", None):
                scores = evaluate(served, Evidence(judgments=judged), only=only)
                found = interval(scores.values)
                what = {"bm25": "BM25", "text": "dense", None: "released blend"}[only]
                row(
                    f"{what}, {len(scores.units)} {name}",
                    f"NDCG@10 {found.point:.4f} [{found.low:.4f}, {found.high:.4f}]",
                )
        plain = _with(DEFAULT, served, root / "plain")
        judged = np.concatenate([evaluate(plain, Evidence(judgments=j)).values for j in (first, second)])
        found = interval(judged)
        row(
            f"blend of the default weights, {len(judged)} queries",
            f"NDCG@10 {found.point:.4f} [{found.low:.4f}, {found.high:.4f}]",
            "goal .74",
        )
        for only in ("bm25", "text", None):
            values = np.concatenate(
                [evaluate(served, Evidence(judgments=j), only=only).values for j in (first, second)]
            )
            found = interval(values)
            what = {"bm25": "BM25", "text": "dense", None: "released blend (half of them chosen on)"}[only]
            row(
                f"{what}, {len(values)} queries",
                f"NDCG@10 {found.point:.4f} [{found.low:.4f}, {found.high:.4f}]",
                "BM25 on all text, measured elsewhere .688",
            )


def _with(weights: dict[str, float], folder: Path, into: Path) -> Path:
    """A bundle's folder with other weights, as a shop without judgments has them."""
    shutil.copytree(folder, into)
    content = msgspec.json.decode((into / "scenario.json").read_bytes())
    content["weights"] = {"search": weights}
    (into / "scenario.json").write_bytes(msgspec.json.encode(content))
    return into


def _files(source: Path, into: Path) -> tuple[Path, Path]:
    raw = pl.read_parquet(source / "products.parquet")
    values = pl.col("attributes").list.eval(pl.element().struct.field("value")).list.join(" ")
    raw.select(
        pl.col("doc_id").alias("product_id"),
        "title",
        pl.col("short_description").alias("description"),
        pl.col("supplier").alias("brand"),
        pl.concat_str([pl.col("name"), values], separator=" ", ignore_nulls=True).alias("specification"),
        (pl.col("price_cents") / 100).alias("price"),
    ).write_parquet(into / "products.parquet")
    judged = pl.read_parquet(source / "judgments.parquet")
    judged.select("query", pl.col("doc_id").alias("product_id"), pl.col("rating").alias("grade")).write_parquet(
        into / "judgments.parquet"
    )
    return into / "products.parquet", into / "judgments.parquet"
