"""How often, and how long after another, something is asked of a server again."""

from __future__ import annotations

import asyncio

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from pruner.samplers.served.faults import Fault

_backoff = wait_random_exponential(multiplier=0.25, max=10.0)


def attempts() -> AsyncRetrying:
    """Return attempts without end, until one raises no Fault."""
    return AsyncRetrying(retry=retry_if_exception_type(Fault), wait=_wait, sleep=asyncio.sleep, reraise=True)


def few_attempts(most: int) -> AsyncRetrying:
    """Return attempts until one raises no Fault, or one that will not pass, or there were `most`."""
    return attempts().copy(retry=retry_if_exception(_may_pass), stop=stop_after_attempt(most))


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, Fault) and not error.is_gone and not error.is_of_request


def _wait(state: RetryCallState) -> float:
    """Return the seconds until the next attempt: random, longer each time, and at least what the fault asks for."""
    fault = state.outcome.exception() if state.outcome is not None else None
    return max(float(_backoff(state)), fault.retry_after_s if isinstance(fault, Fault) else 0.0)
