"""Gate stage: decides on held-out data whether a candidate may be released."""

from vetrina.gate.gate import Candidate, Policy, check_served_file, gate

__all__ = ["Candidate", "Policy", "check_served_file", "gate"]
