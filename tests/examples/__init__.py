"""The examples and the README do what they say."""
