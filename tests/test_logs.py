"""What must not get into a log line."""

import sys

import pytest
from django.db import IntegrityError

from zego_api.logs import withhold


@pytest.mark.parametrize("given", ["triple", "error", "now"])
def test_what_the_database_quotes_of_a_row_is_withheld(given: str) -> None:
    text = "duplicate key\nDETAIL:  Key (driver_id)=(1686) already exists."
    cause = ValueError(text)
    try:
        raise IntegrityError(text) from cause
    except IntegrityError as error:
        raised = error
        exc_info = {"triple": sys.exc_info(), "error": error, "now": True}[given]
        withhold(None, "error", {"event": "request_failed", "exc_info": exc_info})
    assert str(raised) == str(cause) == "duplicate key"


@pytest.mark.parametrize("end", ["", "/", " [500]"])
def test_a_token_in_a_path_is_withheld(end: str) -> None:
    event = withhold(None, "error", {"event": f"Failed: /link-work-provider/undo/W1:2:3{end}"})
    assert event["event"] == f"Failed: /link-work-provider/undo/...{end}"


def test_a_driver_id_in_a_path_is_withheld() -> None:
    event = withhold(None, "error", {"event": "Internal Server Error: /admin/desk/driver/3/1686/"})
    assert event["event"] == "Internal Server Error: /admin/desk/driver/3/.../"
