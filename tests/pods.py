"""Pods of rendered manifests as processes of this machine, and a shop that they serve."""
