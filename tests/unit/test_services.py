"""What the tasks of touchpoints share: the budget of bytes that are fetched and not yet committed."""

from __future__ import annotations

import asyncio

from gateway.services import Budget


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_finds_no_room_waits_until_something_is_given_back() -> None:
    budget = Budget(100)
    first = await budget.take(60)
    second = asyncio.create_task(budget.take(50))
    await turns()
    assert not second.done()
    await budget.give_back(first)
    assert await second == 50


async def test_all_who_fit_go_on_at_once() -> None:
    budget = Budget(100)
    await budget.take(100)
    waiting = [asyncio.create_task(budget.take(30)) for _ in range(4)]
    await turns()
    assert not any(task.done() for task in waiting)
    await budget.give_back(100)
    await turns()
    assert [task.done() for task in waiting] == [True, True, True, False]
    await budget.give_back(30)
    await waiting[3]


async def test_a_page_that_is_larger_than_all_memory_gets_all_of_it() -> None:
    budget = Budget(100)
    taken = await budget.take(10_000)
    assert taken == 100
    other = asyncio.create_task(budget.take(1))
    await turns()
    assert not other.done()
    await budget.give_back(taken)
    assert await other == 1


async def test_who_gives_up_waiting_has_taken_nothing() -> None:
    budget = Budget(100)
    await budget.take(100)
    waiting = asyncio.create_task(budget.take(80))
    await turns()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    await budget.give_back(100)
    assert await budget.take(100) == 100


async def test_nothing_costs_nothing() -> None:
    budget = Budget(100)
    await budget.take(100)
    assert await budget.take(0) == 0
