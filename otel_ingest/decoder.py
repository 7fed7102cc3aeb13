"""Where a request is decoded: small ones here, one after the other; large ones in a process of their own."""

import asyncio
import pickle
import signal as signals
import sys
from asyncio.subprocess import PIPE, Process

import structlog

from otel_ingest import decode_worker, errors
from otel_ingest.decode_worker import HEADER, LENGTH, End, Failure, Piece
from otel_ingest.decoding import Decoded, Decoding
from otel_ingest.limits import Limits
from otel_ingest.redact import SecondLine
from otel_ingest.signals import SIGNALS, Signal
from otel_ingest.wire import Encoding, as_protobuf
from storage.batch import Batch

_log = structlog.get_logger(__name__)

# Some 5 ms of parsing, and at most 25 MiB of message; the SDKs' batches of 512 records are below it.
_HERE_BYTES_MAX = {Encoding.PROTOBUF: 512 * 1024, Encoding.JSON: 256 * 1024}
_HERE_RECORDS_MAX = 10_000
# JSON that compiled code makes protobuf, which is half as large: some 3 ms.
_TRANSCODED_HERE_BYTES_MAX = 1024 * 1024
# Some 20 records, or at most 4,000 empty ones: a few ms.
_AT_ONCE_BYTES_MAX = 8 * 1024
# About 5 ms of decoding; then others may run.
_RECORDS_A_TURN = 500
_WRITE_BYTES = 256 * 1024
# Ends that the body is to blame for; any other is ours, an operator's, or a kernel's that is short of memory.
_CRASHES = {-signals.SIGABRT, -signals.SIGSEGV, -signals.SIGBUS}
# A process that is not needed gives its 40 MiB back.
_IDLE_TIMEOUT_S = 30.0
# 64 MiB of JSON take 6 s on an idle core; SDKs have given up long before this.
_TIMEOUT_S = 60.0
_FAREWELL_S = 5.0
_MAIN = f"from {decode_worker.__name__} import main; main()"
_ENCODINGS = list(Encoding)


class Decoder:
    """Decodes requests: bytes -> rows. ``memory_bytes`` bounds the process for large ones.

    ``second_line`` masks the secrets that a client let through; None: rows say what came.
    """

    def __init__(self, limits: Limits, memory_bytes: int, second_line: SecondLine | None = None) -> None:
        self._limits = limits
        self.second_line = second_line
        # One message at a time: what a message takes is not known before it is parsed.
        self._here = asyncio.Lock()
        self._process = _DecodingProcess(limits, memory_bytes, redact=second_line is not None)

    async def decode(self, signal: Signal, body: bytes, encoding: Encoding, received_ns: int) -> Decoded:
        """Return the rows of ``body``, which came at ``received_ns``; lets others run meanwhile.

        Raises MalformedRequest; RequestTooLarge where it takes more memory or time than there is for one.
        """
        if len(body) <= _TRANSCODED_HERE_BYTES_MAX:
            body, encoding = as_protobuf(signal, body, encoding, self._limits)
        if len(body) <= _AT_ONCE_BYTES_MAX:
            return self._at_once(signal, body, encoding, received_ns)
        if len(body) <= _HERE_BYTES_MAX[encoding]:
            async with self._here:
                decoding = Decoding(signal, body, encoding, self._limits, received_ns, self.second_line)
                if decoding.records <= _HERE_RECORDS_MAX:
                    while decoding.turn(_RECORDS_A_TURN):  # noqa: ASYNC110 - it is at work, not waiting
                        await asyncio.sleep(0)
                    return decoding.decoded
                del decoding
        return await self._process.decode(signal, body, encoding, received_ns)

    def _at_once(self, signal: Signal, body: bytes, encoding: Encoding, received_ns: int) -> Decoded:
        """Decode a small body in one go: it need not wait for its turn behind larger ones."""
        decoding = Decoding(signal, body, encoding, self._limits, received_ns, self.second_line)
        while decoding.turn(_HERE_RECORDS_MAX):
            pass
        return decoding.decoded

    async def close(self) -> None:
        """End the process."""
        await self._process.close()


