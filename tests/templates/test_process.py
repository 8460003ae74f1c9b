"""Templates render in a process that is limited, and whose end is nobody else's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from dripdrop.templates import RenderError, process
from dripdrop.templates.process import Answer, Later, RenderProcess, Work

pytestmark = pytest.mark.anyio

HELLO = {"text": "Hello {{ name }}"}


@pytest.fixture
async def rendering() -> AsyncIterator[RenderProcess]:
    """A render process."""
    rendering = RenderProcess()
    yield rendering
    await rendering.aclose()


def work(template: Any, name: str = "Sam", **variables: Any) -> Work:
    """Return a message to render; it is known by its variable name."""
    template_hash = orjson.dumps(template).decode()
    return Work(template_hash, template, {"name": name} | variables)


async def answers(rendering: RenderProcess, *works: Work) -> dict[str, Any]:
    """Return what becomes of works, by name: a payload, a code, or None for later."""
    result = {}
    async for each, answer in rendering.render(works):
        result[each.variables["name"]] = told(answer)
    return result


def told(answer: Answer) -> Any:
    """Return an answer in short."""
    if isinstance(answer, RenderError):
        return answer.code
    return None if isinstance(answer, Later) else orjson.loads(answer)


def hello(*names: str) -> dict[str, Any]:
    """Return what rendering HELLO for people gives."""
    return {name: {"text": f"Hello {name}"} for name in names}


GREEDY = {
    "replace": "{% assign s = 'aaaaaaaaaa' %}{% for i in (1..12) %}"
    "{% assign s = s | append: s %}{% endfor %}{{ s | replace: 'a', s | size }}",
    "a range that is sorted": "{{ (1..60000000) | sort | size }}",
    "a range that is joined": "{{ (1..60000000) | join: ',' | size }}",
    "a range that is reversed": "{{ (1..99999999) | reverse | first }}",
    "concat": "{% assign a = (1..9999) | sort %}{% for i in (1..20) %}"
    "{% assign a = a | concat: a %}{% endfor %}{{ a | size }}",
    "captures in captures": "{% capture s %}{% for i in (1..9999) %}xxxxxxxxxx{% endfor %}"
    "{% endcapture %}{% for i in (1..20) %}{% assign s = s | append: s %}{% endfor %}"
    "{{ s | size }}",
    "split": "{% assign s = 'a,a,a,a,' %}{% for i in (1..22) %}"
    "{% assign s = s | append: s %}{% endfor %}{{ s | split: ',' | size }}",
    "giant integers": "{% assign x = 9 %}{% for i in (1..60) %}{% assign x = x | times: x %}"
    "{% endfor %}{{ x | modulo: 7 }}",
    "nested loops over filters": "{% for i in (1..99) %}{% for j in (1..99) %}"
    "{% assign a = (1..9999) | sort %}{{ a | size }}{% endfor %}{% endfor %}",
}


@pytest.mark.slow
@pytest.mark.parametrize("source", GREEDY.values(), ids=GREEDY)
async def test_what_takes_too_much_fails_and_the_others_of_its_batch_are_rendered(
    rendering: RenderProcess, source: str
) -> None:
    result = await answers(
        rendering, work(HELLO, "ann"), work({"text": source}, "eve"), work(HELLO, "bob")
    )
    assert result.pop("eve") in {
        *("render_timeout", "render_memory", "liquid_error", "message_too_large")
    }
    assert result == hello("ann", "bob")


ODD = [
    "{{ (1..9999999999999999999999) | size }}",
    "{% for i in (1..9999999999) %}{% for j in (1..9999999999) %}x{% endfor %}{% endfor %}",
    "{{ digits | plus: 1 }}",
    "{{ 5 | modulo: 0 }}",
    "{{ '1e400' | ceil }}",
    "{{ digits | date: '%Y' }}",
    "{{ 'now' | date: '%999999999d' }}",
    "{{ mixed | sort }}",
    "{{ mixed | sum }}",
    "{{ deep }}{{ deep | join: deep }}{{ deep | map: 'a' }}",
    "{{ deep" + "[0]" * 500 + " }}",
    "{% if " + " and ".join(["a"] * 20_000) + " %}{% endif %}",
    "{{ a " + "| append: 'x' " * 5_000 + "}}",
    "{% for i in mixed %}" * 200 + "{% endfor %}" * 200,
    "{% capture a %}x{% endcapture %}{% for i in (1..40) %}"
    "{% capture a %}{{ a }}{{ a }}{% endcapture %}{% endfor %}",
    "{% for i in (1..9999) %}{% cycle long, long %}{% endfor %}",
    "{% for i in mixed limit: -1 %}x{% endfor %}",
    "{% break %}",
    "{{ '%00' | url_decode }}",
    "{{ '%ED%A0%80' | url_decode }}{{ '&#xD800;' | escape_once }}",
    "{{ long | truncate: 5, long }}{{ long | slice: -99999999999999999999 }}",
    "{{ long.__class__ }}{{ long.format }}{{ mixed.append }}",
    "{% render 'x' %}",
]


@pytest.mark.slow
async def test_what_is_odd_costs_the_others_nothing(rendering: RenderProcess) -> None:
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    variables = {"digits": "9" * 60_000, "long": "x" * 60_000, "deep": deep}
    variables["mixed"] = [3, "a", None, 1.5, {"a": 1}, [1]]
    works = [work({"text": source}, f"odd{n}", **variables) for n, source in enumerate(ODD)]
    others = [work(HELLO, str(n)) for n in range(len(ODD))]
    mixed = [each for pair in zip(works, others, strict=True) for each in pair]
    result = await answers(rendering, *mixed)
    odd = [result.pop(f"odd{n}") for n in range(len(ODD))]
    assert result == hello(*map(str, range(len(ODD))))
    assert {each for each in odd if isinstance(each, str)} == {
        *("liquid_error", "liquid_parse", "message_too_large", "nul_character")
    }


@pytest.mark.slow
async def test_memory_is_limited(rendering: RenderProcess) -> None:
    with pytest.raises(RenderError) as refusal:
        await rendering.render_one(work({"text": GREEDY["replace"]}))
    assert (refusal.value.code, refusal.value.detail) == ("render_memory", "took more than 256 MB")


LOOP = (
    "{% for i in (1..99) %}{% for j in (1..99) %}"
    + "{% assign k = i | times: j %}" * 9
    + "{% endfor %}{% endfor %}"
)
LONG = LOOP * 99


@pytest.mark.slow
async def test_processor_time_is_limited(rendering: RenderProcess) -> None:
    with pytest.raises(RenderError) as refusal:
        await rendering.render_one(work({"text": LONG}))
    assert refusal.value.code == "render_timeout"
    assert refusal.value.detail == "took more than 1 s of processor time"


@pytest.mark.slow
async def test_nobody_pays_for_what_went_before(rendering: RenderProcess) -> None:
    loop = "{% for i in (1..99) %}{% for j in (1..20) %}{{ i | times: j }}{% endfor %}{% endfor %}"
    for _ in range(120):  # each is over before the first look at the time
        await rendering.render_one(work({"text": loop}))
    assert isinstance(await rendering.render_one(work({"text": loop * 9})), dict)


@pytest.mark.slow
async def test_what_python_cannot_interrupt_is_ended(rendering: RenderProcess) -> None:
    # One call into C that takes minutes: the square of a number of some millions of digits.
    power = "{% assign x = 9 %}{% for i in (1..26) %}{% assign x = x | times: x %}{% endfor %}"
    result = await answers(rendering, work({"text": power}, "eve"), work(HELLO, "sam"))
    assert result == {"eve": "render_timeout"} | hello("sam")


def processes() -> list[psutil.Process]:
    """Return the processes that render."""
    return [
        each for each in psutil.Process().children() if "dripdrop.templates.child" in each.cmdline()
    ]


def started() -> psutil.Process:
    """Return the process that renders."""
    (found,) = processes()
    return found


@pytest.mark.slow
async def test_a_process_that_stands_still_fails_nobody(rendering: RenderProcess) -> None:
    await rendering.render_one(work(HELLO))
    rendering_process = started()
    rendering_process.suspend()
    task = asyncio.create_task(answers(rendering, *(work(HELLO, str(n)) for n in range(9))))
    await asyncio.sleep(1.3)
    rendering_process.resume()
    assert await task == hello(*map(str, range(9)))


@pytest.mark.slow
async def test_a_process_that_stands_still_for_good_is_replaced_and_fails_nobody(
    rendering: RenderProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rendering.render_one(work(HELLO))
    monkeypatch.setattr(process, "_PATIENCE", 3.0)
    started().suspend()
    assert (await answers(rendering, work(HELLO, "ann"))) == hello("ann")


@pytest.mark.slow
async def test_a_process_that_is_killed_fails_nobody(rendering: RenderProcess) -> None:
    slow = "{% for i in (1..99) %}{% for j in (1..20) %}{{ i | times: j }}{% endfor %}{% endfor %}"
    works = {str(n): work({"text": slow + "{{ name }}"}, str(n)) for n in range(200)}
    task = asyncio.create_task(answers(rendering, *works.values()))
    while not processes():
        await asyncio.sleep(0)
    started().kill()
    result = await task
    while later := [name for name in works if result[name] is None]:
        result |= await answers(rendering, *(works[name] for name in later))
    assert {name: each["text"][-len(name) :] for name, each in result.items()} == {
        name: name for name in works
    }


@pytest.mark.slow
async def test_many_that_take_too_much_keep_the_others_no_more_than_seconds(
    rendering: RenderProcess,
) -> None:
    greedy = [work({"text": GREEDY["replace"]}, f"eve{n}") for n in range(50)]
    slow = [work({"text": LONG}, f"mallory{n}") for n in range(50)]
    order = []
    async for each, answer in rendering.render([*greedy, *slow, work(HELLO, "sam")]):
        order.append((each.variables["name"], told(answer)))
    assert len(order) == 101
    assert ("sam", {"text": "Hello sam"}) in order
    codes = [code for name, code in order if name != "sam"]
    assert set(codes) == {"render_memory", "render_timeout", None}
    assert codes.count("render_timeout") < 10, "the rest waits for its turn"


@pytest.mark.slow
async def test_many_templates_that_take_long_keep_the_others_no_more_than_seconds(
    rendering: RenderProcess,
) -> None:
    await answers(rendering, work(HELLO, "ann"))
    slow = [work({"text": f"{n}" + LOOP * 2}, f"eve{n}") for n in range(40)]
    order = []
    async for each, answer in rendering.render([*slow, work(HELLO, "sam")]):
        order.append((each.variables["name"], told(answer)))
    assert order[0] == ("sam", {"text": "Hello sam"})
    assert len(order) == 41
    later = [name for name, answer in order if answer is None]
    assert len(later) > 20, "the rest waits for its turn"


@pytest.mark.slow
async def test_those_who_share_a_template_with_many_that_take_too_much_are_rendered(
    rendering: RenderProcess,
) -> None:
    template = {"text": "{% if name contains 'eve' %}" + LONG + "{% endif %}Hello {{ name }}"}
    names = [f"eve{n}" if n % 20 == 0 else f"user{n}" for n in range(200)]
    result = await answers(rendering, *(work(template, name) for name in names))
    others = [name for name in names if "eve" not in name]
    assert {name: result[name] for name in others} == hello(*others)
    assert {result[name] for name in names if "eve" in name} <= {"render_timeout", None}


@pytest.mark.slow
async def test_what_one_leaves_behind_is_not_taken_for_the_nexts(rendering: RenderProcess) -> None:
    greedy = work({"text": GREEDY["a range that is sorted"]}, "eve")
    half = "{{ (1..999999) | sort | size }} {{ name }}"
    others = [work({"text": half}, str(n)) for n in range(5)]
    result = await answers(rendering, greedy, *others)
    assert result.pop("eve") == "render_memory"
    assert result == {str(n): {"text": f"999999 {n}"} for n in range(5)}


@pytest.mark.slow
async def test_templates_that_take_long_come_last_from_then_on(rendering: RenderProcess) -> None:
    await answers(rendering, work({"text": LONG}, "eve"))
    order = [
        each.variables["name"]
        async for each, _ in rendering.render([work({"text": LONG}, "eve"), work(HELLO, "sam")])
    ]
    assert order == ["sam", "eve"]


async def test_a_message_larger_than_any_provider_takes_fails_with_its_size(
    rendering: RenderProcess,
) -> None:
    with pytest.raises(RenderError) as refusal:
        await rendering.render_one(
            work({"text": "{{ name }}", "html": "{{ name }}"}, "x" * 600_000)
        )
    assert refusal.value.code == "message_too_large"
    assert refusal.value.detail == "1200021 bytes, more than 1000000"


@pytest.mark.slow
async def test_messages_that_are_large_together_come_in_parts(rendering: RenderProcess) -> None:
    works = [work({"text": "{{ name }}" + "x" * 600_000}, str(number)) for number in range(60)]
    result = await answers(rendering, *works)
    assert {name: len(each["text"]) for name, each in result.items()} == {
        str(number): 600_000 + len(str(number)) for number in range(60)
    }


@pytest.mark.slow
async def test_two_calls_at_a_time_get_their_own_answers(rendering: RenderProcess) -> None:
    results = await asyncio.gather(
        *(answers(rendering, *(work(HELLO, f"{n}-{m}") for m in range(9))) for n in range(9))
    )
    assert results == [hello(*(f"{n}-{m}" for m in range(9))) for n in range(9)]


@pytest.mark.slow
async def test_a_call_that_is_given_up_spoils_no_other(rendering: RenderProcess) -> None:
    task = asyncio.create_task(answers(rendering, work({"text": LONG}, "eve")))
    while not processes():
        await asyncio.sleep(0)
    task.cancel()
    assert await answers(rendering, work(HELLO, "sam")) == hello("sam")


@pytest.mark.parametrize("turns", range(8))
async def test_a_call_that_is_given_up_while_the_process_starts_leaves_none(
    rendering: RenderProcess, turns: int
) -> None:
    task = asyncio.create_task(answers(rendering, work(HELLO)))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=60)
    assert done and task.cancelled()
    assert not processes()


@pytest.mark.slow
async def test_the_process_has_no_environment_to_give_away(
    rendering: RenderProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIPDROP_DSN", "postgresql://user:sesame-7316@host/db")
    monkeypatch.setenv("PGPASSWORD", "sesame-7316")
    await rendering.render_one(work(HELLO))
    environment = started().environ()
    assert not [name for name in environment if name.startswith(("DRIPDROP", "PG"))]
    assert "sesame-7316" not in str(environment)


async def test_the_process_has_no_file_of_ours_open(
    rendering: RenderProcess, tmp_path: Path
) -> None:
    with open(tmp_path / "ours", "w") as ours:
        os.set_inheritable(ours.fileno(), True)
        await rendering.render_one(work(HELLO))
        assert str(tmp_path / "ours") not in [f.path for f in started().open_files()]


@pytest.mark.slow
async def test_the_process_ends_with_its_parent(rendering: RenderProcess) -> None:
    await rendering.render_one(work(HELLO))
    running = started()
    assert rendering._running is not None
    rendering._running._requests.close()
    assert await asyncio.to_thread(running.wait, 10) in {0, None}


@pytest.mark.slow
async def test_headers_are_added_and_replace_the_templates_own(rendering: RenderProcess) -> None:
    template = {"text": "Hi", "headers": {"X-Tag": "a", "LIST-UNSUBSCRIBE": "<https://evil>"}}
    message = Work("hash", template, {}, {"List-Unsubscribe": "<https://ours>"})
    assert (await rendering.render_one(message))["headers"] == {
        "X-Tag": "a",
        "List-Unsubscribe": "<https://ours>",
    }


@pytest.mark.slow
async def test_headers_that_are_no_object_fail_their_message(rendering: RenderProcess) -> None:
    message = Work("hash", {"text": "Hi", "headers": "none"}, {}, {"A": "b"})
    with pytest.raises(RenderError) as refusal:
        await rendering.render_one(message)
    assert refusal.value.code == "invalid_header"
