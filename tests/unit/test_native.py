"""The compiled part by itself: under the sanitizers, without a compiler, and of other sources."""

import struct
import subprocess
from pathlib import Path

import pytest

from otel_ingest import native
from otel_ingest.native import build
from otel_ingest.signals import LOGS, TRACES, Signal
from tests.generate import Generator

CASES = 1_500
SANITIZERS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
needs_compiler = pytest.mark.skipif(build.compiler() is None, reason="no C compiler here")


def records_of(signal: Signal, generator: Generator, *, damaged: bool) -> list[bytes]:
    """Return the records of a generated request, as they are or with bytes changed."""
    message = generator.request(signal)
    found = []
    for group in getattr(message, message.DESCRIPTOR.fields[0].name):
        for scope in getattr(group, group.DESCRIPTOR.fields_by_number[2].name):
            found += [r.SerializeToString() for r in getattr(scope, scope.DESCRIPTOR.fields_by_number[2].name)]
    return [generator.damaged(r) for r in found] if damaged else found


@needs_compiler
@pytest.mark.parametrize("signal", [LOGS, TRACES])
def test_no_access_beyond_its_buffers(tmp_path: Path, signal: Signal) -> None:
    """Sound and damaged records, into buffers of every size."""
    program = tmp_path / "driver"
    source = Path(__file__).parent / "native_driver.c"
    compiler = build.compiler()
    assert compiler
    made = subprocess.run(
        [*compiler, *SANITIZERS, "-o", str(program), str(source), "-lm"], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("this compiler has no sanitizers")
    with (tmp_path / "cases").open("wb") as file:
        for seed in range(CASES):
            records = records_of(signal, Generator(seed), damaged=seed % 3 > 0)[:8]
            lengths = [len(r) for r in records]
            file.write(struct.pack(f"<{len(records) + 1}I", len(records), *lengths) + b"".join(records))

    run = subprocess.run(
        [str(program), str(tmp_path / "cases"), str(int(signal is TRACES))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, str(CASES), "")


@needs_compiler
def test_it_is_there_where_a_compiler_is() -> None:
    """What is measured is what runs."""
    assert native.available


def test_a_machine_without_a_compiler_goes_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is made, and the build says what that means."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    target = tmp_path / "kernel.so"

    assert build.build(target) == "no C compiler: requests are decoded by Python alone"
    assert not target.exists()

    monkeypatch.setenv("CC", "/nowhere/cc -m64")
    assert "requests are decoded by Python alone" in build.build(target)


@needs_compiler
def test_a_library_of_other_sources_is_not_used(tmp_path: Path) -> None:
    """One that a former version left beside new code: its structures may differ."""
    source, target = tmp_path / "old.c", tmp_path / "old.so"
    source.write_text("int otel_ingest_version(void) { return 0; }")
    compiler = build.compiler()
    assert compiler
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", str(target), str(source)], check=True)

    assert native.load(target) is None
    assert native.load(tmp_path / "none.so") is None
    assert native.load(build.library_path()) is not None
