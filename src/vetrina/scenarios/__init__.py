"""One folder a scenario, each with one object that every stage asks; its interface is in ``base.py``."""
