"""Warm-start state of a sequence model: encoder weights and item embeddings by product id, for the next training.

With it a nightly training continues from the one before. Items and properties are stored by name, since some come and some go
between two nights.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vetrina.core.arrays import Floats
from vetrina.nn.next_item.item_embeddings import ItemEmbeddings

_ENCODER_PREFIX = "encoder."


def save_state(
    path: Path,
    embeddings: ItemEmbeddings,
    encoder: nn.Module,
    product_ids: np.ndarray,
    token_names: list[str],
    stop_epoch: int,
) -> None:
    """Write the state of a trained model.

    Args:
        path: File to write.
        embeddings: The trained item embeddings.
        encoder: The trained encoder.
        product_ids: (items,) product id of each row, sorted.
        token_names: Name of each property, sorted.
        stop_epoch: Epoch after which the training stopped.
    """
    encoder_arrays = {_ENCODER_PREFIX + name: value.numpy() for name, value in encoder.state_dict().items()}
    own_vectors = embeddings.item_embedding.weight.detach().numpy()[:-1]  # without the padding
    token_vectors = embeddings.token_embedding.weight.detach().numpy()[: len(token_names)]
    np.savez(
        path,
        products=product_ids,
        own=own_vectors,
        properties=np.array(token_names, np.str_),
        of_properties=token_vectors,
        stop=stop_epoch,
        **encoder_arrays,
    )


def restore_state(
    path: Path,
    embeddings: ItemEmbeddings,
    encoder: nn.Module,
    product_ids: np.ndarray,
    token_names: list[str],
) -> int:
    """Fill embeddings and encoder with the state of an earlier training; return its stop epoch.

    Returns 0 and changes nothing if the earlier model had another shape or no item is in both. The vector of a new item is its
    initial vector under the linear map that takes the other items' initial vectors to their trained ones (least squares).

    Args:
        path: File that ``save_state`` wrote.
        embeddings: Item embeddings with initial vectors.
        encoder: The encoder.
        product_ids: (items,) product id of each row.
        token_names: Name of each property.
    """
    with np.load(path) as file:
        state = {name: file[name] for name in file.files}
    encoder_state = _encoder_state(state)
    row, is_trained = _lookup(state["products"], product_ids)
    has_same_width = state["own"].shape[1] == embeddings.item_embedding.weight.shape[1]
    if not _has_same_shapes(encoder_state, encoder.state_dict()) or not has_same_width or not is_trained.any():
        return 0
    encoder.load_state_dict(encoder_state)
    own_vectors = embeddings.item_embedding.weight.data[:-1]
    own_vectors[:] = torch.from_numpy(_align_new_items(own_vectors.numpy(), state["own"][row], is_trained))
    token_row, token_is_trained = _lookup(state["properties"], np.array(token_names, np.str_))
    token_vectors = embeddings.token_embedding.weight.data[: len(token_names)]
    trained_token_vectors = state["of_properties"][token_row[token_is_trained]]
    token_vectors[torch.from_numpy(token_is_trained)] = torch.from_numpy(trained_token_vectors)
    return int(state["stop"])


def _encoder_state(state: dict[str, np.ndarray]) -> dict[str, Tensor]:
    encoder_state = {}
    for name, values in state.items():
        if name.startswith(_ENCODER_PREFIX):
            encoder_state[name.removeprefix(_ENCODER_PREFIX)] = torch.from_numpy(values)
    return encoder_state


def _has_same_shapes(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    if a.keys() != b.keys():
        return False
    return all(a[name].shape == b[name].shape for name in b)


def _lookup(sorted_names: np.ndarray, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The index of each of ``names`` in ``sorted_names``, and whether it is there at all."""
    if not len(sorted_names):
        return np.zeros(len(names), np.int64), np.zeros(len(names), bool)
    index = np.minimum(np.searchsorted(sorted_names, names), len(sorted_names) - 1)
    return index, sorted_names[index] == names


def _align_new_items(initial: Floats, trained: Floats, is_trained: np.ndarray) -> Floats:
    """(items, width) trained vectors where there are any, else initial vectors mapped to the space of the trained ones."""
    mapping, *_ = np.linalg.lstsq(initial[is_trained], trained[is_trained], rcond=None)
    return np.where(is_trained[:, None], trained, initial @ mapping).astype(np.float32)
