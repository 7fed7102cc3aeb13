"""What there is once a process: settings, cleaner, delivery, queues; and how the process ends.

Ends: return, sys.exit, an exception nobody caught (atexit); SIGTERM, SIGINT where nobody handles them, and uvicorn's
way of raising them again; os._exit, with which multiprocessing's and Celery's children leave; fork.
"""

import atexit
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from otel_ingest_instrumentation import guard, loud, settings
from otel_ingest_instrumentation.delivery import Delivery
from otel_ingest_instrumentation.outcome import SIGNALS
from otel_ingest_instrumentation.queue import BatchQueue
from otel_ingest_instrumentation.records import Cleaner
from otel_ingest_instrumentation.transport import transport

_GRACE_S = 0.7  # past the budget for the network: writing to disk
_lock = threading.Lock()
_settings: settings.Settings | None = None
_delivery: Delivery | None = None
_cleaner: Cleaner | None = None
_queues: list[BatchQueue] = []
_after_fork: list[Callable[[], None]] = []
_at_end: list[Callable[[], None]] = []
_leaving_since: float | None = None
_hooked = False
_os_exit = os._exit
_set_signal = signal.signal
_SIGNALS = (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))


def configuration() -> settings.Settings:
    """Return the settings, read at the first call."""
    global _settings  # noqa: PLW0603
    if _settings is None:
        _settings = settings.read()
    return _settings


def delivery() -> Delivery:
    """Return this process's delivery, made at the first call."""
    global _delivery  # noqa: PLW0603
    if _delivery is None:
        with _lock:
            if _delivery is None:
                _delivery = Delivery(configuration(), {signal: transport(signal) for signal in SIGNALS})
                hook_exits()
    return _delivery


def cleaner() -> Cleaner:
    """Return this process's redaction, made at the first call."""
    global _cleaner  # noqa: PLW0603
    if _cleaner is None:
        _cleaner = Cleaner(*settings.read_redaction())
    return _cleaner


def remember_resource(resource: Any) -> None:
    """Note in whose name the loss of records would be reported."""
    from opentelemetry.exporter.otlp.proto.common._internal import _encode_resource  # noqa: PLC0415

    made = delivery()
    if made.resource is None:
        made.resource = _encode_resource(resource)


def add_queue(queue: BatchQueue) -> None:
    """Have a queue emptied when the process ends and begun anew after a fork."""
    _queues.append(queue)
    hook_exits()


def after_fork(call: Callable[[], None]) -> None:
    """Have something called in every forked child, after this module is in order again."""
    _after_fork.append(call)


def at_end(call: Callable[[], None]) -> None:
    """Have something called when the process ends for good; it must be quick."""
    _at_end.append(call)


def leave() -> None:
    """Send or spool everything that is held, within the exit's budget; safe to call more than once.

    The work is done in a thread of its own, waited for with a bound: the calling thread may be a signal handler that
    interrupted a holder of any lock.
    """
    global _leaving_since  # noqa: PLW0603
    made = _delivery
    if made is None or (made.idle() and all(q.empty() for q in _queues)):
        if made is not None:
            made.close()
        return
    if _leaving_since is None:
        _leaving_since = time.monotonic()
    left = max(0.1, configuration().exit_s - (time.monotonic() - _leaving_since))
    worker = threading.Thread(target=_empty, args=(made, left), name="otel-ingest-exit", daemon=True)
    try:
        worker.start()
    except RuntimeError:  # the interpreter starts no more threads: do it here
        _empty(made, left)
        return
    worker.join(left + _GRACE_S)
    if worker.is_alive() and (held := sum(queue.held() for queue in _queues)):
        loud.say(f"the process ends, and {held:,} records could be neither sent nor kept in time: they are lost")


def _empty(made: Delivery, budget_s: float) -> None:
    try:
        made.leave_by(budget_s)
        by = time.monotonic() + budget_s
        for queue in _queues:
            queue.leave()
        for queue in _queues:
            queue.drain()
        for queue in _queues:
            queue.settle(max(_GRACE_S, by - time.monotonic()))
        made.flush()
        made.close()
    except Exception as error:  # noqa: BLE001  # an exit is never disturbed
        loud.say(f"at exit: {type(error).__name__}: {error}")


def hook_exits() -> None:
    """Register for every way a process ends, once."""
    global _hooked  # noqa: PLW0603
    if _hooked:
        return
    _hooked = True
    atexit.register(_end)
    os._exit = _leave_and_exit  # type: ignore[assignment]
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_in_child)
    hook_signals()


def hook_signals() -> None:
    """Take SIGTERM and SIGHUP where their default action would end the process at once; main thread only."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            _set_signal(number, _on_signal)
    signal.signal = _signal  # type: ignore[assignment]


def _signal(number: int, handler: Any) -> Any:
    """Do what ``signal.signal`` does; the default action of our signals stays ours: uvicorn's worker resets them."""
    ours = number in _SIGNALS and handler == signal.SIG_DFL
    return _set_signal(number, _on_signal if ours else handler)


def _on_signal(number: int, _frame: FrameType | None) -> None:
    """Empty everything, then die by the same signal: the exit status stays what it was."""
    _end()
    _set_signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _end() -> None:
    leave()
    for call in _at_end:
        try:
            call()
        except Exception as error:  # noqa: BLE001
            loud.say(f"at exit: {type(error).__name__}: {error}")


def _leave_and_exit(status: int) -> None:
    _end()
    _os_exit(status)


def _in_child() -> None:
    global _lock, _leaving_since  # noqa: PLW0603
    _lock = threading.Lock()
    _leaving_since = None
    loud.reset_after_fork()
    guard.reset_after_fork()
    for queue in _queues:
        queue.reset_after_fork()
    if _delivery is not None:
        _delivery.reset_after_fork()
    for call in _after_fork:
        call()
