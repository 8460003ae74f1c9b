"""Who signs up in the demo, what becomes of them, and what everyone should have got in the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
"""When the first sign-up comes in: a Monday."""

BETWEEN_SIGN_UPS = timedelta(minutes=7)

PEOPLE = (
    *("Ada", "Bea", "Carlos", "Dana", "Emil", "Fatima", "Grace", "Hugo", "Ines", "Jonas"),
    *("Kofi", "Lena", "Mira", "Noor", "Omar", "Petra", "Quentin", "Rosa", "Sam", "Tara"),
    *("Uma", "Victor", "Wanda", "Yusuf", "Zoe"),
)

DECLINED = "Hugo"
"""The card is declined after the enrolment, so the sign-up is rolled back."""

BOUNCING = "Mira"
"""The mail server does not know the address."""

PAUSING = "Carlos"
PAUSED_AT = START + timedelta(days=3)
RESUMED_AT = START + timedelta(days=7)

UNSUBSCRIBING = "Rosa"
UNSUBSCRIBED_AT = START + timedelta(days=5)

EMAILS = ("welcome", "setup_reminder", "weekly_digest", "activation")
WEBHOOKS = ("welcome_notification", "onboarding_finished")

Tally = dict[str, dict[str, set[str]]]
"""Step, then `sent`, `skipped` or `failed`, then the addresses it became of."""


def address(name: str) -> str:
    """Return a person's e-mail address."""
    return f"{name.lower()}@example.com"


def plan(name: str) -> str:
    """Return what a person signs up for."""
    return "team" if len(name) > 4 else "solo"


def expected() -> Tally:
    """Return what should have become of every step.

    The bounce ends Mira's enrolment. Rosa's address gets no more mail, but her enrolment goes on.
    """
    reached = {address(name) for name in PEOPLE} - {address(DECLINED), address(BOUNCING)}
    unsubscribed = {address(UNSUBSCRIBING)}
    return {
        "welcome": {"sent": reached, "failed": {address(BOUNCING)}},
        "welcome_notification": {"sent": reached},
        "setup_reminder": {"sent": reached},
        "weekly_digest": {"sent": reached - unsubscribed, "skipped": unsubscribed},
        "activation": {"sent": reached - unsubscribed, "skipped": unsubscribed},
        "onboarding_finished": {"sent": reached},
    }
