"""Tasks that do not wait for their turn: what an event costs is the turns of the loop between its parts.

An ordinary task takes its first step in the next turn of the loop, and each further one in the turn after that in which what
it waits for has come. Here a request's task takes its steps at once: the first as soon as the request is whole, the next as
soon as its upstream connection has something for it (`Waiter`). So an event that comes from a provider has left for the
client when the callback that read it returns, with no turn, no handle and no future in between.

    EagerTask   runs a coroutine; all that asyncio asks of a task (https://docs.python.org/3/library/asyncio-extending.html)
    Waiter      what a coroutine waits for at a protocol of ours: usable in an ordinary task too, which then waits its turn

A step is taken only where no other task is running; from inside one, it is left to the next turn.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from asyncio.tasks import _enter_task, _leave_task  # pyright: ignore[reportPrivateUsage, reportUnknownVariableType]
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from typing import Any, Protocol, cast

log = logging.getLogger("dragoman.server")


class Stepped(Protocol):
    """What a task works on, which is told of its steps: what is written in one step is to leave as one."""

    in_step: bool
    """Set and reset by the task."""

    def step_ended(self) -> None: ...

    def task_ended(self, error: BaseException | None) -> None:
        """Before the end of the last step. `error`: what the coroutine raised, other than its cancellation."""
        ...


class _Done:
    """To be awaited where there is nothing to wait for."""

    __slots__ = ()

    def __await__(self) -> Iterator[Any]:
        return _NOTHING


_NOTHING: Iterator[Any] = iter(())
"""Is over, and stays so."""
DONE = cast("Awaitable[None]", _Done())


class Waiter:
    """Wakes one task, with True or False. Of the use that `arm` begins; a connection has one for all its waits.

    asyncio takes it for a future by `_asyncio_future_blocking`."""

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_loop", "_task", "armed", "value")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._task: EagerTask | None = None
        self._callback: Callable[[Any], object] | None = None
        self._context: contextvars.Context | None = None
        self._cancelled = False
        self.armed = False
        """Somebody waits, and has not been woken."""
        self.value = False

    def arm(self) -> Waiter:
        """To be awaited at once."""
        self.armed = True
        self._cancelled = False
        return self

    def wake(self, value: bool) -> None:
        """Once for each wait: what comes after it is ignored. An eager task goes on here and now, so this is the last thing
        that a callback does."""
        if not self.armed:
            return
        self.armed = False
        self.value = value
        task, self._task = self._task, None
        if task is not None:
            task.go_on()
        elif (callback := self._callback) is not None:
            self._callback = None
            self._loop.call_soon(callback, self, context=self._context)

    def __await__(self) -> Generator[Any, None, bool]:
        if self.armed:
            self._asyncio_future_blocking = True
            try:
                yield self
            finally:
                self.armed = False
                self._task = self._callback = None
        if self._cancelled:
            raise asyncio.CancelledError
        return self.value

    # What a task asks of a future

    def add_done_callback(self, callback: Callable[[Any], object], *, context: contextvars.Context | None = None) -> None:
        self._callback, self._context = callback, context
        if not self.armed:
            self._callback = None
            self._loop.call_soon(callback, self, context=context)

    def cancel(self, msg: Any = None) -> bool:  # noqa: ARG002  a future's signature
        if not self.armed:
            return False
        self._cancelled = True
        self.armed = False
        task, self._task = self._task, None
        if task is not None:
            self._loop.call_soon(task.go_on)
        elif (callback := self._callback) is not None:
            self._loop.call_soon(callback, self, context=self._context)
        return True

    def result(self) -> bool:
        if self._cancelled:
            raise asyncio.CancelledError
        return self.value

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop


class EagerTask:
    """One coroutine. `go_on` begins it; nothing happens before that.

    It is in none of asyncio's lists of tasks: whoever makes it keeps it, and sees to its end."""

    __slots__ = (
        "__weakref__", "_cancels", "_context", "_coroutine", "_ended", "_loop", "_must_cancel", "_over", "_waits_for", "_work",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None], work: Stepped) -> None:
        self._loop = loop
        self._coroutine = coroutine
        self._work = work
        self._context = contextvars.copy_context()
        self._waits_for: Waiter | asyncio.Future[Any] | None = None
        self._must_cancel = False
        self._cancels = 0
        self._over = False
        self._ended: asyncio.Future[None] | None = None

    def go_on(self) -> None:
        """Take a step: now, or in the loop's next turn if another task is in the middle of one."""
        if self._over:
            return
        loop, coroutine, work = self._loop, self._coroutine, self._work
        try:
            _enter_task(loop, self)  # pyright: ignore[reportArgumentType]  any task, says its documentation
        except RuntimeError:
            loop.call_soon(self.go_on)
            return
        self._waits_for = None
        work.in_step = True
        error: BaseException | None = None
        try:
            if self._must_cancel:
                self._must_cancel = False
                waited = self._context.run(coroutine.throw, asyncio.CancelledError())
            else:
                waited = self._context.run(coroutine.send, None)
        except (StopIteration, asyncio.CancelledError):
            self._over = True
        except (KeyboardInterrupt, SystemExit):
            self._over = True
            raise
        except BaseException as raised:  # noqa: BLE001  it goes to whoever made the task
            self._over = True
            error = raised
        else:
            if type(waited) is Waiter and not self._must_cancel:
                # The usual case, without a call.
                waited._asyncio_future_blocking = False
                waited._task = self  # pyright: ignore[reportPrivateUsage]
                self._waits_for = waited
            else:
                self._wait_for(waited)
        finally:
            _leave_task(loop, self)  # pyright: ignore[reportArgumentType]
            if self._over:
                work.task_ended(error)
                if self._ended is not None and not self._ended.done():
                    self._ended.set_result(None)
            work.in_step = False
            work.step_ended()

    def _wait_for(self, waited: Any) -> None:
        if type(waited) is Waiter:
            waited._asyncio_future_blocking = False
            waited._task = self  # pyright: ignore[reportPrivateUsage]
        elif waited is None:
            self._loop.call_soon(self.go_on)  # `asyncio.sleep(0)`
            return
        elif getattr(waited, "_asyncio_future_blocking", None):
            waited._asyncio_future_blocking = False
            waited.add_done_callback(self._future_done)  # not in our context, which `go_on` enters
        else:
            log.error("a task cannot wait for %r", waited)
            self._must_cancel = True
            self._loop.call_soon(self.go_on)
            return
        self._waits_for = waited
        if self._must_cancel and waited.cancel():
            self._must_cancel = False

    def _future_done(self, _: asyncio.Future[Any]) -> None:
        self.go_on()  # the future itself raises what there is to raise

    def ended(self) -> asyncio.Future[None]:
        """Done when the task is, however it ended."""
        if self._ended is None:
            self._ended = self._loop.create_future()
            if self._over:
                self._ended.set_result(None)
        return self._ended

    # What asyncio and its users ask of a task

    def cancel(self, msg: Any = None) -> bool:  # noqa: ARG002  a task's signature
        """The step that this leads to is never taken here and now."""
        if self._over:
            return False
        self._cancels += 1
        waits_for = self._waits_for
        if waits_for is None or not waits_for.cancel():
            self._must_cancel = True
        return True

    def cancelling(self) -> int:
        return self._cancels

    def uncancel(self) -> int:
        """With the last request for its end, one that has not been met yet is taken back, as in asyncio from Python 3.13 on."""
        self._cancels = max(0, self._cancels - 1)
        if not self._cancels:
            self._must_cancel = False
        return self._cancels

    def done(self) -> bool:
        return self._over

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def get_coro(self) -> Coroutine[Any, Any, None]:
        return self._coroutine

    def get_name(self) -> str:
        return "request"
