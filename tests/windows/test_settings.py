"""Whose word counts about a send window, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from dripdrop.errors import InvalidArgument, UnknownProvider
from tests.conftest import Clock
from tests.engine import TENANT, Engine, email

# It is 09:00 UTC.
SHUT = {"start": "10:00", "end": "12:00"}
OPEN = {"start": "08:00", "end": "12:00"}

FAULTS: list[tuple[Any, str]] = [
    (True, ""),
    ([], ""),
    ({}, ".start"),
    ({"jitter": "1 hour"}, ".start"),
    ({"start": None}, ".start"),
    ({"start": "8"}, ".start"),
    ({"start": 8}, ".start"),
    ({"start": "24:00"}, ".start"),
    ({"start": "08:60"}, ".start"),
    ({"end": "25:00"}, ".end"),
    ({"end": "x"}, ".end"),
    ({"start": "08:00", "end": "08:00"}, ".end"),
    ({"start": "8:00", "end": "08:00"}, ".end"),
    ({"days": []}, ".days"),
    ({"days": "mon"}, ".days"),
    ({"days": ["monday"]}, ".days"),
    (OPEN | {"calendar": "The Calendar"}, ".calendar"),
    (OPEN | {"calendar": None}, ".calendar"),
    (OPEN | {"jitter": 30}, ".jitter"),
    (OPEN | {"jitter": "30"}, ".jitter"),
    (OPEN | {"jitter": "soon"}, ".jitter"),
    (OPEN | {"jitter": "-1 hour"}, ".jitter"),
    (OPEN | {"time_zone": "UTC"}, ".time_zone"),
    (OPEN | {"hours": 3}, ".hours"),
]


@pytest.mark.parametrize(("window", "field"), FAULTS, ids=[repr(fault[0]) for fault in FAULTS])
def test_what_is_no_window_is_refused_where_it_is_written(
    engine: Engine, window: Any, field: str
) -> None:
    engine.author()
    with engine.refused(InvalidArgument) as refusal:
        engine.author(email("welcome", config={"send_window": window}))
    assert refusal.value.diag.column_name == f"steps[0].config.send_window{field}"
    with engine.refused(InvalidArgument) as refusal:
        engine.update_tenant_settings(TENANT, send_window=window)
    assert refusal.value.diag.column_name == f"send_window{field}"
    with engine.refused(InvalidArgument) as refusal:
        engine.update_tenant_settings(TENANT, channel_send_windows={"email": window})
    assert refusal.value.diag.column_name == f"channel_send_windows.email{field}"


def test_channels_have_windows_and_nothing_else_has(engine: Engine) -> None:
    with engine.refused(UnknownProvider):
        engine.update_tenant_settings(TENANT, channel_send_windows={"pigeon": OPEN})
    with engine.refused(InvalidArgument):
        engine.update_tenant_settings(TENANT, channel_send_windows=[OPEN])


def test_a_step_may_say_null_of_nothing(engine: Engine) -> None:
    engine.author()
    with engine.refused(InvalidArgument):
        engine.author(email("welcome", config={"send_window": None}))


# What the step, the tenant's channel, the tenant, the global channel and the global scope say.
@pytest.mark.parametrize(
    ("said", "is_open"),
    [
        ((None, None, None, None, None), True),
        ((None, None, None, None, SHUT), False),
        ((None, None, None, OPEN, SHUT), True),
        ((None, None, SHUT, OPEN, OPEN), False),
        ((None, OPEN, SHUT, SHUT, SHUT), True),
        ((SHUT, OPEN, OPEN, OPEN, OPEN), False),
        ((False, SHUT, SHUT, SHUT, SHUT), True),
        ((None, False, SHUT, SHUT, SHUT), True),
        ((None, None, False, SHUT, SHUT), True),
        ((None, None, None, False, SHUT), True),
        ((None, None, None, None, False), True),
    ],
)
def test_the_first_who_says_something_has_the_word(
    engine: Engine, said: tuple[Any, ...], is_open: bool
) -> None:
    step, channel, tenant, global_channel, everyone = said
    engine.author(email("welcome", config={} if step is None else {"send_window": step}))
    for key, window, of_channel in [
        (TENANT, tenant, channel),
        (None, everyone, global_channel),
    ]:
        others = {"webhook": SHUT if is_open else OPEN}
        engine.update_tenant_settings(
            key,
            send_window=window,
            channel_send_windows=others | ({} if of_channel is None else {"email": of_channel}),
        )
    (gate,) = (g for g in engine.explain(TENANT, engine.join().id) if g.gate == "window")
    assert gate.open is is_open


def test_what_is_left_out_stays_and_null_says_nothing_again(engine: Engine) -> None:
    engine.update_tenant_settings(
        TENANT, "Europe/Berlin", send_window=OPEN, channel_send_windows={"email": False}
    )
    settings = engine.update_tenant_settings(TENANT)
    assert (settings.send_window, settings.channel_send_windows) == (OPEN, {"email": False})
    engine.rows("select 1 from dripdrop.update_tenant_settings(%s, send_window => 'null')", TENANT)
    settings = engine.update_tenant_settings(TENANT, channel_send_windows={})
    assert (settings.send_window, settings.channel_send_windows) == (None, {})
    assert settings.time_zone == "Europe/Berlin"


def test_a_time_window_of_a_condition_is_the_same_kind_of_window(
    engine: Engine, clock: Clock
) -> None:
    """Set back, the clock shows 02:10 once more after it has shown 02:30: the window stays open."""
    window = {"start": "02:30", "end": "05:00", "time_zone": "Europe/Berlin"}
    engine.author(email("night", conditions=[window]))
    clock.set(datetime(2026, 10, 25, 1, 10, tzinfo=UTC))
    sam = engine.join()
    engine.tick()
    assert engine.executions(sam.id)[0].state == "queued"
