"""What people do to a search for gain, or by a slip of the finger, and what becomes of it.

Chorus electronics, default weights, NDCG@10 with unjudged products gaining nothing: a slip in every query; then one of a hundred
products has the words of twelve judged queries behind its title. 95 % bootstrap over queries. ``paid_clicks`` is about the
other scenarios.
"""

import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.data import folder
from benchmarks.product_search import Judged, scores_of, search_files
from benchmarks.record import record, row
from vetrina import Shop
from vetrina.evaluation.bootstrap import mean_interval, paired_difference
from vetrina.gate.robustness import add_typo
from vetrina.scenarios.search.online import Searcher
from vetrina.simulate.attacks import stuff_keywords

_STUFFED = 0.01
_FIRST = 10


def main() -> None:
    """As it is, with slips, with stuffed titles."""
    with tempfile.TemporaryDirectory() as scratch:
        _search(Path(scratch))


def _search(root: Path) -> None:
    products, judgments = search_files(folder("chorus-electronics"), root)
    clean = _searching(root / "clean", products)
    judged = _judged(clean, judgments)
    rng = np.random.default_rng(42)
    usual = scores_of(judged, clean.rank)[0]
    row("search, as it is", _said(usual), f"{len(usual)} queries")
    rough = {query: add_typo(query, rng) for query in judged}
    slipped = scores_of(judged, lambda query, now: clean.rank(rough[query], now))[0]
    row("search, a slip in every query", _said(slipped), _less(slipped, usual))
    frame = pl.read_parquet(products)
    chosen = rng.choice(len(frame), int(_STUFFED * len(frame)), replace=False)
    titles = np.array(frame["title"].fill_null("").to_list(), dtype=object)
    titles[chosen] = stuff_keywords(titles[chosen].tolist(), list(judged), rng)
    named = set(frame["product_id"].cast(pl.String).gather(chosen.tolist()).to_list())
    frame.with_columns(title=pl.Series(titles.tolist())).write_parquet(root / "stuffed.parquet")
    other = _searching(root / "stuffed", root / "stuffed.parquet")
    row("search, 1 % of the titles stuffed", _said(scores := scores_of(judged, other.rank)[0]), _less(scores, usual))
    for what, opened in {"before": clean, "stuffed": other}.items():
        stuffed_shares = [
            np.isin(opened.rank(q, 0.0)[:_FIRST], opened.catalogue.index_of(list(named))).mean() for q in judged
        ]
        row(f"share of first pages that these products hold, {what}", f"{np.mean(stuffed_shares):.1%}")


def _judged(opened: Searcher, file: Path) -> Judged:
    """Products and grades of each query with a relevant one."""
    judgments = {}
    for (query,), part in pl.read_parquet(file).group_by("query", maintain_order=True):
        items = opened.catalogue.index_of(part["product_id"].cast(pl.String).to_list())
        grades = part["grade"].cast(pl.Float32).to_numpy()
        if (grades[items >= 0] > 0).any():
            judgments[str(query)] = items[items >= 0], grades[items >= 0]
    return judgments


def _searching(into: Path, products: Path) -> Searcher:
    """The fixed default weights: nothing is judged, so nothing is chosen."""
    shop = Shop(into)
    shop.ingest(products=[products])
    release = shop.fit("search")["search"]
    assert release is not None
    return shop.load("search")


def _said(values: np.ndarray) -> str:
    interval = mean_interval(values)
    return f"{interval.point:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


def _less(values: np.ndarray, usual: np.ndarray) -> str:
    difference = paired_difference(values, usual)
    return f"{difference.point:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


if __name__ == "__main__":
    record("attacks", __doc__, main)
