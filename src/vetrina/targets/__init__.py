"""Deployment targets of a version beside the shop's own service."""
