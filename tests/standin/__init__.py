"""The client against a server of version 2.7 that shares nothing with it."""
