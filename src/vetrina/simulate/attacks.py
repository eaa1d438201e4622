"""What people do to a shop's rankings for gain, made up: accounts that click for pay, titles full of what others look for."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from vetrina.core.clock import DAY

# acts of an account, how many of them push, seconds between two
_EVENTS_PER_ACCOUNT = 10
_PROMOTED_PER_ACCOUNT = 3
_EVENT_GAP_SECONDS = 30.0


def click_fraud_events(
    events: pl.DataFrame, targets: Sequence[str], share: float, rng: np.random.Generator, *, days: float = 7.0
) -> pl.DataFrame:
    """``share`` times as many events as there are, by accounts never seen, in the last ``days``.

    Each account acts ten times within minutes: three times with ``targets``, otherwise with what is popular, so as to look like
    a shopper and to stand close to what shoppers take (a bandwagon attack, Mobasher et al. 2007). ``events`` hold timestamp,
    user_id, type and product_id; so does the answer, of the commonest type.
    """
    accounts = max(1, int(len(events) * share / _EVENTS_PER_ACCOUNT))
    popular = events["product_id"].value_counts(sort=True)["product_id"][:200].to_list()
    filled = rng.choice(np.array(popular, dtype=object), (accounts, _EVENTS_PER_ACCOUNT))
    for row in filled:
        row[:_PROMOTED_PER_ACCOUNT] = rng.choice(
            np.array(targets, dtype=object), min(_PROMOTED_PER_ACCOUNT, len(targets)), replace=False
        )
    order = np.argsort(rng.random(filled.shape), axis=1)
    begin = -rng.random(accounts)[:, None] * days * DAY
    seconds = begin + np.arange(_EVENTS_PER_ACCOUNT) * _EVENT_GAP_SECONDS
    return pl.DataFrame(
        {
            "timestamp": seconds.ravel(),
            "user_id": np.repeat([f"account-{n}" for n in range(accounts)], _EVENTS_PER_ACCOUNT),
            "type": events["type"].mode().sort()[0],
            "product_id": np.take_along_axis(filled, order, axis=1).ravel().tolist(),
        }
    ).with_columns(
        timestamp=pl.lit(events["timestamp"].max())
        + pl.duration(microseconds=(pl.col("timestamp") * 1e6).cast(pl.Int64))
    )


def stuff_keywords(
    titles: Sequence[str], queries: Sequence[str], rng: np.random.Generator, *, queries_per_title: int = 12
) -> list[str]:
    """Titles with the words of ``wanted`` queries drawn by chance behind them."""
    drawn = [rng.choice(len(queries), min(queries_per_title, len(queries)), replace=False) for _ in titles]
    return [" ".join([title, *(queries[int(n)] for n in found)]) for title, found in zip(titles, drawn, strict=True)]
