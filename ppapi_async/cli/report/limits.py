"""How much of each list the page shows."""

from __future__ import annotations

from attrs import asdict, frozen

__all__ = ["Limits"]


@frozen(kw_only=True)
class Limits:
    """The most there is of each; what is left out is counted."""

    findings: int = 60
    evidence: int = 5
    charts: int = 5
    cards: int = 12
    steps: int = 40
    best: int = 10
    directions: int = 30
    owed: int = 12
    balances: int = 100
    payouts: int = 60
    coverage: int = 40

    def fewer(self) -> Limits:
        """Return three quarters of all of it, but at least one of each."""
        return Limits(**{name: max(1, most * 3 // 4) for name, most in asdict(self).items()})
