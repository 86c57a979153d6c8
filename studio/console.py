"""What the studio says to whoever watches its process: one line per change of state, on standard error.

Standard output belongs to the commands (`make smoke` prints one line of JSON there).
"""

import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger


class StandardError(logging.Handler):
    """Writes to whatever standard error is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")


def say_in_one_line(_: WrappedLogger, __: str, event: EventDict) -> str:
    """The event, its keys, and below them a traceback if there is one."""
    trace = event.pop("exception", "")
    keys = " ".join(f"{key}={value}" for key, value in event.items() if key != "event")
    line = f"{event['event']}  {keys}".rstrip()
    return f"{line}\n{trace}" if trace else line


def send_structlog_to_logging() -> None:
    """structlog's events become records of the standard library's logging, under the module's name."""
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.processors.format_exc_info, say_in_one_line],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def logging_settings(level: str) -> dict[str, Any]:
    """Django's LOGGING: our own modules at `level`, everybody else from warnings up."""
    ours = {name: {"level": level} for name in ("studio", "clusters", "deployments")}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s", "datefmt": "%H:%M:%S"}},
        "handlers": {"stderr": {"class": "studio.console.StandardError", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            **ours,
            "django": {"level": "WARNING", "handlers": [], "propagate": True},
            "django.request": {"level": "ERROR"},  # a 404 is an answer, not an event
            "kombu.connection": {"level": "ERROR"},  # it misses a host name for the in-memory queue
        },
    }
