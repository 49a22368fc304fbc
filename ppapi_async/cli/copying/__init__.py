"""What `sync` and `audit` do."""
