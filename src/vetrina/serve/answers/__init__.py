"""Answers to requests: ranked products, predictions, audiences. Each is logged once, as an exposure. Nothing here knows HTTP."""
