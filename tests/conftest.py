"""Hypothesis sets each example 200 ms of wall time unless it is told not to; a busy machine takes longer."""

from hypothesis import settings

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
