"""Metrics and spans: what they are called, what they hold, what they never hold."""
