"""What a training leaves to the next one, so that a nightly run need not begin at nothing.

Products and properties are kept by name: between two nights some come and some go.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from vetrina.core.types import Floats
from vetrina.layers.next_item.item_embeddings import ItemEmbeddings

_ENCODER_PREFIX = "encoder."


def save_state(
    path: Path,
    embeddings: ItemEmbeddings,
    encoder: nn.Module,
    product_ids: np.ndarray,
    token_names: list[str],
    stop_epoch: int,
) -> None:
    """``products`` (items,) and ``properties`` (tokens,) name the table's rows; ``stop`` is the epoch it ended with."""
    arrays = {_ENCODER_PREFIX + name: value.numpy() for name, value in encoder.state_dict().items()}
    np.savez(
        path,
        products=product_ids,
        own=embeddings.item_embedding.weight.detach().numpy()[:-1],
        properties=np.array(token_names, np.str_),
        of_properties=embeddings.token_embedding.weight.detach().numpy()[: len(token_names)],
        stop=stop_epoch,
        **arrays,
    )


def restore_state(
    path: Path, embeddings: ItemEmbeddings, encoder: nn.Module, product_ids: np.ndarray, token_names: list[str]
) -> int:
    """Fills table and encoder with what an earlier training learnt; returns its ``stop``, 0 if it was of another shape.

    A product that is new begins where its first vector lies once the first vectors of the others are laid upon what was
    learnt of them (least squares).
    """
    with np.load(path) as file:
        learnt = {name: file[name] for name in file.files}
    weights = {
        n.removeprefix(_ENCODER_PREFIX): torch.from_numpy(v) for n, v in learnt.items() if n.startswith(_ENCODER_PREFIX)
    }
    usual = encoder.state_dict()
    alike = weights.keys() == usual.keys() and all(weights[name].shape == usual[name].shape for name in usual)
    rows, known = _lookup(learnt["products"], product_ids)
    if not alike or learnt["own"].shape[1] != embeddings.item_embedding.weight.shape[1] or not known.any():
        return 0
    encoder.load_state_dict(weights)
    own = embeddings.item_embedding.weight.data[:-1]
    own[:] = torch.from_numpy(_align_new_items(own.numpy(), learnt["own"][rows], known))
    tokens, met = _lookup(learnt["properties"], np.array(token_names, np.str_))
    kept = torch.from_numpy(learnt["of_properties"][tokens[met]])
    embeddings.token_embedding.weight.data[: len(token_names)][torch.from_numpy(met)] = kept
    return int(learnt["stop"])


def _lookup(names: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The place in ``names`` of each that is asked for, and whether it is there at all. ``names`` are sorted."""
    if not len(names):
        return np.zeros(len(asked), np.int64), np.zeros(len(asked), bool)
    at = np.minimum(np.searchsorted(names, asked), len(names) - 1)
    return at, names[at] == asked


def _align_new_items(first: Floats, learnt: Floats, known: np.ndarray) -> Floats:
    """(items, width) what was learnt of the known ones, the others' first vectors laid beside them."""
    turn = np.linalg.lstsq(first[known], learnt[known], rcond=None)[0]
    return np.where(known[:, None], learnt, first @ turn).astype(np.float32)
