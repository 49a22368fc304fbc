"""What keeps states and checkpoints."""
