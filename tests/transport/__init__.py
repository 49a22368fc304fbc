"""Requests and answers, and the session that sends them."""
