"""Counts what a user's friends, and those whom the user follows, took.

score(u, p) = sum over those f to whom u listens of  taken(f, p) / |who listens to f| ** SPREAD,
taken(f, p) = min(1, decayed count of p by f): a friend who bought a product ten times is one voice, and a voice that the
whole shop hears says less about one listener. A product that fewer than SHARED_BY of them took is left out, so that no answer
tells what a certain friend bought.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vetrina.core.progress import Progress
from vetrina.core.types import Interactions, Ints, SocialGraph, TrainingData, TrainingPlan
from vetrina.features.histories import DECAYED_COUNTS
from vetrina.layers.sparse_rows import save, shape_of, top_k_per_row

MIN_FOLLOWED_BUYERS = 2
FOLLOWER_POWER = 0.5
MAX_ITEMS_PER_USER = 200
_USERS_PER_BLOCK = 4_000  # users at once


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes the listeners ``users.npy`` (pseudonyms, sorted), a row of products for each, and how many products there are."""
    if training_data.catalogue is None or training_data.interactions is None:
        raise ValueError("friends needs a catalogue and events")
    nobody = np.empty(0, np.int32)
    ties = training_data.social_graph or SocialGraph(np.empty(0, np.str_), nobody, nobody)
    taken = _user_item_matrix(training_data.interactions, ties.users, len(training_data.catalogue))
    told = _followed_scores(ties, taken, max(1, _USERS_PER_BLOCK // plan.n_chunks), progress)
    listeners = np.flatnonzero(np.diff(told.indptr))
    np.save(into / "users.npy", ties.users[listeners])
    np.save(into / "products.npy", np.array(len(training_data.catalogue)))
    return {"ties": len(ties), "listeners": len(listeners), **save(sparse.csr_array(told[listeners]), into)}


def _user_item_matrix(events: Interactions, users: NDArray[np.str_], items: int) -> sparse.csr_array:
    """(users, items): 1 for what was bought lately, less for what was bought long ago or only looked at."""
    starts, item, counts = DECAYED_COUNTS.batch(events)
    owner = np.repeat(_lookup(events.users, users), np.diff(starts))
    there = owner >= 0
    values = np.minimum(counts[there], 1.0).astype(np.float32)
    return sparse.csr_array((values, (owner[there], item[there])), shape=(len(users), items))


def _lookup(names: NDArray[np.str_], among: NDArray[np.str_]) -> Ints:
    """Of each name its place among sorted names, -1 where it is not there."""
    if not len(among):
        return np.full(len(names), -1, np.int32)
    at = np.minimum(np.searchsorted(among, names), len(among) - 1)
    return np.where(among[at] == names, at, -1).astype(np.int32)


def _followed_scores(ties: SocialGraph, taken: sparse.csr_array, block: int, progress: Progress) -> sparse.csr_array:
    """(users, items): the KEPT best products of each user, of those that SHARED_BY of the user's voices took."""
    users = len(ties.users)
    heard = np.bincount(ties.followee, minlength=users)[ties.followee]
    voice = (heard**-FOLLOWER_POWER).astype(np.float32) if len(ties) else np.empty(0, np.float32)
    listens = sparse.csr_array((voice, (ties.follower, ties.followee)), shape=(users, users))
    rows = [sparse.csr_array((0, shape_of(taken)[1]), dtype=np.float32)]
    with progress.step("friends", -(-users // block)) as step:
        for start in range(0, users, block):
            own = sparse.csr_array(listens[np.arange(start, min(start + block, users))])
            voices = sparse.csr_array(_binarise(own) @ _binarise(taken))
            shared = sparse.csr_array(
                (voices.data >= MIN_FOLLOWED_BUYERS, voices.indices, voices.indptr), shape=voices.shape
            )
            found = sparse.csr_array(shared.multiply(own @ taken), dtype=np.float32)
            found.eliminate_zeros()
            rows.append(top_k_per_row(found, MAX_ITEMS_PER_USER))
            step.advance()
    return sparse.csr_array(sparse.vstack(rows, format="csr"))


def _binarise(matrix: sparse.csr_array) -> sparse.csr_array:
    return sparse.csr_array((np.ones(matrix.nnz, np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)
