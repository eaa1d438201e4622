"""Simulated shops with known ground truth, and simulated users who visit them over real HTTP."""
