"""Ingestion: files and logs to one immutable, content-hashed, time-split snapshot."""

from vetrina.ingest.ingest import ingest

__all__ = ["ingest"]
