"""The version, alone so that all modules can import it."""

__version__ = "0.2.0"
