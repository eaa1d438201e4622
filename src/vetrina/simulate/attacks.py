"""Simulated manipulation of rankings: click fraud and keyword stuffing."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from vetrina.core.clock import DAY

_EVENTS_PER_ACCOUNT = 10
_PROMOTED_PER_ACCOUNT = 3  # of the events of an account
_EVENT_GAP_SECONDS = 30.0
_MAX_FILLER_PRODUCTS = 200  # the most popular ones


def click_fraud_events(
    events: pl.DataFrame, targets: Sequence[str], share: float, rng: np.random.Generator, *, days: float = 7.0
) -> pl.DataFrame:
    """Events of fake accounts that promote products.

    Each account has ten events within minutes: three on the promoted products, the others on popular ones, so that it resembles
    real users and is close to popular products (a bandwagon attack, Mobasher et al. 2007).

    Args:
        events: the log, with timestamp, user_id, type and product_id.
        targets: product ids to promote, at least three.
        share: number of fake events over that of the log.
        rng: source of randomness.
        days: the accounts act within so many days before the last event of the log.

    Returns:
        The fake events with the same columns, all of the most common type.
    """
    n_accounts = max(1, int(len(events) * share / _EVENTS_PER_ACCOUNT))
    popular = events["product_id"].value_counts(sort=True)["product_id"][:_MAX_FILLER_PRODUCTS].to_list()
    products = rng.choice(np.array(popular, dtype=object), (n_accounts, _EVENTS_PER_ACCOUNT))
    n_promoted = min(_PROMOTED_PER_ACCOUNT, len(targets))
    for account_products in products:
        promoted = rng.choice(np.array(targets, dtype=object), n_promoted, replace=False)
        account_products[:_PROMOTED_PER_ACCOUNT] = promoted
    order = np.argsort(rng.random(products.shape), axis=1)
    shuffled = np.take_along_axis(products, order, axis=1)
    first_event = -rng.random(n_accounts)[:, None] * days * DAY
    seconds_before_end = first_event + np.arange(_EVENTS_PER_ACCOUNT) * _EVENT_GAP_SECONDS
    account_ids = [f"account-{n}" for n in range(n_accounts)]
    frame = pl.DataFrame(
        {
            "timestamp": seconds_before_end.ravel(),
            "user_id": np.repeat(account_ids, _EVENTS_PER_ACCOUNT),
            "type": events["type"].mode().sort()[0],
            "product_id": shuffled.ravel().tolist(),
        }
    )
    offset = pl.duration(microseconds=(pl.col("timestamp") * 1e6).cast(pl.Int64))
    return frame.with_columns(timestamp=pl.lit(events["timestamp"].max()) + offset)


def stuff_keywords(
    titles: Sequence[str], queries: Sequence[str], rng: np.random.Generator, *, queries_per_title: int = 12
) -> list[str]:
    """Titles with unrelated search queries appended (keyword stuffing).

    Args:
        titles: titles of the products to promote.
        queries: queries of the shop's users.
        rng: source of randomness.
        queries_per_title: number of different queries for each title.

    Returns:
        The stuffed titles in the same order.
    """
    n_queries = min(queries_per_title, len(queries))
    samples = [rng.choice(len(queries), n_queries, replace=False) for _ in titles]
    stuffed: list[str] = []
    for title, sample in zip(titles, samples, strict=True):
        words = [queries[int(index)] for index in sample]
        stuffed.append(" ".join([title, *words]))
    return stuffed
