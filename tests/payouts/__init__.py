"""Never two payouts."""
