"""What accounts that are paid to click do to recommend, launch and ads, with and without doubt.

1 % more events, by accounts of ten acts each (a bandwagon attack), in the last four weeks. Recommend, Complete Journey without
networks: five products of the less popular half are pushed, fit, validation and holdout know it; the share of 1,000 households
with one of them in a first page. Launch, Complete Journey as in ``launches``: five products are pushed, and what counts is the
pooled lift of the true launches among the honest households and how many of the first 5 % are accounts. Ads, a generated shop of
600 users and 90 days: the accounts see and click one ad; the chance of a click that honest users are said to have, over what it
is without an attack. 95 % bootstrap.
"""

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.data import row
from benchmarks.launches import END, TEST
from vetrina import Shop
from vetrina.core.progress import Silent
from vetrina.core.types import Past, Plan, Targets
from vetrina.demo import files
from vetrina.metrics.bootstrap import interval
from vetrina.metrics.ranking import half_ranks
from vetrina.scenarios.ads.online import Ads
from vetrina.scenarios.launch.evaluate import launched
from vetrina.scenarios.launch.online import Launch
from vetrina.scenarios.launch.recipe import RECIPE as LAUNCH
from vetrina.scenarios.recommend.online import Recommend
from vetrina.simulate import files as made_up
from vetrina.simulate.attacks import fake_clicks
from vetrina.simulate.world import World
from vetrina.store import dataset, trust
from vetrina.train import train

_SHARE, _TARGETS, _DAYS, _ASKED, _FIRST, _REACHED = 0.01, 5, 28.0, 1_000, 10, 0.05
_WORLD = World(products=300, users=600, days=90)


def main() -> None:
    """Ads, launch, recommend."""
    for part in (_ads, _launch, _recommend):
        with tempfile.TemporaryDirectory() as scratch:
            part(Path(scratch))


