"""Judges launch by products that nobody had before: what share of their buyers stands among the first of all users."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Evidence, Scores, Targets
from vetrina.metrics.ranking import half_ranks
from vetrina.scenarios.launch.online import Launch

SHARE, SHARES = 0.05, (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_MOST_LAUNCHES, _FIRST = 2_000, 100


def evaluate(folder: Path, evidence: Evidence, *, only: str | None = None, share: float = SHARE) -> Scores:
    """Of each launch the share of its buyers among the first ``share`` of all users; ties at half rank.

    A launch is a product of the catalogue that somebody took in the period and nobody before. Buyers whom the version does
    not know cannot be told and count as missed.
    """
    opened, values, names = Launch(folder), [], []
    reached = max(1, round(share * len(opened.users)))
    for item, buyers in launched(opened, evidence.targets):
        score = opened.scores(opened.of_item(item), only)
        known = buyers[buyers >= 0]
        values.append(float((half_ranks(score, known) < reached + 1).sum()) / len(buyers))
        names.append(opened.shelf.id(item))
    return Scores(f"Reach@{share:.0%}", tuple(names), np.array(values))


def launched(opened: Launch, targets: Targets | None) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each launch with its buyers as rows of users, -1 for one unknown; at most _MOST_LAUNCHES, evenly spread."""
    if targets is None or not targets.items:
        return
    users = np.array(targets.user)
    at = np.minimum(np.searchsorted(opened.users, users), max(0, len(opened.users) - 1))
    row = np.where(opened.users[at] == users, at, -1) if len(opened.users) else np.full(len(users), -1)
    item = np.concatenate(targets.items)
    buyer = np.repeat(row, [len(i) for i in targets.items])
    new = (item >= 0) & ~opened.sold[np.maximum(item, 0)]
    item, buyer = item[new], buyer[new]
    distinct = np.unique(item)
    for chosen in distinct[:: max(1, -(-len(distinct) // _MOST_LAUNCHES))].tolist():
        yield chosen, buyer[item == chosen]


def requests(folder: Path, most: int) -> list[int]:
    """Products of the catalogue, new ones first."""
    opened = Launch(folder)
    order = np.argsort(opened.sold, kind="stable")
    return order[: min(most, _MOST_LAUNCHES)].tolist()


def answers(folder: Path, asked: list[int]) -> list[dict[str, float]]:
    """The first users for each, with their scores."""
    opened = Launch(folder)
    found = (opened.scores(opened.of_item(item)) for item in asked)
    return [
        {str(opened.users[u]): float(score[u]) for u in np.argsort(-score, kind="stable")[:_FIRST].tolist()}
        for score in found
    ]


@dataclass(frozen=True)
class Reached:
    """Telling the first ``share`` of all users of each launch: which share of the buyers that reaches, and how many of those told
    buy (``precision``)."""

    share: float
    reach: float
    precision: float


def curve(folder: Path, evidence: Evidence, shares: Sequence[float] = SHARES) -> list[Reached]:
    """Pooled over the launches of a period; empty where there were none."""
    opened, ranks, launches, buyers = Launch(folder), [], 0, 0
    for item, took in launched(opened, evidence.targets):
        score = opened.scores(opened.of_item(item))
        ranks.append(half_ranks(score, took[took >= 0]))
        launches, buyers = launches + 1, buyers + len(took)
    if not buyers:
        return []
    found, told = np.concatenate(ranks), [max(1, round(share * len(opened.users))) for share in shares]
    hits = [int((found < most + 1).sum()) for most in told]
    return [
        Reached(share, hit / buyers, hit / (launches * most))
        for share, hit, most in zip(shares, hits, told, strict=True)
    ]
