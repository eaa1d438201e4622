"""Who redeems a coupon, of the households that got the campaign, on Complete Journey: `predict` with default settings.

A row for each household and campaign, told only what had happened before the campaign began: campaigns got and redeemed,
shopping, use of coupons, how the campaign's coupons match what the household buys. Learnt from campaigns that ended before
2017-08-08 (27 and 1 to 10), tested on those that began from then on and ended within the data (13, 14, 16 to 19). AUC over all
pairs; 95 % bootstrap over households, 500 draws, seed 42. Beside it the household's redemption rate (smoothed by ten campaigns),
LightGBM with its defaults on a plain table and on this one.
"""

import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import polars as pl

from benchmarks.data import folder
from benchmarks.record import note, record, row
from vetrina.core.arrays import Floats
from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.progress import NoProgress
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.evaluation.classification import roc_auc
from vetrina.scenarios.predict.online import Predictor
from vetrina.scenarios.predict.scenario import RECIPE
from vetrina.train import train

BEGIN = datetime(2017, 1, 1)
TEST = datetime(2017, 8, 8)
END = datetime(2018, 1, 1)
_DAY = 86_400.0
_SMOOTH = 10.0
_DRAWS = 500
_PLAIN = ("type", "spend_90", "trips_90", "recency", "got", "redeemed", "rate", "age", "income", "kids_count")
_KEY = ("household_id", "campaign_id", "label", "start_date", "end_date")


def main() -> None:
    """AUC of every way, and by how much the released mean lies above each."""
    frame = pl.concat(list(_pairs()), how="diagonal_relaxed")
    rows = frame.drop(_KEY)
    ended = frame["end_date"] < TEST
    began = frame["start_date"] >= TEST
    table = LabelledTable({c: _raw(rows[c]) for c in rows.columns}, frame["label"].cast(pl.Float64).to_numpy())
    past = table.take(np.flatnonzero(ended))
    test = table.take(np.flatnonzero(began))
    note(
        f"{len(past)} pairs, {int(past.label.sum())} redeemed; tested on {len(test)}, {int(test.label.sum())} redeemed"
    )
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        is_validation = np.random.default_rng(42).random(len(past)) < 0.2
        fit = TrainingData(table=past.take(np.flatnonzero(~is_validation)))
        validation = EvaluationData(table=past.take(np.flatnonzero(is_validation)))
        work = Path(scratch)
        _, tuned = train(
            RECIPE, fit, "pinned", "fit", TrainingPlan(), work / "fit", NoProgress(), validation=validation
        )
        judged, _ = train(
            RECIPE,
            TrainingData(table=past),
            "pinned",
            "judged",
            TrainingPlan(),
            work / "judged",
            NoProgress(),
            tuning_result=tuned,
        )
        opened = Predictor(judged.folder)
        probability = opened.predict(test.columns)
        note(f"{' + '.join(opened.active_models)} in {time.process_time() - begun:.0f} CPU-seconds")
        ways = {f"predict, {name} alone": opened.predict(test.columns, name) for name in opened.models}
    ways |= {
        "household's redemption rate": test.columns["rate"],
        "LightGBM, its defaults, plain table": _boosted(past, test, _PLAIN),
        "LightGBM, its defaults, this table": _boosted(past, test, tuple(rows.columns)),
    }
    household = frame.filter(began)["household_id"].to_numpy()
    own = _drawn(test.label, probability, household)
    row("predict, as validation chose", _interval(roc_auc(test.label, probability), own))
    for name, other in ways.items():
        drawn = _drawn(test.label, other, household)
        above = _interval(roc_auc(test.label, probability) - roc_auc(test.label, other), own - drawn)
        row(name, _interval(roc_auc(test.label, other), drawn), f"predict above it by {above}")


