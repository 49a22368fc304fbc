"""The report: one page about all accounts, made from the mirror."""
