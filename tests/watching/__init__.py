"""Watches: what is new, what has changed."""