def _pairs() -> Iterator[pl.DataFrame]:
    """By campaign, the first first."""
    at = folder("complete-journey")
    campaigns = pl.read_parquet(at / "campaign_descriptions.parquet").sort("start_date", "campaign_id")
    got = pl.read_parquet(at / "campaigns.parquet").join(campaigns, on="campaign_id")
    used = pl.read_parquet(at / "coupon_redemptions.parquet").join(campaigns, on="campaign_id")
    coupons = pl.read_parquet(at / "coupons.parquet").select("campaign_id", "coupon_upc", "product_id").unique()
    kinds = pl.read_parquet(at / "products.parquet").select("product_id", "product_category", "product_type", "brand")
    bought = pl.read_parquet(at / "transactions.parquet").join(kinds, on="product_id", how="left")
    bought = bought.with_columns(coupon=(pl.col("coupon_disc") > 0).cast(pl.Int32))
    people = pl.read_parquet(at / "demographics.parquet").with_columns(known=pl.lit("yes"))
    for campaign in campaigns.iter_rows(named=True):
        begins = campaign["start_date"]
        if begins < BEGIN or campaign["end_date"] >= END:
            continue
        pairs = got.filter(pl.col("campaign_id") == campaign["campaign_id"]).select("household_id", "campaign_id")
        redeemed = used.filter(pl.col("campaign_id") == campaign["campaign_id"])["household_id"]
        pairs = pairs.with_columns(
            label=pl.col("household_id").is_in(redeemed.implode()).cast(pl.Int8),
            start_date=pl.lit(begins),
            end_date=pl.lit(campaign["end_date"]),
        )
        before = bought.filter(
            (pl.col("transaction_timestamp") < begins) & pl.col("household_id").is_in(pairs["household_id"].implode())
        ).with_columns(days=(pl.lit(begins) - pl.col("transaction_timestamp")).dt.total_seconds() / _DAY)
        wanted = coupons.filter(pl.col("campaign_id") == campaign["campaign_id"]).join(kinds, on="product_id")
        tables = (_history(got, used, campaign), _shopping(before, (begins - BEGIN).days), _match(before, wanted))
        for part in tables:
            pairs = pairs.join(part, on="household_id", how="left")
        counts = [c for c in pairs.columns if c not in (*_KEY, "rate")]
        pairs = pairs.with_columns(pl.col(counts).fill_null(0), pl.col("rate").fill_null(pl.col("rate").min()))
        # How much is much depends on how long the log was when the campaign began: so counts are ranks among its households.
        ranks = pl.col(counts).rank("average") / pl.len()
        yield pairs.with_columns(ranks, type=pl.lit(campaign["campaign_type"])).join(
            people, on="household_id", how="left"
        )


def _history(got: pl.DataFrame, used: pl.DataFrame, campaign: dict[str, Any]) -> pl.DataFrame:
    """Campaigns that a household got before and what it redeemed of them."""
    begins = campaign["start_date"]
    same = pl.col("campaign_type") == campaign["campaign_type"]
    used = used.filter(pl.col("redemption_date") < begins)
    earlier = got.filter(pl.col("start_date") < begins).group_by("household_id").agg(got=pl.len())
    did = used.group_by("household_id").agg(
        redeemed=pl.col("campaign_id").n_unique(),
        redeemed_same=pl.col("campaign_id").filter(same).n_unique(),
        coupons_redeemed=pl.len(),
        lately_redeemed=-(pl.lit(begins) - pl.col("redemption_date")).dt.total_seconds().min() / _DAY,
    )
    joined = earlier.join(did, on="household_id", how="left").with_columns(
        pl.col("redeemed", "redeemed_same", "coupons_redeemed").fill_null(0), pl.col("lately_redeemed").fill_null(-400)
    )
    usual = float(joined["redeemed"].to_numpy().sum()) / max(1, int(joined["got"].to_numpy().sum()))
    return joined.with_columns(rate=(pl.col("redeemed") + _SMOOTH * usual) / (pl.col("got") + _SMOOTH))


def _shopping(before: pl.DataFrame, age: int) -> pl.DataFrame:
    """What a household spends, how often it comes, and how it uses coupons."""
    coupon = pl.col("coupon") > 0
    is_recent = pl.col("days") <= 90
    return before.group_by("household_id").agg(
        recency=-pl.col("days").min(),
        spend_90=pl.col("sales_value").filter(is_recent).sum() / min(90, age),
        trips_90=pl.col("basket_id").filter(is_recent).n_unique() / min(90, age),
        products=pl.col("product_id").n_unique(),
        categories=pl.col("product_category").n_unique(),
        private=(pl.col("brand") == "Private").mean(),
        coupon_trips=pl.col("basket_id").filter(coupon).n_unique(),
        coupon_trip_share=pl.col("basket_id").filter(coupon).n_unique() / pl.col("basket_id").n_unique(),
        coupon_spend_share=pl.col("sales_value").filter(coupon).sum() / pl.col("sales_value").sum(),
        coupon_lines_90=pl.col("coupon").filter(is_recent).sum(),
        coupon_discount=pl.col("coupon_disc").sum(),
        coupon_match=pl.col("coupon_match_disc").sum(),
    )


