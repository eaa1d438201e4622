"""Where a version goes beside the shop's own service."""
