"""The compiled part by itself: under the sanitizers, without a compiler, and of other sources."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from otel_ingest import native
from otel_ingest.native import build

SEEDS = 400
SANITIZERS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
ROOT = Path(__file__).parents[2]
needs_compiler = pytest.mark.skipif(build.compiler() is None, reason="no C compiler here")


def preloaded() -> str:
    """Return the sanitizer's library, which must be there before the interpreter; empty where there is none."""
    compiler = build.compiler()
    assert compiler
    said = subprocess.run([*compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=False)
    path = said.stdout.strip()
    return path if Path(path).is_absolute() else ""


@needs_compiler
def test_no_access_beyond_its_buffers(tmp_path: Path) -> None:
    """Sound and damaged records and documents, into buffers of several sizes."""
    library = tmp_path / "kernel.so"
    build.build(library, flags=("-std=c11", "-fPIC", "-shared", "-fvisibility=hidden", *SANITIZERS))
    if not library.exists() or not (sanitizer := preloaded()):
        pytest.skip("this compiler has no sanitizers")
    program = [sys.executable, str(Path(__file__).parent / "native_sanitized.py"), str(library), str(SEEDS)]
    options = {"LD_PRELOAD": sanitizer, "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}

    run = subprocess.run(
        program,
        env=os.environ | options | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert (run.returncode, run.stderr) == (0, "")
    assert int(run.stdout) > 5 * SEEDS


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
