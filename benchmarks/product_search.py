"""Product search with graded judgments: Chorus electronics, 81 queries with a relevant product, 19,406 products.

NDCG@10 with gain 2**grade - 1, twice: full retrieval, where unjudged products gain nothing, and judged products only, in the
order of the full answer. Without judgments the fixed default weights are shown (they were picked by looking at a few weights on
these queries). With judgments: five folds by hash of the query; weights, and trees where they are kept, are chosen on four of
them by what a run does. Single signals beside. 95 % bootstrap over queries.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from benchmarks.data import folder
from benchmarks.record import note, row
from vetrina import Shop
from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.training_data import Judgments
from vetrina.core.training_plan import TrainingPlan
from vetrina.data.splits import JudgmentSplits
from vetrina.evaluation.bootstrap import mean_interval, paired_difference
from vetrina.evaluation.ranking import graded_ndcg
from vetrina.scenarios.search.online import DEFAULT_WEIGHTS, Searcher
from vetrina.scenarios.search.tune import tune

_FOLDS = 5
Judged = dict[str, tuple[np.ndarray, np.ndarray]]
_REFERENCES = {
    "words alone (BM25)": "measured elsewhere: BM25 on all text .688 / .731",
    "meaning alone (MiniLM, int8)": "measured elsewhere: MiniLM on title and short description .619 / .916",
    "default weights, no judgments": "goal .74 / .92",
    "five folds with judgments": "measured elsewhere: weighted hybrid .705 / .836; goal .78 / .94",
}


def main() -> None:
    """Single signals, the default, and what judgments add."""
    source = folder("chorus-electronics")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        products, judgments = search_files(source, root)
        shop = Shop(root / "shop")
        shop.ingest(products=[products], judgments=[judgments])
        release = shop.fit("search")["search"]
        assert release is not None
        version = shop.shop_context.registry.get_version(shop.shop_context.registry.list_versions()[0].version)
        note(f"{release.outcome}: {release.note}")
        served = shop.shop_context.version_folder(version.name)
        splits = JudgmentSplits(shop.ingest(), {})
        judged = {
            q: j
            for half in (splits._judgments.first, splits._judgments.second)
            if half
            for q, j in half.by_query().items()
            if (j[1] > 0).any()
        }
        plain = Searcher(_with(DEFAULT_WEIGHTS, served, root / "plain"))
        words = Searcher(served)
        meaning = Searcher(served)
        words.use_only_signal("bm25")
        meaning.use_only_signal("text")
        ranks = {
            "words alone (BM25)": words.rank,
            "meaning alone (MiniLM, int8)": meaning.rank,
            "default weights, no judgments": plain.rank,
        }
        scores = {what: scores_of(judged, rank) for what, rank in ranks.items()}
        scores["five folds with judgments"] = _folds(judged, served, root)
        for what, (full, only) in scores.items():
            _row(f"{what}, {len(full)} queries", full, only, _REFERENCES[what])
        default = scores["default weights, no judgments"]
        folds = scores["five folds with judgments"]
        gain = paired_difference(folds[0], default[0])
        note(f"folds over default, full retrieval: {gain.point:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]")


def _row(what: str, full: np.ndarray, only: np.ndarray, reference: str) -> None:
    a = mean_interval(full)
    b = mean_interval(only)
    text = f"{a.point:.4f} [{a.low:.4f}, {a.high:.4f}] / {b.point:.4f} [{b.low:.4f}, {b.high:.4f}]"
    row(what, f"NDCG@10 full / judged only {text}", reference)


def scores_of(judged: Judged, rank: Callable[[str, float], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """NDCG@10 of each query over everything found, and over its judged products alone."""
    full = []
    only = []
    for query, (items, grades) in judged.items():
        ranking = rank(query, 0.0)
        rest = np.setdiff1d(items, ranking)
        full.append(graded_ndcg(ranking, items, grades))
        only.append(graded_ndcg(np.concatenate([ranking[np.isin(ranking, items)], rest]), items, grades))
    return np.array(full), np.array(only)


def _folds(judged: Judged, served: Path, root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Each query under what the other folds chose, in the order of ``judged``."""
    fold = np.array([blake2b(f"fold {q}".encode(), digest_size=4).digest()[0] % _FOLDS for q in judged])
    full = np.zeros(len(judged))
    only = np.zeros(len(judged))
    queries = np.array(list(judged), dtype=object)
    for number in range(_FOLDS):
        into = _with(DEFAULT_WEIGHTS, served, root / f"fold{number}")
        tuned = tune(
            into, EvaluationData(judgments=_pairs({q: judged[q] for q in queries[fold != number]})), TrainingPlan()
        )
        trees = tuned.report.get("trees", {})
        note(f"fold {number}: {tuned.weights['search']}; trees kept: {trees.get('kept')}, gain {trees.get('gain')}")
        _write(tuned.weights["search"], into)
        at = np.flatnonzero(fold == number)
        full[at], only[at] = scores_of({q: judged[q] for q in queries[at]}, Searcher(into).rank)
    return full, only


def _pairs(judged: Judged) -> Judgments:
    query = tuple(q for q, (items, _) in judged.items() for _ in items)
    items, grades = (np.concatenate([pair[part] for pair in judged.values()]) for part in (0, 1))
    return Judgments(query, items, grades)


def _with(weights: dict[str, float], folder: Path, into: Path) -> Path:
    """A bundle's folder with other weights and no trees, as a shop without judgments has them."""
    shutil.copytree(folder, into)
    shutil.rmtree(into / "trees", ignore_errors=True)
    _write(weights, into)
    return into


def _write(weights: Mapping[str, float], into: Path) -> None:
    content = msgspec.json.decode((into / "scenario.json").read_bytes())
    content["weights"] = {"search": weights}
    (into / "scenario.json").write_bytes(msgspec.json.encode(content))


def search_files(source: Path, into: Path) -> tuple[Path, Path]:
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
