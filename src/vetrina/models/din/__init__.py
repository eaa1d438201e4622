"""Attention over what somebody did last: it learns which of that an offer is judged by."""
