"""What `init`, `add` and `remove` do with the accounts file."""
