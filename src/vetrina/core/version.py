"""The version of this code and of the bundles it reads, where anyone may read it."""

VERSION = "0.2.0.dev1"
# Raised whenever the files of a bundle change: bundles of another number are refused, and `vetrina run` makes new ones.
BUNDLE_FORMAT = 2
