"""Snapshot to typed arrays: catalogue, events, splits, click model, fraud detection and images. Training side only."""
