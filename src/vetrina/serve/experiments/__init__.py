"""Experiments on live requests: canary, interleaving and exploration."""
