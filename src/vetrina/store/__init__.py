"""Persistent state of a shop: SQL tables, bundles, the shop folder."""
