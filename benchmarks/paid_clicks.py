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

from benchmarks.launches import END, TEST
from benchmarks.record import record, row
from vetrina import Shop
from vetrina.core.progress import NoProgress
from vetrina.core.types import Targets, TrainingData, TrainingPlan
from vetrina.data import click_fraud, dataset
from vetrina.demo import write_input_files
from vetrina.evaluation.bootstrap import mean_interval
from vetrina.evaluation.ranking import mid_ranks
from vetrina.scenarios.ads.online import AdServer
from vetrina.scenarios.launch.evaluate import new_items_with_buyers
from vetrina.scenarios.launch.online import AudienceSelector
from vetrina.scenarios.launch.scenario import RECIPE as LAUNCH
from vetrina.scenarios.recommend.online import Recommender
from vetrina.simulate import input_files as made_up
from vetrina.simulate.attacks import click_fraud_events
from vetrina.simulate.world import World
from vetrina.train import train

_SHARE = 0.01
_TARGETS = 5
_DAYS = 28.0
_ASKED = 1_000
_FIRST = 10
_REACHED = 0.05
_WORLD = World(products=300, users=600, days=90)


def main() -> None:
    """Ads, launch, recommend."""
    for part in (_ads, _launch, _recommend):
        with tempfile.TemporaryDirectory() as scratch:
            part(Path(scratch))


