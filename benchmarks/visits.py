"""Next product of anonymous visits on Diginetica, by the command line's own path with default settings.

Events of 186,670 visits in their order (the files hold no times: a visit begins 70 seconds after the one before it, a step
takes 20), each visit a user of its own; `fit` cuts validation and holdout at the end and refits on all. Then each test
visit so far is asked for its next product: all products are ranked, those of the visit too; ties at half rank; seed 42;
95 % bootstrap.
"""

import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.data import folder
from benchmarks.record import note, record, row
from vetrina import Shop
from vetrina.evaluation.bootstrap import mean_interval
from vetrina.evaluation.ranking import mid_ranks
from vetrina.scenarios.recommend.online import SESSION_EVENT_WEIGHT, Recommender

BEGIN = datetime(2016, 1, 1, tzinfo=UTC)
REFERENCE = "GCE-GNN .5422/.1904 (published, other machine); V-SKNN .524/.184; goal .56/.20"
_STEP = 20
_APART = 70
_K = 20


def main(most: int = 10**9) -> None:
    """P@20 and MRR@20 of the released version."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        shop = Shop(root / "shop")
        shop.ingest(events=[events(root)])
        begun = time.perf_counter()
        worked = _cpu()
        release = shop.fit("recommend")["recommend"]
        assert release is not None
        note(f"{release.outcome}: {_cpu() - worked:.0f} CPU-s, {time.perf_counter() - begun:.0f} s")
        tuned = shop.shop_context.registry.get_version(release.version).training.tuning
        note(f"{tuned.weights['session']}; {tuned.report.get('session')}; {tuned.settings}")
        opened = shop.load("recommend")
        test = pl.read_parquet(folder("diginetica-sessions") / "test.parquet")
        chosen = np.random.default_rng(42).permutation(len(test))[:most]
        _score(opened, test[chosen], "released blend", REFERENCE)


def events(into: Path) -> Path:
    """One line a click."""
    sessions = pl.read_parquet(folder("diginetica-sessions") / "train_sessions.parquet").with_row_index("visit")
    lines = sessions.explode("item_ids")
    seconds = pl.col("visit").cast(pl.Int64) * _APART + pl.int_range(pl.len()).over("visit") * _STEP
    lines.select(
        (pl.lit(BEGIN) + pl.duration(seconds=seconds)).dt.replace_time_zone(None).alias("timestamp"),
        ("v" + pl.col("visit").cast(pl.String)).alias("user_id"),
        pl.lit("view").alias("type"),
        pl.col("item_ids").cast(pl.String).alias("product_id"),
    ).write_parquet(into / "events.parquet")
    return into / "events.parquet"


def _score(opened: Recommender, test: pl.DataFrame, what: str, reference: str) -> None:
    now = opened.histories.until
    ranks = []
    allowed = np.ones(len(opened.catalogue), bool)
    for prefix, target in test.iter_rows():
        index = opened.catalogue.index_of([*map(str, prefix), str(target)])
        seen = [(int(i), now, SESSION_EVENT_WEIGHT) for i in index[:-1] if i >= 0]
        history = opened.histories.history_of(None, seen, now)
        scores, _ = opened.ranking_scores(history, opened.select_blend(None, history, "home"), allowed)
        ranks.append(float(mid_ranks(scores, index[-1:])[0]) if index[-1] >= 0 else np.inf)
    ranks_found = np.array(ranks)
    hit = mean_interval((ranks_found <= _K).astype(float))
    reciprocal = mean_interval(np.where(ranks_found <= _K, 1.0 / ranks_found, 0.0))
    text = f"P@20 {hit.point:.4f} [{hit.low:.4f}, {hit.high:.4f}], MRR@20 {reciprocal.point:.4f}"
    row(
        f"{what} ({len(ranks_found):,} visits so far)", f"{text} [{reciprocal.low:.4f}, {reciprocal.high:.4f}]", reference
    )  # fmt: skip


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


if __name__ == "__main__":
    record("visits", __doc__, lambda: main(*map(int, sys.argv[1:])), sys.argv[1:])
