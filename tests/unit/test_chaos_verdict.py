"""The verdict of the fault runs on made-up ledgers: it must find each planted fault, by record."""

from collections import Counter
from pathlib import Path

from tests.chaos import journal
from tests.chaos.report import refusals_without_delay
from tests.chaos.verdict import Call, Record, judge, silences, spans_of


def records(*numbers: int, stream: str = "logs-0-0") -> list[Record]:
    """Return records of one stream."""
    return [(stream, number) for number in numbers]


def calls() -> list[Call]:
    """Return an acknowledged, a failed and an unanswered call of two records each."""
    return [
        Call(records(1, 2), 0.0, 1.0, "SUCCESS"),
        Call(records(3, 4), 1.0, 11.0, "FAILURE"),
        Call(records(5, 6), 2.0),
    ]


def test_all_is_well() -> None:
    """Acknowledged records once, one of the failed and one of the unanswered ones too: clean, and summed up."""
    verdict = judge(calls(), Counter(records(1, 2, 3, 6)))

    assert verdict.clean
    assert (verdict.sent, verdict.acknowledged, verdict.failed, verdict.unanswered) == (6, 2, 2, 2)
    assert (verdict.stored, verdict.stored_unacknowledged) == (4, 2)


def test_a_planted_loss_is_found() -> None:
    """One acknowledged record is missing while another is there twice: the counts agree, the verdict does not."""
    verdict = judge(calls(), Counter(records(1, 1)))

    assert not verdict.clean
    assert verdict.stored == verdict.acknowledged
    assert verdict.lost == records(2)
    assert verdict.doubled == records(1)


def test_a_planted_duplicate_is_found_whoever_was_told() -> None:
    """Twice is too often for a record that was never acknowledged as well."""
    for number in (1, 3, 5):
        verdict = judge(calls(), Counter(records(1, 2, number, number)))

        assert not verdict.clean
        assert verdict.doubled == records(number)


def test_a_planted_invention_is_found() -> None:
    """A record of a stream, or of a number, that nobody sent."""
    invented = [*records(7), *records(1, stream="spans-9-9")]
    verdict = judge(calls(), Counter(records(1, 2) + invented))

    assert not verdict.clean
    assert verdict.invented == invented


def test_a_failed_call_is_not_a_loss() -> None:
    """Who was told that it failed may find nothing there."""
    assert judge(calls()[1:], Counter()).clean


def test_silences_are_between_acknowledgements() -> None:
    """Failed and unanswered calls end no silence."""
    heard = [Call(records(n), 0.0, at, "SUCCESS") for n, at in enumerate((1.0, 1.5, 9.5))]

    assert silences([*heard, Call(records(9), 2.0, 5.0, "FAILURE")], 2.0) == [(1.5, 8.0)]


def test_records_are_named_in_runs() -> None:
    """Neighbours together, streams apart."""
    named = spans_of([*records(3, 1, 2, 9), *records(5, stream="spans-1-0")])

    assert named == "logs-0-0 1-3 9; spans-1-0 5"


def test_the_journal_gives_back_what_was_noted(tmp_path: Path) -> None:
    """Calls with their records and results, one that never returned, and an answer without its delay."""
    book = journal.Journal(tmp_path / "journal")
    first = book.begin("logs-0-0", [1, 2, 3, 7])
    book.begin("spans-0-0", [1])
    book.answer("http", "503", delay=None, ours=True, detail="later")
    book.answer("grpc", "UNAVAILABLE", delay=None, ours=False, detail="connection refused")
    book.end(first, "SUCCESS")

    read, answers = journal.read([tmp_path / "journal"])

    assert [(call.records, call.result) for call in read] == [
        (records(1, 2, 3, 7), "SUCCESS"),
        (records(1, stream="spans-0-0"), None),
    ]
    assert [answer.code for answer in refusals_without_delay(answers)] == ["503"]
