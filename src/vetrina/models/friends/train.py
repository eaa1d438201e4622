"""Social recommendation: items taken by the users whom a user follows, with a minimum number of buyers for privacy.

score(u, p) = sum over the users f whom u follows of  taken(f, p) / |followers of f| ** FOLLOWER_POWER,
taken(f, p) = min(1, decayed count of p by f).

A friend who bought a product ten times counts once, and a user whom the whole shop follows says less about one
follower. A product that fewer than MIN_FOLLOWED_BUYERS of them took is left out, so that no recommendation reveals
what a certain friend bought.
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vetrina.bundle.sparse_rows.write import write_rows
from vetrina.core.arrays import Ints
from vetrina.core.progress import Progress
from vetrina.core.training_data import Interactions, SocialGraph, TrainingData
from vetrina.core.training_plan import TrainingPlan, TrainNotes
from vetrina.data.sparse_matrix import shape_of, top_k_per_row
from vetrina.features.histories import DECAYED_COUNTS

MIN_FOLLOWED_BUYERS = 2
FOLLOWER_POWER = 0.5
MAX_ITEMS_PER_USER = 200
_USERS_PER_BLOCK = 4_000  # users at once, to bound memory


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes ``users.npy`` (pseudonyms of followers, sorted) and a row of scores for each.

    Args:
        training_data: Needs the catalogue and interactions; the social graph may be missing.
        plan: Says into how many chunks the work is cut.
        into: The output folder.
        progress: Reports the blocks of users.

    Returns:
        Report: number of ties, of users with scores, and that of ``write_rows``.
    """
    if training_data.catalogue is None or training_data.interactions is None:
        raise ValueError("friends needs a catalogue and events")
    n_items = len(training_data.catalogue)
    graph = training_data.social_graph
    if graph is None or not len(graph):
        nobody = np.empty(0, np.int32)
        graph = SocialGraph(np.empty(0, np.str_), nobody, nobody)
    user_items = _user_item_matrix(training_data.interactions, graph.users, n_items)
    users_per_block = max(1, _USERS_PER_BLOCK // plan.n_chunks)
    scores = _followed_scores(graph, user_items, users_per_block, progress)
    users_with_scores = np.flatnonzero(np.diff(scores.indptr))
    np.save(into / "users.npy", graph.users[users_with_scores])
    row_report = write_rows(sparse.csr_array(scores[users_with_scores]), into)
    return TrainNotes(report={"ties": len(graph), "listeners": len(users_with_scores), **row_report})


def _user_item_matrix(events: Interactions, users: NDArray[np.str_], n_items: int) -> sparse.csr_array:
    """(users, items): 1 for a recent purchase, less for an old one or for a view."""
    starts, items, counts = DECAYED_COUNTS.batch(events)
    rows = np.repeat(_lookup(events.users, users), np.diff(starts))
    is_in_graph = rows >= 0
    values = np.minimum(counts[is_in_graph], 1.0).astype(np.float32)
    coordinates = (rows[is_in_graph], items[is_in_graph])
    return sparse.csr_array((values, coordinates), shape=(len(users), n_items))


def _lookup(names: NDArray[np.str_], sorted_names: NDArray[np.str_]) -> Ints:
    """The index of each name among the sorted names, -1 where it is not there."""
    if not len(sorted_names):
        return np.full(len(names), -1, np.int32)
    index = np.searchsorted(sorted_names, names)
    index = np.minimum(index, len(sorted_names) - 1)
    return np.where(sorted_names[index] == names, index, -1).astype(np.int32)


def _followed_scores(
    graph: SocialGraph, user_items: sparse.csr_array, users_per_block: int, progress: Progress
) -> sparse.csr_array:
    """(users, items): the MAX_ITEMS_PER_USER best products of each user."""
    n_users = len(graph.users)
    follows = _follow_matrix(graph)
    has_taken = _binarise(user_items)
    blocks = [sparse.csr_array((0, shape_of(user_items)[1]), dtype=np.float32)]
    with progress.step("friends", math.ceil(n_users / users_per_block)) as step:
        for start in range(0, n_users, users_per_block):
            users = np.arange(start, min(start + users_per_block, n_users))
            block_follows = sparse.csr_array(follows[users])
            n_buyers = sparse.csr_array(_binarise(block_follows) @ has_taken)
            has_enough_buyers = sparse.csr_array(
                (n_buyers.data >= MIN_FOLLOWED_BUYERS, n_buyers.indices, n_buyers.indptr), shape=n_buyers.shape
            )
            scores = sparse.csr_array(has_enough_buyers.multiply(block_follows @ user_items), dtype=np.float32)
            scores.eliminate_zeros()
            blocks.append(top_k_per_row(scores, MAX_ITEMS_PER_USER))
            step.advance()
    return sparse.csr_array(sparse.vstack(blocks, format="csr"))


def _follow_matrix(graph: SocialGraph) -> sparse.csr_array:
    """(users, users): the weight of each followed user for a follower."""
    n_users = len(graph.users)
    weights = np.empty(0, np.float32)
    if len(graph):
        n_followers = np.bincount(graph.followee, minlength=n_users)[graph.followee]
        weights = (n_followers**-FOLLOWER_POWER).astype(np.float32)
    return sparse.csr_array((weights, (graph.follower, graph.followee)), shape=(n_users, n_users))


def _binarise(matrix: sparse.csr_array) -> sparse.csr_array:
    ones = np.ones(matrix.nnz, np.float32)
    return sparse.csr_array((ones, matrix.indices, matrix.indptr), shape=matrix.shape)
