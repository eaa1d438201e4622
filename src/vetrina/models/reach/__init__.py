"""Audience model: boosted trees trained on past launches that predict who buys a new product."""
