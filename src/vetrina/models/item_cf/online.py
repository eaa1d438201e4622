"""Opens the similarities of earlier bundles: their rows are summed as those of `graph_filter` are."""

from vetrina.models.graph_filter.online import REASON, open

__all__ = ["REASON", "open"]
