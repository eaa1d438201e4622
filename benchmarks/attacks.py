"""What people may do to a ranking for gain, and what becomes of it.

Slips of the finger and titles stuffed with what others look for, on Chorus electronics (search, default weights, NDCG@10 with
unjudged products gaining nothing): in one of a hundred products stand the words of twelve judged queries behind the title. Paid
clicks on Complete Journey (recommend without networks): 1 % more events, by accounts of ten acts, push five products of the less
popular half during the last four weeks, so fit, validation and holdout know them; the lists of 1,000 households, with and without
doubt.
95 % bootstrap over queries and households.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.data import folder, row
from benchmarks.product_search import Judged, scores_of, search_files
from vetrina import Shop
from vetrina.demo import files
from vetrina.gate.robustness import slip
from vetrina.metrics.bootstrap import interval, paired
from vetrina.scenarios.recommend.online import Recommend
from vetrina.scenarios.search.online import Search
from vetrina.simulate.attacks import fake_clicks, stuffed
from vetrina.store import trust

_STUFFED, _TARGETS, _DAYS, _ASKED, _FIRST = 0.01, 5, 28.0, 1_000, 10


def main() -> None:
    """Search, then recommend."""
    with tempfile.TemporaryDirectory() as scratch:
        _search(Path(scratch))
    with tempfile.TemporaryDirectory() as scratch:
        _recommend(Path(scratch))


def _search(root: Path) -> None:
    products, judgments = search_files(folder("chorus-electronics"), root)
    clean = _searching(root / "clean", products)
    judged = _judged(clean, judgments)
    rng = np.random.default_rng(42)
    usual = scores_of(judged, clean.ranked)[0]
    row("search, as it is", _said(usual), f"{len(usual)} queries")
    rough = {query: slip(query, rng) for query in judged}
    slipped = scores_of(judged, lambda query, now: clean.ranked(rough[query], now))[0]
    row("search, a slip in every query", _said(slipped), _less(slipped, usual))
    frame = pl.read_parquet(products)
    chosen = rng.choice(len(frame), int(_STUFFED * len(frame)), replace=False)
    titles = np.array(frame["title"].fill_null("").to_list(), dtype=object)
    titles[chosen] = stuffed(titles[chosen].tolist(), list(judged), rng)
    named = set(frame["product_id"].cast(pl.String).gather(chosen.tolist()).to_list())
    frame.with_columns(title=pl.Series(titles.tolist())).write_parquet(root / "stuffed.parquet")
    other = _searching(root / "stuffed", root / "stuffed.parquet")
    row("search, 1 % of the titles stuffed", _said(found := scores_of(judged, other.ranked)[0]), _less(found, usual))
    for what, opened in {"before": clean, "stuffed": other}.items():
        held = [np.isin(opened.shelf.ids[opened.ranked(q, 0.0)[:_FIRST]], list(named)).mean() for q in judged]
        row(f"share of first pages that these products hold, {what}", f"{np.mean(held):.1%}")


def _judged(opened: Search, file: Path) -> Judged:
    """Products and grades of each query with a relevant one."""
    found = {}
    for (query,), part in pl.read_parquet(file).group_by("query", maintain_order=True):
        items = opened.shelf.index_of(part["product_id"].cast(pl.String).to_list())
        grades = part["grade"].cast(pl.Float32).to_numpy()
        if (grades[items >= 0] > 0).any():
            found[str(query)] = items[items >= 0], grades[items >= 0]
    return found


def _searching(into: Path, products: Path) -> Search:
    """The fixed default weights: nothing is judged, so nothing is chosen."""
    shop = Shop(into)
    shop.ingest(products=[products])
    release = shop.fit("search")["search"]
    assert release is not None
    return shop.open("search")


def _recommend(root: Path) -> None:
    source = files(root / "source")
    events = pl.read_parquet(source.events[0])
    known = events.filter(pl.col("type").cast(pl.String) == "purchase")["product_id"].value_counts(sort=True)[
        "product_id"
    ]
    rng = np.random.default_rng(42)
    targets = [str(known[int(n)]) for n in rng.integers(len(known) // 2, len(known), _TARGETS)]
    bought = events.select("timestamp", pl.col("user_id", "type", "product_id").cast(pl.String)).drop_nulls()
    fake = fake_clicks(bought.filter(pl.col("type") == "purchase"), targets, 0.01, rng, days=_DAYS)
    fake.write_parquet(root / "fake.parquet")
    settings = '[train]\nwithout = ["sasrec", "gru"]\n'
    clean = Shop(_folder(root / "clean", settings))
    clean.ingest(products=source.products, events=source.events)
    clean.fit("recommend")
    users = sorted(bought["user_id"].unique().to_list())[:: max(1, bought["user_id"].n_unique() // _ASKED)]
    usual = _pushed(clean, users, targets)
    row("recommend, as it is: lists with a pushed product", _said(usual), f"{len(users):,} households")
    for doubt in ("true", "false"):
        into = shutil.copytree(root / "clean", root / doubt)
        (into / "vetrina.toml").write_text(f"{settings}[ingest]\ndoubt = {doubt}\n")
        shop = Shop(into)
        snapshot = shop.ingest(events=[root / "fake.parquet"])
        marked = trust.read(snapshot.folder)
        release = shop.fit("recommend")["recommend"]
        verdict = "no release" if release is None else f"{release.outcome}: {release.note}"
        told = len(set(marked["product_id"]) & set(targets)) if len(marked) else 0
        row(f"recommend, 1 % paid clicks, doubt = {doubt}", _said(_pushed(shop, users, targets)), verdict[:90])
        print(
            f"of {_TARGETS} pushed products {told} told; {len(set(marked['product_id']) - set(targets))} others called pushed"
        )


def _folder(path: Path, settings: str) -> Path:
    path.mkdir()
    (path / "vetrina.toml").write_text(settings)
    return path


def _pushed(shop: Shop, users: list[str], targets: list[str]) -> np.ndarray:
    """Of each user whether one of the targets stands among the first ten, of all products or of those new to them."""
    opened = shop.open("recommend")
    assert isinstance(opened, Recommend)
    found = [
        {
            i.product_id
            for placement in ("home", "discover")
            for i in shop.recommend(u, limit=_FIRST, placement=placement).items
        }
        for u in users
    ]
    return np.array([float(bool(shown & set(targets))) for shown in found])


def _said(values: np.ndarray) -> str:
    found = interval(values)
    return f"{found.point:.4f} [{found.low:.4f}, {found.high:.4f}]"


def _less(values: np.ndarray, usual: np.ndarray) -> str:
    found = paired(values, usual)
    return f"{found.point:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


if __name__ == "__main__":
    main()
