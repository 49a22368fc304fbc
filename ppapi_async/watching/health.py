"""How it goes: whether polls work, and what of it is worth reporting. Pure."""

from __future__ import annotations

from attrs import define, field

from ppapi_async.errors import PPAPIError

__all__ = ["Health"]


@define
class Health:
    """Counts failures, and lets each kind of trouble be reported once until all is well again."""

    failures: int = 0
    """In a row."""
    last_error: PPAPIError | None = None
    """Of the latest trouble, also after it has passed."""
    last_success: float | None = None
    """When the last poll began that worked, in unix seconds."""
    _reported: set[type[PPAPIError]] = field(factory=set)

    def fail(self, error: PPAPIError) -> bool:
        """Count a failure; return whether it is news."""
        self.failures += 1
        # Without the frames: they would keep a poll's rows for as long as the error is kept.
        self.last_error = error.with_traceback(None)
        is_news = type(error) not in self._reported
        self._reported.add(type(error))
        return is_news

    def succeed(self, began: float) -> bool:
        """Count a success; return whether that is news."""
        is_news = self.failures > 0
        self.failures, self.last_success = 0, began
        self._reported.clear()
        return is_news
