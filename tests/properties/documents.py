"""Sequences, people and events as they come: what hypothesis draws for the properties."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from tests.conftest import START
from tests.engine import email, onboarding

KEYS = ["one", "two", "three", "four", "five"]
EVENTS = ["bought", "clicked"]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]
PLAIN = {"subject": "Hello", "text": "Hello"}
RATED = {"subject": "Hello", "text": "You are {{ rating }}"}

starts = st.sampled_from(
    [START, START + timedelta(days=4, hours=13), START + timedelta(days=26, hours=3)]
)
"""A Monday, the eve of summer time in America, and that in Europe."""

matches = st.sampled_from([{}, {}, {"match": {"plan": "pro"}}, {"match": {"plan": "$.data.plan"}}])

delays = st.one_of(
    st.builds(
        lambda amount, unit: {"delay_amount": amount, "delay_unit": unit},
        st.integers(1, 72),
        st.just("hours"),
    ),
    st.builds(
        lambda amount, unit: {"delay_amount": amount, "delay_unit": unit},
        st.integers(1, 4),
        st.sampled_from(["days", "weeks", "months"]),
    ),
    st.builds(
        lambda amount, unit, at: {"delay_amount": amount, "delay_unit": unit, "at": at},
        st.integers(1, 4),
        st.sampled_from(["days", "weeks", "business_days"]),
        st.sampled_from(["02:00", "09:00"]),
    ),
    st.builds(
        lambda amount, calendar: {"delay_amount": amount, "delay_unit": "business_days"} | calendar,
        st.integers(1, 5),
        st.sampled_from([{}, {"calendar": "de"}]),
    ),
)

schedules = st.builds(
    lambda expression, zone: {"type": "cron", "cron_expression": expression} | zone,
    st.sampled_from(["0 9 * * MON-FRI", "0 2 * * *", "0 18 * * FRI#1", "0 0 L * *"]),
    st.sampled_from([{}, {}, {"timezone": "Europe/Berlin"}]),
)

intervals = st.builds(
    lambda amount, unit, at: (
        {"type": "interval", "interval_amount": amount, "interval_unit": unit}
        | (at if unit in ("days", "weeks") else {})
    ),
    st.integers(2, 5),
    st.sampled_from(["hours", "days", "weeks", "months"]),
    st.sampled_from([{}, {"at": "09:00"}]),
) | st.builds(
    lambda amount, days: {
        "type": "interval",
        "interval_amount": amount,
        "interval_unit": "weeks",
        "days": days,
    },
    st.integers(1, 2),
    st.sampled_from([["mon"], ["tue", "sat"]]),
)

relatives = st.builds(
    lambda offset: {"type": "relative", "relative_to": "data.ends_at"} | offset,
    st.sampled_from(
        [
            {},
            {"delay_amount": -3, "delay_unit": "days", "at": "09:00"},
            {"delay_amount": 2, "delay_unit": "hours"},
            {"delay_amount": 1, "delay_unit": "business_days"},
        ]
    ),
)

waits = st.builds(
    lambda event, match, delay, since, timeout: (
        {"type": "event", "trigger_event": event} | match | delay | since | timeout
    ),
    st.sampled_from(EVENTS),
    matches,
    st.one_of(st.just({}), delays),
    st.sampled_from([{}, {"since": "enrollment"}]),
    st.sampled_from(
        [
            {},
            {"timeout": "3 days"},
            {"timeout": "36 hours", "on_timeout": "exit"},
            {"timeout": "2 days", "on_timeout": "one"},
        ]
    ),
)

timings = st.one_of(
    st.just({"type": "immediate"}),
    st.builds(lambda delay: {"type": "delay"} | delay, delays),
    schedules,
    intervals,
    relatives,
    waits,
)

side_timings = st.one_of(
    st.one_of(schedules, intervals).map(lambda timing: timing | {"recurring": True}),
    st.builds(
        lambda event, match, delay: (
            {"type": "event", "trigger_event": event, "recurring": True} | match | delay
        ),
        st.sampled_from(EVENTS),
        matches,
        st.one_of(st.just({}), delays),
    ),
)

plain_conditions = st.one_of(
    st.sampled_from(
        [
            {"field_path": "plan", "expected_value": "pro"},
            {"field_path": "score", "operator": ">", "expected_value": 50},
            {"field_path": "plan", "operator": "in", "expected_value": ["free", None]},
            {"field_path": "missing", "operator": "!=", "expected_value": 1},
            {"start": "09:00", "end": "17:00", "days": ["mon", "tue", "wed", "thu", "fri"]},
            {"start": "22:00", "end": "06:00"},
            {"predicate": '$.enrollment.score > 50 || $.step.key == "two"'},
            {"predicate": '$.steps.one.state == "sent"'},
            {"predicate": '$.steps.two.reason == "event_timeout"'},
            {"predicate": "$.steps.two.occurrence < 1"},
            {"predicate": "!exists($.steps.three)"},
        ]
    ),
    st.builds(
        lambda event, rest: {"event": event} | rest,
        st.sampled_from(EVENTS),
        st.sampled_from(
            [
                {"happened": True},
                {"happened": False, "within": "3 days"},
                {"operator": ">=", "expected_value": 2, "since": "enrollment"},
                {"match": {"plan": "pro"}},
                {"match": {"plan": "$.data.plan"}},
            ]
        ),
    ),
)

hook_conditions = st.sampled_from(
    [
        {"hook": "rating", "operator": ">", "expected_value": 3},
        {"hook": "day", "operator": "<", "expected_value": 20},
        {"predicate": "$.hooks.rating > 3"},
    ]
)

rules = st.one_of(
    st.builds(
        lambda event, rest: {"event": event} | rest,
        st.sampled_from(EVENTS),
        st.sampled_from([{}, {"operator": ">=", "expected_value": 2}, {"match": {"plan": "pro"}}]),
    ),
    st.sampled_from(
        [
            {"predicate": '$.steps.three.state == "sent"', "name": "done"},
            {"predicate": '$.enrollment.plan == "trial" && exists($.steps.two)'},
        ]
    ),
)

people = st.builds(
    lambda rest, phone, zone: rest | phone | zone,
    st.fixed_dictionaries(
        {"email": st.just("sam@example.com")},
        optional={
            "plan": st.sampled_from(["pro", "free", "trial", None]),
            "score": st.sampled_from([10, 70, "70", "many"]),
            "ends_at": st.sampled_from(
                ["2026-03-14", "2026-03-29T10:00", "2026-04-02T10:00:00Z", "soon"]
            ),
        },
    ),
    st.sampled_from([{}, {"work_email": "sam@work.example"}]),
    st.one_of(st.just({}), st.sampled_from(ZONES).map(lambda zone: {"time_zone": zone})),
)
"""What is known of a subscriber."""


@st.composite
def documents(draw: st.DrawFn, hooks: bool = True) -> dict[str, Any]:
    """Return a sequence, often a sound one: two to five steps, some on the path, some beside it."""
    conditions = st.one_of(plain_conditions, hook_conditions) if hooks else plain_conditions
    keys = KEYS[: draw(st.integers(2, 5))]
    beside = draw(st.sets(st.sampled_from(keys[1:]), max_size=2))
    path = [key for key in keys if key not in beside]

    def transitions(target: list[str]) -> Any:
        ways = st.one_of(
            st.fixed_dictionaries(
                {
                    "to": st.sampled_from([*target, None]),
                    "when": st.sampled_from(["all", "any"]),
                    "conditions": st.lists(conditions, min_size=1, max_size=2),
                }
            ),
            st.sampled_from([*target, None]).map(lambda key: {"to": key}),
        )
        return st.one_of(st.just([]), st.lists(ways, min_size=1, max_size=3))

    steps = []
    for key in keys:
        step = email(key, template=draw(st.sampled_from([PLAIN, RATED] if hooks else [PLAIN])))
        step["timing"] = draw(side_timings if key in beside else timings)
        step["conditions"] = draw(st.one_of(st.just([]), st.lists(conditions, max_size=2)))
        if key in path:
            step["transitions"] = draw(transitions(path))
        step["config"] = draw(
            st.sampled_from(
                [
                    {},
                    {},
                    {"recipient_key": "work_email"},
                    {"time_zone": "America/New_York"},
                    {"stale_after": "2 hours", "on_stale": "skip"},
                    {"stale_after": "2 hours", "on_stale": "hold"},
                    {"on_max_retry": "continue"},
                    {"kind": "transactional"},
                    {"on_stale": "skip"},
                ]
            )
        )
        step["active"] = draw(st.sampled_from([True, True, True, True, False]))
        steps.append(step)
    return onboarding(
        *steps,
        time_zone=draw(st.sampled_from([None, *ZONES])),
        config={"hop_limit": 3},
        hooks=[{"key": "rating", "url": "https://example.com/rating"}] if hooks else [],
        entry=draw(transitions(path)),
        goals=draw(st.lists(rules, max_size=1)),
        exit_when=draw(st.lists(rules, max_size=1)),
    )


def events(start: datetime, until: datetime) -> Any:
    """Return what happens between two times, in order."""
    hours = int((until - start) / timedelta(hours=1))
    return st.lists(
        st.fixed_dictionaries(
            {
                "at": st.integers(0, hours).map(lambda n: (start + timedelta(hours=n)).isoformat()),
                "event_key": st.sampled_from(EVENTS),
                "event_data": st.sampled_from([{}, {"plan": "pro"}]),
            }
        ),
        max_size=4,
    ).map(lambda happening: sorted(happening, key=lambda event: str(event["at"])))
