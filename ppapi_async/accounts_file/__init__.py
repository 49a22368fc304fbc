"""Accounts from a TOML file, and where their keys come from."""

from ppapi_async.accounts_file.loading import load_accounts

__all__ = ["load_accounts"]
