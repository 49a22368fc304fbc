"""What the command `payout` does."""
