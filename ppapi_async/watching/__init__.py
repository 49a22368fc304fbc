"""What is new and what has changed at an account, poll by poll."""
