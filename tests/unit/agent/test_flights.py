"""Who comes second waits for the first."""

from __future__ import annotations

import asyncio

from jup2kub.agent.flights import Flights


def test_the_first_works_and_the_others_wait_until_it_has_landed() -> None:
    async def body() -> None:
        flights = Flights()
        told: list[object] = []

        async def other() -> None:
            assert not await flights.first("key", told.append)

        assert await flights.first("key", told.append)
        assert await flights.first("another key", told.append), "other work is under way on its own"
        waiting = [asyncio.ensure_future(other()) for _ in "ab"]
        await asyncio.sleep(0)
        assert told == [True, True], "both have said that they wait"
        flights.land("key", kept=True)
        await asyncio.wait_for(asyncio.gather(*waiting), 10)
        assert told == [True, True, False, False]
        assert await flights.first("key", told.append), "after a landing anybody may be the first again"

    asyncio.run(body())


def test_nobody_waits_for_work_that_cannot_be_shared() -> None:
    async def body() -> None:
        flights = Flights()
        told: list[bool] = []
        assert await flights.first("key", told.append)
        flights.land("key", kept=False)
        flights.land("key", kept=False)
        assert not told
        assert await asyncio.wait_for(flights.first("key", told.append), 10)
        assert await asyncio.wait_for(flights.first("key", told.append), 10), "all work at the same time"
        assert not told

    asyncio.run(body())
