"""Accounts, their files, keys and what hides them."""
