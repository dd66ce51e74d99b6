"""Logs as one line an event: JSON for machines, or short coloured lines for `make run`."""

import logging
import logging.config
import re
import sys
from typing import Any

import structlog
from structlog.dev import plain_traceback
from structlog.tracebacks import ExceptionDictTransformer

# Without the local variables of each frame: these are bodies, keys and identifiers.
_TRACEBACKS = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))


_SECRET_PATH = re.compile(r"(/undo/|/driver/\d+/)[^/\s?]+")


def withhold(logger: Any, method: str, event: structlog.typing.EventDict) -> Any:
    """Take out what PostgreSQL quotes of a row, and tokens and driver ids that stand in a path."""
    error = event.get("exc_info")
    error = sys.exc_info() if error is True else error
    error = error[1] if isinstance(error, tuple) else error
    while isinstance(error, BaseException):
        if error.args and isinstance(error.args[0], str) and "\nDETAIL:" in error.args[0]:
            error.args = (error.args[0].partition("\nDETAIL:")[0], *error.args[1:])
        error = error.__cause__ or error.__context__
    if isinstance(event.get("event"), str):
        event["event"] = _SECRET_PATH.sub(r"\1...", event["event"])
    return event


class NotAway(logging.Filter):
    """Drops Django's own line on a 503: the cause has been logged where it was noticed."""

    def filter(self, record: logging.LogRecord) -> bool:
        return getattr(record, "status_code", None) != 503


def configure(config: dict[str, Any]) -> None:
    """Django's LOGGING_CONFIG: `config` holds `level` and `format` ("json" or "console")."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Any] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=plain_traceback, colors=False)]
        if config["format"] == "console"
        else [_TRACEBACKS, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "line": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": shared,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        withhold,
                        *renderer,
                    ],
                }
            },
            "filters": {"not_away": {"()": NotAway}},
            # To stderr, so that what a command prints on stdout is its answer and nothing else.
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": config["level"]},
            # A 4xx is the client's business and is answered; a 500 is logged with its traceback.
            # Celery's lines about each wake-up say nothing that the digest's own line does not.
            "loggers": {
                "django.security.DisallowedHost": {"level": "CRITICAL"},
                "django.security.csrf": {"level": "ERROR"},
                "django.request": {"level": "ERROR", "filters": ["not_away"]},
                "celery.worker.request": {"level": "WARNING"},
                "celery.worker.strategy": {"level": "WARNING"},
                "celery.app.trace": {"level": "WARNING"},
            },
        }
    )
