"""``make fuzz``: a million bodies through wire and decode; what they came to, how fast, and every crash, kept.

Each crash is written to a file with its signal and encoding in the name; ``--replay FILE`` runs it again.
"""

import argparse
import hashlib
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from otel_ingest.signals import SIGNALS
from otel_ingest.wire import Encoding
from tests.fuzz.target import Input, Source, check

_BATCH = 5_000
_REASONS_SHOWN = 60


@dataclass
class Tally:
    """What many bodies came to."""

    inputs: int = 0
    size_bytes: int = 0
    slowest_s: float = 0.0
    kinds: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    crashes: dict[str, str] = field(default_factory=dict)

    def run(self, case: Input, directory: Path) -> None:
        """Check one body and count it."""
        started = time.perf_counter()
        self.inputs += 1
        self.size_bytes += len(case.body)
        try:
            outcome = check(case)
        except Exception:  # noqa: BLE001 - this is what is looked for
            self.crashes[kept(case, directory)] = traceback.format_exc()
            return
        self.slowest_s = max(self.slowest_s, time.perf_counter() - started)
        self.kinds[case.signal.name, case.encoding.name.lower(), outcome.kind] += 1
        self.reasons.update(outcome.reasons)

    def add(self, other: "Tally") -> None:
        """Add the count of another."""
        self.inputs += other.inputs
        self.size_bytes += other.size_bytes
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.kinds += other.kinds
        self.reasons += other.reasons
        self.crashes |= other.crashes


def kept(case: Input, directory: Path) -> str:
    """Write a body that crashed; return its file."""
    directory.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(case.body).hexdigest()[:12]
    path = directory / f"{case.signal.name}-{case.encoding.name.lower()}-{digest}"
    path.write_bytes(case.body)
    return str(path)


def read(path: Path) -> Input:
    """Return the body of a file that ``kept`` wrote."""
    signal, encoding, _ = path.name.split("-")
    return Input(next(s for s in SIGNALS if s.name == signal), Encoding[encoding.upper()], path.read_bytes())


def batch(seed: int, count: int, directory: Path) -> Tally:
    """Run ``count`` bodies of one seed."""
    source, tally = Source(seed), Tally()
    for _ in range(count):
        tally.run(source.draw(), directory)
    return tally


def report(tally: Tally, seconds: float) -> None:
    """Print what came out."""
    table = Table("signal", "encoding", "stored", "partial", "rejected", "empty", "malformed", box=None)
    for signal in SIGNALS:
        for encoding in Encoding:
            name = encoding.name.lower()
            kinds = [tally.kinds[signal.name, name, kind] for kind in ("stored", "partial", "rejected", "empty")]
            row = [f"{n:,}" for n in (*kinds, tally.kinds[signal.name, name, "malformed"])]
            table.add_row(signal.name, name, *row)
    console = Console(width=120, highlight=False)
    console.print(table)
    for reason, count in tally.reasons.most_common(_REASONS_SHOWN):
        console.print(f"  {count:>9,}  {reason}", markup=False)
    print(
        f"{tally.inputs:,} inputs ({tally.size_bytes / tally.inputs:,.0f} bytes on average) in {seconds:.0f} s, "
        f"{tally.inputs / seconds:,.0f}/s; slowest {tally.slowest_s * 1000:.0f} ms; "
        f"{len(tally.reasons)} kinds of reason; {len(tally.crashes)} crashes"
    )
    for path, trace in list(tally.crashes.items())[:5]:
        print(f"\n{path}\n{trace}")


def atheris_loop(seconds: int, directory: Path) -> None:
    """Let atheris (coverage-guided) choose the bodies; the first byte says signal and encoding."""
    import atheris

    corpus = directory / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    cases = [(signal, encoding) for signal in SIGNALS for encoding in Encoding]
    source = Source(1)
    for case in (source.draw() for _ in range(500)):
        data = bytes([cases.index((case.signal, case.encoding))]) + case.body
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    for module in ("otel_ingest.decode", "otel_ingest.wire"):
        for name in [n for n in sys.modules if n.startswith(module)]:
            for function in list(vars(sys.modules[name]).values()):
                if getattr(function, "__module__", "") == name and hasattr(function, "__code__"):
                    atheris.instrument_func(function)

    def one(data: bytes) -> None:
        if data:
            signal, encoding = cases[data[0] % len(cases)]
            check(Input(signal, encoding, data[1:]))

    prefix = f"-artifact_prefix={directory}/"
    atheris.Setup([sys.argv[0], str(corpus), f"-max_total_time={seconds}", "-max_len=4096", prefix], one)
    atheris.Fuzz()


def main() -> int:
    """Run; return 1 when anything crashed."""
    parser = argparse.ArgumentParser(prog="make fuzz ARGS=", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="bodies to try (default 1,000,000)")
    parser.add_argument("--seed", type=int, default=1, help="the first of the seeds; the same gives the same bodies")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--atheris", type=int, metavar="SECONDS", help="coverage-guided instead, for so long")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one body that crashed, and show how")
    parser.add_argument("--out", type=Path, default=Path(".fuzz"), help="where bodies that crash are kept")
    options = parser.parse_args()
    if options.replay:
        print(check(read(options.replay)))
        return 0
    if options.atheris:
        atheris_loop(options.atheris, options.out)
        return 0
    total, started = Tally(), time.perf_counter()
    sizes = [min(_BATCH, options.inputs - done) for done in range(0, options.inputs, _BATCH)]
    with ProcessPoolExecutor(options.jobs) as pool:
        work = [pool.submit(batch, options.seed + n, size, options.out) for n, size in enumerate(sizes)]
        for one in work:
            total.add(one.result())
    report(total, time.perf_counter() - started)
    return 1 if total.crashes else 0


if __name__ == "__main__":
    sys.exit(main())
