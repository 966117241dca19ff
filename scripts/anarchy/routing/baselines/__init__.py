"""Policies of our own, a file each: held against Dynamo's, and pinned."""

# The configuration finds these modules by looking, and they build on it: it has to be there first.
import anarchy.config  # noqa: F401
