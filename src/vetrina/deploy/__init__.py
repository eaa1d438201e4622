"""Manifests for a cluster: a Helm chart, and the same templates as plain manifests with Kustomize overlays.

`chart/` is the one source: `helm` writes it as it is, with values that are documented, and `kubernetes` fills the values in. The
containers run ordinary commands of Vetrina, of which nothing here knows more than the settings.
"""

TARGETS = ("kubernetes", "helm")