class _DecodingProcess:
    """``decode_worker``, started when it is needed, one request at a time."""

    def __init__(self, limits: Limits, memory_bytes: int, *, redact: bool) -> None:
        self._setup = pickle.dumps((limits, memory_bytes, redact))
        self._turn = asyncio.Lock()
        self._running: Process | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def decode(self, signal: Signal, body: bytes, encoding: Encoding, received_ns: int) -> Decoded:
        """Return the rows of ``body``. Raises what ``Decoder.decode`` does; StoreUnavailable where it was killed."""
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            process = await self._started()
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    return await self._exchange(process, signal, body, encoding, received_ns)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise await self._died(process) from error
            except TimeoutError as error:
                await self._kill()
                raise errors.RequestTooLarge(f"decoding took more than {_TIMEOUT_S:.0f} s; send less") from error
            except BaseException as error:
                # A process in the middle of an answer is of no use; one that has said why, is.
                if not isinstance(error, errors.IngestError):
                    await self._kill()
                raise
            finally:
                self._idle = asyncio.get_running_loop().call_later(_IDLE_TIMEOUT_S, self._dismiss)

    async def close(self) -> None:
        """End it; nothing is being decoded any more."""
        if self._idle is not None:
            self._idle.cancel()
        self._dismiss()
        await asyncio.gather(*self._leaving)

    async def _started(self) -> Process:
        if self._running is None or self._running.returncode is not None:
            self._running = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _MAIN, stdin=PIPE, stdout=PIPE, limit=2 * _WRITE_BYTES
            )
            assert self._running.stdin is not None  # noqa: S101 - PIPE
            self._running.stdin.write(LENGTH.pack(len(self._setup)) + self._setup)
        return self._running

    async def _exchange(
        self, process: Process, signal: Signal, body: bytes, encoding: Encoding, received_ns: int
    ) -> Decoded:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - PIPE
        header = HEADER.pack(SIGNALS.index(signal), _ENCODINGS.index(encoding), received_ns, len(body))
        process.stdin.write(header)
        view = memoryview(body)
        for start in range(0, len(view), _WRITE_BYTES):
            process.stdin.write(view[start : start + _WRITE_BYTES])
            await process.stdin.drain()
        decoded = Decoded(Batch(signal.table))
        batch = decoded.batch
        while True:
            (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
            # From a process of our own.
            piece: Piece | End | Failure = pickle.loads(await process.stdout.readexactly(length))  # noqa: S301
            if isinstance(piece, Failure):
                raise _error(piece)
            if isinstance(piece, End):
                batch.days, batch.counts = piece.days, piece.counts
                batch.resources, batch.scopes = piece.resources, piece.scopes
                decoded.rejections, decoded.bytes_by_component = piece.rejections, piece.bytes_by_component
                decoded.masked = piece.masked
                return decoded
            batch.rows.extend(piece.rows)
            batch.size_bytes += piece.size_bytes
            decoded.positions += piece.positions

    async def _died(self, process: Process) -> errors.IngestError:
        """Return why: somebody killed it, or this request did."""
        await process.communicate()
        self._running = None
        _log.error("the decoding process ended", exit_code=process.returncode)
        if process.returncode in _CRASHES:
            return errors.RequestTooLarge("decoding crashed on this body, probably for want of memory; send less")
        return errors.StoreUnavailable("the decoding process was ended; nothing was stored")

    def _dismiss(self) -> None:
        """Let it end: its input does."""
        if self._running is not None:
            task = asyncio.create_task(_farewell(self._running))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
            self._running = None

    async def _kill(self) -> None:
        if self._running is not None and self._running.returncode is None:
            self._running.kill()
            await self._running.communicate()
        self._running = None


async def _farewell(process: Process) -> None:
    """Close a process' input and wait for its end; for a bounded time, then it is killed."""
    assert process.stdin is not None  # noqa: S101 - PIPE
    process.stdin.close()
    try:
        async with asyncio.timeout(_FAREWELL_S):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()


def _error(failure: Failure) -> errors.IngestError:
    kind: type[errors.IngestError] = getattr(errors, failure.kind)
    if issubclass(kind, errors.MalformedRequest):
        return kind(failure.text, field=failure.field)
    return kind(failure.text)
