"""Every page of the desk is measured, and answers on a seeded database with few queries."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from django.test import Client

from linking.models import User
from tests.benchmarks import desk, samples
from tests.benchmarks.desk import BEGIN, END, Measured, Page

MOST_QUERIES = 60


@pytest.fixture
def client(now: datetime) -> Iterator[Client]:
    with desk.signed_in() as client:
        yield client


@pytest.mark.slow
def test_every_page_answers_by_a_bounded_number_of_queries(client: Client) -> None:
    plan = desk.planned()
    assert plan.troubles == []
    found = [desk.measured(client, page, rounds=0) for page in plan.pages]
    assert [one.cells() for one in found if one.status not in desk.ANSWERS] == []
    assert [one.cells() for one in found if one.queries > MOST_QUERIES] == []


def test_every_named_page_of_the_desk_and_every_table_is_planned(client: Client) -> None:
    names = {page.name.partition(" (")[0] for page in desk.planned().pages}
    assert names >= {"front page", "customer", "shift", "reports", "close-out", "withdraw"}
    assert names >= {"table shifts_shiftevent", "row of shifts_shift", "table linking_user"}


def test_a_page_that_takes_arguments_and_has_no_sample_is_told(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = samples.samples(datetime.now().astimezone())
    left = {name: ways for name, ways in known.items() if name != "customer"}
    monkeypatch.setattr(samples, "samples", lambda now: left | {"gone": []})
    assert desk.planned().troubles == [
        "desk:customer takes arguments: add a sample of it to samples.py",
        "There is no page desk:gone any more",
    ]


def test_what_is_asked_for_leaves_nothing_behind(now: datetime) -> None:
    with desk.signed_in() as client:
        page = Page("front page", "/admin/")
        one = desk.measured(client, page, rounds=2)
        assert (one.status, len(one.times)) == (200, 2)
        assert one.queries > 0
        assert User.objects.filter(username="benchmark").exists()
    assert not User.objects.filter(username="benchmark").exists()


def test_slow_and_failing_pages_are_marked() -> None:
    page = Page("search", "/admin/desk/search/")
    slow = Measured(page, [10.0, 700.0, 501.0], 7, 200)
    assert slow.cells() == ["search", "501", "700", "7", "more than 500 ms"]
    assert slow.is_bad
    assert not Measured(page, [10.0, 700.0, 20.0], 7, 200).is_bad
    assert Measured(page, [], 7, 500).cells()[-1] == "answers 500"
    assert Measured(page, [], 7, 500).is_bad


def test_the_table_goes_between_the_marks_of_the_page(tmp_path: Path) -> None:
    path = tmp_path / "ops.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    one = Measured(Page("search", "/"), [10.4, 20.0, 12.0], 7, 200)
    desk.write(path, desk.table([one]))
    assert path.read_text() == (
        f"before\n{BEGIN}\n| page | median ms | worst ms | queries |  |\n"
        "| --- | ---: | ---: | ---: | --- |\n"
        f"| search | 12 | 20 | 7 |  |\n{END}\nafter\n"
    )


def test_a_page_without_the_marks_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ops.md"
    path.write_text("words\n")
    with pytest.raises(SystemExit, match="needs a line"):
        desk.write(path, ["row"])
    assert path.read_text() == "words\n"
