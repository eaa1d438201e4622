"""Files in, one immutable, content-hashed, time-split snapshot out."""

from vetrina.ingest.ingest import ingest

__all__ = ["ingest"]
