"""Ratios against named baselines: `python -m bench`; each module says what its lines are."""