def _match(before: pl.DataFrame, wanted: pl.DataFrame) -> pl.DataFrame:
    """How a household's purchases meet the coupons: a coupon is met by any product that it holds for."""
    many = wanted["coupon_upc"].n_unique()
    products = before.group_by("household_id", "product_id").agg(
        baskets=pl.col("basket_id").n_unique(), coupon=pl.col("coupon").sum()
    )
    met = (
        products.join(wanted, on="product_id")
        .group_by("household_id", "coupon_upc")
        .agg(pl.col("baskets", "coupon").sum())
    )
    coverage = met.group_by("household_id").agg(
        met=pl.len() / many,
        met_often=(pl.col("baskets") >= 3).sum() / many,
        met_by_coupon=(pl.col("coupon") > 0).sum() / many,
    )
    matching_products = products.join(wanted.select("product_id").unique(), on="product_id")
    own = matching_products.group_by("household_id").agg(own_products=pl.len(), own_coupons=pl.col("coupon").sum())
    weight = 1.0 / pl.len().over("coupon_upc") / many
    kinds = {}
    for kind in ("product_category", "product_type"):
        share = wanted.with_columns(weight=weight).group_by(kind).agg(pl.col("weight").sum())
        bought = before.group_by("household_id", kind).agg(
            baskets=pl.col("basket_id").n_unique(), coupon=pl.col("coupon").sum()
        )
        kinds[kind] = (
            bought.join(share, on=kind)
            .group_by("household_id")
            .agg(
                (pl.col("weight").sum()).alias(f"{kind}_known"),
                (pl.col("weight") * pl.col("baskets")).sum().alias(f"{kind}_baskets"),
                (pl.col("weight") * pl.col("coupon")).sum().alias(f"{kind}_coupons"),
            )
        )
    features = coverage.join(own, on="household_id", how="full", coalesce=True)
    for part in kinds.values():
        features = features.join(part, on="household_id", how="full", coalesce=True)
    return features


def _raw(values: pl.Series) -> np.ndarray:
    if values.dtype.is_numeric():
        return values.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return np.array(values.cast(pl.String).to_list(), dtype=object)


def _boosted(past: LabelledTable, test: LabelledTable, names: tuple[str, ...]) -> Floats:
    """LightGBM as it comes; words as its own kind of category."""
    x = {c: np.concatenate([past.columns[c], test.columns[c]]) for c in names}
    codes = [v if v.dtype != object else np.unique(v.astype(str), return_inverse=True)[1] for v in x.values()]
    whole = np.column_stack(codes).astype(np.float64)
    words = [n for n, v in enumerate(x.values()) if v.dtype == object]
    model = lightgbm.LGBMClassifier(verbose=-1, n_jobs=1, random_state=42)
    model.fit(whole[: len(past)], past.label, categorical_feature=words)
    return np.asarray(model.predict_proba(whole[len(past) :]))[:, 1].astype(np.float32)


def _drawn(label: np.ndarray, probability: np.ndarray, household: np.ndarray) -> np.ndarray:
    """AUC (draws,) over households drawn with replacement; the same draws for every way."""
    rng = np.random.default_rng(42)
    (_, group) = np.unique(household, return_inverse=True)
    order = np.argsort(group, kind="stable")
    ends = [0, *np.cumsum(np.bincount(group)).tolist()]
    resampled = []
    for _ in range(_DRAWS):
        picked = rng.integers(0, len(ends) - 1, len(ends) - 1)
        rows = order[np.concatenate([np.arange(ends[g], ends[g + 1]) for g in picked])]
        resampled.append(roc_auc(label[rows], probability[rows]))
    return np.array(resampled)


def _interval(point: float, drawn: np.ndarray) -> str:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{point:.4f} [{low:.4f}, {high:.4f}]"


if __name__ == "__main__":
    record("campaigns", __doc__, main)
