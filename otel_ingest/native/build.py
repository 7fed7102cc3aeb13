"""Makes the library of ``otel_ingest.native`` with the C compiler that is there; run by the build and by ``make``."""

import shlex
import shutil
import subprocess
import sys
from os import environ
from pathlib import Path

_HERE = Path(__file__).parent
_SOURCES = ("outline.c", "rows.c", "json.c", "search.c")
# Bounds are checked in the sources; these are the second line. C11 without extensions; no fast-math: doubles are exact.
_FLAGS = (
    *("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra"),
    *("-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"),
)


def library_path() -> Path:
    """Return where the library is, or would be."""
    return _HERE / ("kernel.dylib" if sys.platform == "darwin" else "kernel.so")


def compiler() -> list[str] | None:
    """Return the command of the C compiler: CC, or one of the usual names; None where there is none."""
    if given := environ.get("CC"):
        return shlex.split(given)
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    return [found] if found else None


def build(target: Path | None = None, *, flags: tuple[str, ...] = _FLAGS) -> str:
    """Make the library; return what was done, or why not. A machine without a compiler is no error."""
    command, target = compiler(), target or library_path()
    if command is None:
        return "no C compiler: requests are decoded by Python alone"
    sources = [str(_HERE / name) for name in _SOURCES]
    fresh = target.with_suffix(".new")
    try:
        done = subprocess.run(  # noqa: S603 - the compiler of whoever builds
            [*command, *flags, "-o", str(fresh), *sources, "-lm"], capture_output=True, text=True, check=False
        )
    except OSError as error:
        return f"the C compiler does not run ({error}): requests are decoded by Python alone"
    if done.returncode:
        return f"it cannot be compiled: requests are decoded by Python alone\n{done.stderr}"
    fresh.replace(target)
    return f"made {target.name}"


if __name__ == "__main__":
    print(build(), file=sys.stderr)  # noqa: T201 - a command
