"""Decides from held-out data whether a candidate may meet shoppers."""

from vetrina.gate.gate import Candidate, Policy, gate, inspect

__all__ = ["Candidate", "Policy", "gate", "inspect"]
