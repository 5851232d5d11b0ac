"""Eager tasks beside asyncio's own: what runs in one must not be able to tell, but for the turns it does not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from dragoman.io.eager import EagerTask, Waiter

PATIENCE = 5.0


class Work:
    """What a task works on; writes down what it is told."""

    def __init__(self) -> None:
        self.in_step = False
        self.told: list[str] = []
        self.error: BaseException | None = None

    def step_ended(self) -> None:
        self.told.append("step")

    def task_ended(self, error: BaseException | None) -> None:
        self.told.append("end")
        self.error = error


Body = Callable[[Work], Coroutine[Any, Any, None]]


def begun(body: Body) -> tuple[EagerTask, Work]:
    """Begun as the driver does it: from a callback of the loop. Here the test's own task is left for as long."""
    work = Work()
    task = EagerTask(asyncio.get_running_loop(), body(work), work)
    asyncio.get_running_loop().call_soon(task.go_on)
    return task, work


async def over(task: EagerTask) -> None:
    async with asyncio.timeout(PATIENCE):
        await task.ended()


async def outside(do: Callable[[], object]) -> None:
    """Do it where no task is running, and return after it."""
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: done.set_result(do()))
    await done


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def test_nothing_happens_before_it_is_begun_and_then_all_up_to_the_first_wait_at_once() -> None:
    async def main() -> None:
        seen: list[str] = []

        async def body(work: Work) -> None:
            seen.append(f"in step: {work.in_step}")
            await asyncio.get_running_loop().create_future()

        work = Work()
        task = EagerTask(asyncio.get_running_loop(), body(work), work)
        assert not seen
        await outside(lambda: (task.go_on(), seen.append("returned")))
        assert seen == ["in step: True", "returned"]
        assert work.told == ["step"]
        assert not work.in_step
        task.cancel()
        await over(task)

    run(main())


def test_a_waiter_takes_it_on_before_wake_returns() -> None:
    async def main() -> None:
        waiter = Waiter(asyncio.get_running_loop())
        seen: list[bool] = []

        async def body(work: Work) -> None:
            seen.extend([await waiter.arm(), await waiter.arm()])

        task, work = begun(body)
        await outside(lambda: waiter.wake(True))
        assert not task.done()
        await outside(lambda: (waiter.wake(False), waiter.wake(True), seen.append(task.done())))
        assert seen == [True, False, True]
        assert work.told == ["step", "step", "end", "step"]

    run(main())


def test_a_waiter_wakes_an_ordinary_task_in_its_turn() -> None:
    async def main() -> None:
        waiter = Waiter(asyncio.get_running_loop())

        async def waits() -> bool:
            return await waiter.arm()

        task = asyncio.create_task(waits())
        await outside(lambda: waiter.wake(True))
        assert await task
        other = asyncio.create_task(waits())
        await asyncio.sleep(0)
        other.cancel()
        with pytest.raises(asyncio.CancelledError):
            await other

    run(main())


def test_what_is_woken_from_within_another_task_waits_for_that_one() -> None:
    async def main() -> None:
        waiter = Waiter(asyncio.get_running_loop())
        seen: list[str] = []

        async def body(work: Work) -> None:
            await waiter.arm()
            seen.append("woken")

        task, _ = begun(body)
        await asyncio.sleep(0)
        waiter.wake(True)
        seen.append("still this one")
        await over(task)
        assert seen == ["still this one", "woken"]

    run(main())


@pytest.mark.parametrize("waits", ["future", "waiter", "sleep", "nothing yet"])
def test_it_is_cancelled_wherever_it_waits(waits: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[str] = []

        async def body(work: Work) -> None:
            try:
                match waits:
                    case "future":
                        await loop.create_future()
                    case "waiter":
                        await Waiter(loop).arm()
                    case _:
                        await asyncio.sleep(PATIENCE)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        task, work = begun(body)
        if waits != "nothing yet":
            await asyncio.sleep(0)
        assert task.cancel()
        assert not seen, "not within cancel itself"
        await over(task)
        # A coroutine that was never begun has nothing to tidy up.
        assert seen == ([] if waits == "nothing yet" else ["cancelled"])
        assert work.told[-2:] == ["end", "step"]
        assert work.error is None
        assert not task.cancel()

    run(main())


def test_it_may_cancel_itself_and_refuse_to_be_cancelled() -> None:
    async def main() -> None:
        seen: list[str] = []

        async def body(work: Work) -> None:
            me = asyncio.current_task()
            assert me is not None
            me.cancel()
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                seen.append(f"cancelled {me.cancelling()}")
                me.uncancel()
            await asyncio.sleep(0)
            seen.append("went on")

        task, _ = begun(body)
        await over(task)
        assert seen == ["cancelled 1", "went on"]

    run(main())


def test_what_is_taken_back_at_once_cancels_nothing() -> None:
    async def main() -> None:
        async def body(work: Work) -> None:
            me = asyncio.current_task()
            assert me is not None
            me.cancel()
            assert me.uncancel() == 0
            await asyncio.sleep(0)
            work.told.append("went on")

        task, work = begun(body)
        await over(task)
        assert "went on" in work.told

    run(main())


def test_timeouts_groups_and_wait_for_work_in_it() -> None:
    async def main() -> None:
        seen: list[str] = []

        async def never() -> None:
            await asyncio.get_running_loop().create_future()

        async def body(work: Work) -> None:
            try:
                async with asyncio.timeout(0.01):
                    await never()
            except TimeoutError:
                seen.append("timeout")
            try:
                await asyncio.wait_for(never(), 0.01)
            except TimeoutError:
                seen.append("wait_for")
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(never())
                    raise LookupError
            except* LookupError:
                seen.append("group")
            seen.append(await asyncio.to_thread(str, "thread"))

        task, work = begun(body)
        await over(task)
        assert seen == ["timeout", "wait_for", "group", "thread"]
        assert work.error is None

    run(main())


def test_what_it_raises_is_told_and_what_a_future_raises_reaches_it() -> None:
    async def main() -> None:
        failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def body(work: Work) -> None:
            try:
                await failing
            except LookupError as error:
                raise ArithmeticError("told") from error

        task, work = begun(body)
        await asyncio.sleep(0)
        failing.set_exception(LookupError())
        await over(task)
        assert isinstance(work.error, ArithmeticError)

    run(main())


def test_each_has_a_context_of_its_own_in_all_its_steps() -> None:
    async def main() -> None:
        variable: ContextVar[str] = ContextVar("variable", default="nobody's")
        seen: list[str] = []
        waiters = [Waiter(asyncio.get_running_loop()) for _ in range(2)]

        def bodies(number: int) -> Body:
            async def body(work: Work) -> None:
                variable.set(f"of {number}")
                await waiters[number].arm()
                seen.append(variable.get())
                await asyncio.sleep(0)
                seen.append(variable.get())

            return body

        tasks = [begun(bodies(number))[0] for number in range(2)]
        await outside(lambda: None)
        await outside(lambda: [waiter.wake(True) for waiter in waiters])
        for task in tasks:
            await over(task)
        assert seen == ["of 0", "of 1", "of 0", "of 1"]
        assert variable.get() == "nobody's"

    run(main())
