"""Slots that are handed out a little ahead: to whom asks for them, and to nobody else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.capacity.conftest import Sender


def come_a_second_apart(sender: Sender) -> None:
    """Let one message leave, late, and another come to the fence before its slot."""
    sender.limit(min_gap_seconds=1)
    sender.crowd(2)
    sender.engine.tick()
    sender.engine.render()
    first = sender.engine.claim_sends("email", ahead=timedelta(seconds=2))
    sender.engine.record(first, left_after=0.3)
    sender.clock.advance(seconds=1)
    sender.engine.tick()
    sender.engine.render()


def test_a_message_that_is_early_goes_back_without_a_word_of_its_caller(sender: Sender) -> None:
    come_a_second_apart(sender)
    assert sender.engine.claim_sends("email") == []
    (waiting,) = sender.waiting()
    assert waiting.due_at == sender.clock.now + timedelta(seconds=0.3)


@pytest.mark.parametrize(("ahead", "number"), [(0.2, 0), (0.3, 1), (2, 1)])
def test_who_asks_ahead_gets_a_message_before_its_slot_and_is_told_when_it_may_leave(
    sender: Sender, ahead: float, number: int
) -> None:
    come_a_second_apart(sender)
    claims = sender.engine.claim_sends("email", ahead=timedelta(seconds=ahead))
    assert [claim.leave_after for claim in claims] == [0.3] * number
    assert [claim.leave_within for claim in claims] == [2.3] * number


def test_a_slot_that_was_handed_out_ahead_counts_from_when_its_message_left(sender: Sender) -> None:
    come_a_second_apart(sender)
    sender.crowd(1, domain="example.org")
    sender.engine.tick()
    claims = sender.engine.claim_sends("email", ahead=timedelta(seconds=2))
    sender.engine.record(claims, left_after=0.4)
    sender.clock.advance(seconds=1)
    sender.engine.tick()
    sender.engine.render()
    (third,) = sender.engine.claim_sends("email", ahead=timedelta(seconds=2))
    assert third.leave_after == 0.4
