"""Version of the package and of its bundle format."""

VERSION = "0.2.0.dev1"
# Raised whenever the files of a bundle change: bundles of another format are refused, and `vetrina run` makes new ones.
BUNDLE_FORMAT = 4
