"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# A busy machine makes any example slow: no test fails by the clock.
settings.register_profile("anarchy", deadline=None)
settings.load_profile("anarchy")
