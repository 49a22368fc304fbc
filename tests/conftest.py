"""Profiles of hypothesis, and what most tests share."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

__all__ = ["DEPTH"]

settings.register_profile("fast", max_examples=60, deadline=None)
settings.register_profile(
    "thorough",
    max_examples=50_000,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
_PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "fast")
settings.load_profile(_PROFILE)
DEPTH = 10 if _PROFILE == "thorough" else 1
"""How much larger than in CI the things are that strategies make."""
