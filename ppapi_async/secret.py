"""The secret that never prints."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import NoReturn

__all__ = ["Secret", "as_secret"]


class Secret:
    """A string that shows itself only to `reveal()`: not in repr, str, format or pickles."""

    __slots__ = ("_reveal",)
    _reveal: Callable[[], str]

    def __init__(self, value: str) -> None:
        # In a closure: what goes through attributes and slots, as debugging aids do, finds it not.
        self._reveal = lambda: value

    def reveal(self) -> str:
        """Return the secret itself. Do not bind the result to a name in a frame that may raise."""
        return self._reveal()

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash((Secret, self.reveal()))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key is not pickled; load it where it is needed")


def as_secret(value: str | Secret) -> Secret:
    """Return the key as a secret."""
    return value if isinstance(value, Secret) else Secret(value)
