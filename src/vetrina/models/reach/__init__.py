"""Boosted trees that learnt from earlier launches who buys a new product."""