def _recommend(root: Path) -> None:
    source = files(root / "source")
    bought, targets = _bought(source.events[0], None)
    _attack(bought, targets).write_parquet(root / "fake.parquet")
    settings = '[train]\nwithout = ["sasrec", "gru"]\n'
    clean = Shop(_folder(root / "clean", settings))
    clean.ingest(products=source.products, events=source.events)
    clean.fit("recommend")
    users = sorted(bought["user_id"].unique().to_list())[:: max(1, bought["user_id"].n_unique() // _ASKED)]
    row("recommend, as it is: lists with a pushed product", _said(_pushed(clean, users, targets)), f"{len(users):,}")
    for doubt in ("true", "false"):
        into = shutil.copytree(root / "clean", root / doubt)
        (into / "vetrina.toml").write_text(f"{settings}[ingest]\ndoubt = {doubt}\n")
        shop = Shop(into)
        told = _told(shop.ingest(events=[root / "fake.parquet"]).folder, targets)
        release = shop.fit("recommend")["recommend"]
        verdict = "no release" if release is None else f"{release.outcome}: {release.note}"
        row(f"recommend, attacked, doubt = {doubt}", _said(_pushed(shop, users, targets)), f"{told}; {verdict[:70]}")


def _launch(root: Path) -> None:
    source = files(root / "source")
    bought, targets = _bought(source.events[0], TEST)
    _attack(bought, targets).write_parquet(root / "fake.parquet")
    for what, events, doubt in (
        ("as it is", [], "true"),
        *(("attacked", ["fake.parquet"], d) for d in ("true", "false")),
    ):
        shop = Shop(_folder(root / f"{what} {doubt}", f"[ingest]\ndoubt = {doubt}\n"))
        snapshot = shop.ingest(products=source.products, events=[*source.events, *(root / e for e in events)])
        catalogue = dataset.catalogue(snapshot)
        assert catalogue is not None
        past = Past(catalogue, dataset.interactions(snapshot, catalogue, TEST))
        fitted, _ = train(LAUNCH, past, "pinned", "judged", Plan(), root / f"w {what} {doubt}/judged", Silent())
        opened, honest = Launch(fitted.folder), set(map(shop.folder.keys.name_of, bought["user_id"].unique()))
        fake = np.array([str(u) not in honest for u in opened.users])
        lift, accounts = _reach(opened, dataset.targets(snapshot, catalogue, TEST, END), fake)
        told = _told(snapshot.folder, targets)
        row(f"launch, {what}, doubt = {doubt}: lift at 5 %", f"{lift:.2f}", f"accounts in it {accounts:.1%}; {told}")


def _reach(opened: Launch, targets: Targets | None, fake: np.ndarray) -> tuple[float, float]:
    """Pooled lift among the first of all users, and the share of accounts among those."""
    reached, hits, buyers, accounts = max(1, round(_REACHED * len(opened.users))), 0, 0, []
    for item, took in launched(opened, targets):
        score = opened.scores(opened.of_item(item))
        hits += int((half_ranks(score, took[took >= 0]) < reached + 1).sum())
        buyers += len(took)
        accounts.append(fake[np.argsort(-score, kind="stable")[:reached]].mean())
    return hits / buyers / _REACHED, float(np.mean(accounts))


def _ads(root: Path) -> None:
    made = made_up.write(_WORLD, root / "made")
    events = pl.read_csv(made["events"], infer_schema=False)
    target = _WORLD.product_ids[_WORLD.advertised[0]]
    moments = events.select(
        pl.from_epoch(pl.col("timestamp").cast(pl.Float64) * 1e6, "us"), "user_id", "type", "product_id"
    )
    looks = moments.filter(pl.col("type") == "view")
    share = _SHARE * len(events) / len(looks)
    fake = fake_clicks(looks, [target], share, np.random.default_rng(42), days=_DAYS)
    own = fake.filter(pl.col("product_id") == target)  # each sees the ad, then clicks it
    shown = own.with_columns(type=pl.lit("ad_impression"))
    clicked = own.with_columns(type=pl.lit("ad_click"), timestamp=pl.col("timestamp") + pl.duration(seconds=5))
    pl.concat([fake.filter(pl.col("product_id") != target), shown, clicked]).write_parquet(root / "fake.parquet")
    usual, users = None, [_WORLD.user_ids[u] for u in range(_WORLD.users)]
    for what, more, doubt in (
        ("as it is", [], "true"),
        *(("attacked", [root / "fake.parquet"], d) for d in ("true", "false")),
    ):
        shop = Shop(_folder(root / f"{what} {doubt}", f"[ingest]\ndoubt = {doubt}\n"))
        snapshot = shop.ingest(products=[made["products"]], events=[made["events"], *more], ads=[made["ads"]])
        release = shop.fit("ads")["ads"]
        opened = shop.open("ads")
        assert isinstance(opened, Ads)
        said = np.array([_chance(opened, shop.folder.keys.name_of(user), target) for user in users])
        usual = said if usual is None else usual
        verdict = "no release" if release is None else release.outcome
        over = interval(said / usual)
        shown_as = f"{over.point:.3f} [{over.low:.3f}, {over.high:.3f}]"
        row(
            f"ads, {what}, doubt = {doubt}: chance over the usual",
            shown_as,
            f"{_told(snapshot.folder, [target])}; {verdict}",
        )


def _chance(opened: Ads, user: str, product: str) -> float:
    item = opened.shelf.index_of([product])
    recent = opened.histories.of(user, (), _WORLD.now).items.tolist()
    return float(opened.chance(opened.situations(opened.row(user), recent, item))[0])


def _bought(file: Path, until: float | None) -> tuple[pl.DataFrame, list[str]]:
    """Purchases (up to a moment), and the products that will be pushed: of the less popular half."""
    events = (
        pl.read_parquet(file).select("timestamp", pl.col("user_id", "type", "product_id").cast(pl.String)).drop_nulls()
    )
    bought = events.filter(pl.col("type") == "purchase")
    if until is not None:
        bought = bought.filter(pl.col("timestamp") < datetime.fromtimestamp(until, UTC).replace(tzinfo=None))
    known = bought["product_id"].value_counts(sort=True)["product_id"]
    drawn = np.random.default_rng(42).integers(len(known) // 2, len(known), _TARGETS)
    return bought, [str(known[int(n)]) for n in drawn]


def _attack(bought: pl.DataFrame, targets: list[str]) -> pl.DataFrame:
    return fake_clicks(bought, targets, _SHARE, np.random.default_rng(42), days=_DAYS)


def _told(folder: Path, targets: list[str]) -> str:
    marked = trust.read(folder)
    named = set(marked["product_id"]) if len(marked) else set()
    return f"{len(named & set(targets))} of {len(targets)} told, {len(named - set(targets))} others"


def _folder(path: Path, settings: str) -> Path:
    path.mkdir()
    (path / "vetrina.toml").write_text(settings)
    return path


def _pushed(shop: Shop, users: list[str], targets: list[str]) -> np.ndarray:
    """Of each user whether one of the targets stands among the first ten, of all products or of those new to them."""
    assert isinstance(shop.open("recommend"), Recommend)
    found = [
        {i.product_id for p in ("home", "discover") for i in shop.recommend(u, limit=_FIRST, placement=p).items}
        for u in users
    ]
    return np.array([float(bool(shown & set(targets))) for shown in found])


def _said(values: np.ndarray) -> str:
    found = interval(values)
    return f"{found.point:.4f} [{found.low:.4f}, {found.high:.4f}]"


if __name__ == "__main__":
    main()