def _recommend(root: Path) -> None:
    source = write_input_files(root / "source")
    bought, targets = _bought(source.events[0], None)
    _attack(bought, targets).write_parquet(root / "fake.parquet")
    settings = '[train]\nexclude_models = ["sasrec", "gru"]\n'
    clean = Shop(_folder(root / "clean", settings))
    clean.ingest(products=source.products, events=source.events)
    clean.fit("recommend")
    users = sorted(bought["user_id"].unique().to_list())[:: max(1, bought["user_id"].n_unique() // _ASKED)]
    row("recommend, as it is: lists with a pushed product", _said(_pushed(clean, users, targets)), f"{len(users):,}")
    for doubt in ("true", "false"):
        into = shutil.copytree(root / "clean", root / doubt)
        (into / "vetrina.toml").write_text(f"{settings}[ingest]\nexclude_click_fraud = {doubt}\n")
        shop = Shop(into)
        told = _told(shop.ingest(events=[root / "fake.parquet"]).folder, targets)
        release = shop.fit("recommend")["recommend"]
        verdict = "no release" if release is None else f"{release.outcome}: {release.note}"
        row(f"recommend, attacked, doubt = {doubt}", _said(_pushed(shop, users, targets)), f"{told}; {verdict[:70]}")


def _launch(root: Path) -> None:
    source = write_input_files(root / "source")
    bought, targets = _bought(source.events[0], TEST)
    _attack(bought, targets).write_parquet(root / "fake.parquet")
    for what, events, doubt in (
        ("as it is", [], "true"),
        *(("attacked", ["fake.parquet"], d) for d in ("true", "false")),
    ):
        shop = Shop(_folder(root / f"{what} {doubt}", f"[ingest]\nexclude_click_fraud = {doubt}\n"))
        snapshot = shop.ingest(products=source.products, events=[*source.events, *(root / e for e in events)])
        catalogue = dataset.catalogue(snapshot)
        assert catalogue is not None
        past = TrainingData(catalogue, dataset.interactions(snapshot, catalogue, TEST))
        fitted, _ = train(
            LAUNCH, past, "pinned", "judged", TrainingPlan(), root / f"w {what} {doubt}/judged", NoProgress()
        )
        opened = AudienceSelector(fitted.folder)
        honest = set(map(shop.folder.keys.pseudonymise, bought["user_id"].unique()))
        fake = np.array([str(u) not in honest for u in opened.users])
        lift, accounts = _reach(opened, dataset.targets(snapshot, catalogue, TEST, END), fake)
        told = _told(snapshot.folder, targets)
        row(f"launch, {what}, doubt = {doubt}: lift at 5 %", f"{lift:.2f}", f"accounts in it {accounts:.1%}; {told}")


def _reach(opened: AudienceSelector, targets: Targets | None, fake: np.ndarray) -> tuple[float, float]:
    """Pooled lift among the first of all users, and the share of accounts among those."""
    reached = max(1, round(_REACHED * len(opened.users)))
    hits = 0
    buyers = 0
    accounts = []
    for item, took in new_items_with_buyers(opened, targets):
        score = opened.scores(opened.catalogue_product(item))
        hits += int((mid_ranks(score, took[took >= 0]) < reached + 1).sum())
        buyers += len(took)
        accounts.append(fake[np.argsort(-score, kind="stable")[:reached]].mean())
    return hits / buyers / _REACHED, float(np.mean(accounts))


def _ads(root: Path) -> None:
    made = made_up.write_input_files(_WORLD, root / "made")
    events = pl.read_csv(made["events"], infer_schema=False)
    target = _WORLD.product_ids[_WORLD.advertised[0]]
    moments = events.select(
        pl.from_epoch(pl.col("timestamp").cast(pl.Float64) * 1e6, "us"), "user_id", "type", "product_id"
    )
    looks = moments.filter(pl.col("type") == "view")
    share = _SHARE * len(events) / len(looks)
    fake = click_fraud_events(looks, [target], share, np.random.default_rng(42), days=_DAYS)
    own = fake.filter(pl.col("product_id") == target)  # each sees the ad, then clicks it
    shown = own.with_columns(type=pl.lit("ad_impression"))
    clicked = own.with_columns(type=pl.lit("ad_click"), timestamp=pl.col("timestamp") + pl.duration(seconds=5))
    pl.concat([fake.filter(pl.col("product_id") != target), shown, clicked]).write_parquet(root / "fake.parquet")
    usual = None
    users = [_WORLD.user_ids[u] for u in range(_WORLD.users)]
    for what, more, doubt in (
        ("as it is", [], "true"),
        *(("attacked", [root / "fake.parquet"], d) for d in ("true", "false")),
    ):
        shop = Shop(_folder(root / f"{what} {doubt}", f"[ingest]\nexclude_click_fraud = {doubt}\n"))
        snapshot = shop.ingest(products=[made["products"]], events=[made["events"], *more], ads=[made["ads"]])
        release = shop.fit("ads")["ads"]
        opened = shop.load("ads")
        assert isinstance(opened, AdServer)
        said = np.array([_chance(opened, shop.folder.keys.pseudonymise(user), target) for user in users])
        usual = said if usual is None else usual
        verdict = "no release" if release is None else release.outcome
        over = mean_interval(said / usual)
        shown_as = f"{over.point:.3f} [{over.low:.3f}, {over.high:.3f}]"
        row(
            f"ads, {what}, doubt = {doubt}: chance over the usual",
            shown_as,
            f"{_told(snapshot.folder, [target])}; {verdict}",
        )


def _chance(opened: AdServer, user: str, product: str) -> float:
    item = opened.catalogue.index_of([product])
    recent = opened.histories.history_of(user, (), _WORLD.now).items.tolist()
    return float(opened.click_probability(opened.impression_features(opened.user_row(user), recent, item))[0])


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
    return click_fraud_events(bought, targets, _SHARE, np.random.default_rng(42), days=_DAYS)


def _told(folder: Path, targets: list[str]) -> str:
    marked = click_fraud.read(folder)
    named = set(marked["product_id"]) if len(marked) else set()
    return f"{len(named & set(targets))} of {len(targets)} told, {len(named - set(targets))} others"


def _folder(path: Path, settings: str) -> Path:
    path.mkdir()
    (path / "vetrina.toml").write_text(settings)
    return path


def _pushed(shop: Shop, users: list[str], targets: list[str]) -> np.ndarray:
    """Of each user whether one of the targets stands among the first ten, of all products or of those new to them."""
    assert isinstance(shop.load("recommend"), Recommender)
    found = [
        {i.product_id for p in ("home", "discover") for i in shop.recommend(u, limit=_FIRST, placement=p).items}
        for u in users
    ]
    return np.array([float(bool(shown & set(targets))) for shown in found])


def _said(values: np.ndarray) -> str:
    found = mean_interval(values)
    return f"{found.point:.4f} [{found.low:.4f}, {found.high:.4f}]"


if __name__ == "__main__":
    record("paid_clicks", __doc__, main)
