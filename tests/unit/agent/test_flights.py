"""Who comes second waits for the first."""

from __future__ import annotations

import asyncio

from jup2kub.agent.flights import Flights


def test_the_first_works_and_the_others_wait_until_it_has_landed() -> None:
    async def body() -> None:
        flights = Flights()
        told: list[str] = []

        async def other(name: str) -> None:
            assert not flights.take_off("key")
            await flights.wait("key")
            told.append(name)

        assert flights.take_off("key")
        assert flights.take_off("another key")
        waiting = [asyncio.ensure_future(other(n)) for n in "ab"]
        await asyncio.sleep(0)
        told.append("landed")
        flights.land("key")
        await asyncio.wait_for(asyncio.gather(*waiting), 10)
        assert told == ["landed", "a", "b"]
        assert flights.take_off("key"), "after a landing anybody may be the first again"

    asyncio.run(body())


def test_nobody_waits_for_what_is_not_under_way_and_landing_twice_is_no_matter() -> None:
    async def body() -> None:
        flights = Flights()
        await asyncio.wait_for(flights.wait("never seen"), 10)
        flights.land("never seen")
        assert flights.take_off("k")
        flights.land("k")
        flights.land("k")
        await asyncio.wait_for(flights.wait("k"), 10)

    asyncio.run(body())
