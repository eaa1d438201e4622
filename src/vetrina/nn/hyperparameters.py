"""Hyper-parameters of networks that several models share. Knows nothing of torch, so that serving can import it."""

from vetrina.core.search_range import SearchRange

ALL_LAYERS = -1
FINE_TUNING = {"trainable_layers": ALL_LAYERS, "unfreeze_per_epoch": 0, "lora_rank": 0, "patience": 0}
NEXT_ITEM = {
    "width": 64,
    "length": 50,
    "epochs": 0,  # 0 leaves it to the number of positions
    "stop": 0,  # the epoch after which to stop; 0 leaves it to held-out users
    "rate": 4e-3,
    "dropout": 0.4,
    "temperature": 0.06,
    "negatives": 1_024,
}
NEXT_ITEM_SEARCH_SPACE = {
    "rate": SearchRange(1e-3, 8e-3),
    "dropout": SearchRange(0.1, 0.6),
    "temperature": SearchRange(0.04, 0.12),
}
