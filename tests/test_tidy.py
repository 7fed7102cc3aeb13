"""The house rules as a test: sizes, places, and what must not stand in a module."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("otel_ingest", "storage", "mcp_tools", "instrumentation/otel_ingest_instrumentation")
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70


def modules() -> Iterator[Path]:
    """Yield every module of the packages."""
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function of a module, nested ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_modules_are_short() -> None:
    """No module is longer than 400 lines."""
    long = {str(m.relative_to(ROOT)): n for m in modules() if (n := len(m.read_text().splitlines())) > MODULE_LINES_MAX}

    assert not long


def test_functions_are_short() -> None:
    """No function is longer than 70 lines, docstring included."""
    long = [
        f"{m.relative_to(ROOT)}:{f.lineno} {f.name}: {f.end_lineno - f.lineno + 1}"
        for m in modules()
        for f in functions(ast.parse(m.read_text()))
        if f.end_lineno is not None and f.end_lineno - f.lineno + 1 > FUNCTION_LINES_MAX
    ]

    assert not long


def test_modules_say_their_place() -> None:
    """Each module opens with a docstring."""
    silent = [str(m.relative_to(ROOT)) for m in modules() if not ast.get_docstring(ast.parse(m.read_text()))]

    assert not silent


def test_sql_lives_in_storage() -> None:
    """Only storage (and the migrations) imports SQLAlchemy or psycopg."""
    found = [
        str(m.relative_to(ROOT))
        for m in modules()
        if not m.is_relative_to(ROOT / "storage")
        for node in ast.walk(ast.parse(m.read_text()))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in {"sqlalchemy", "psycopg"})
        or (isinstance(node, ast.Import) and node.names[0].name.split(".")[0] in {"sqlalchemy", "psycopg"})
    ]

    assert not found


def test_alembic_is_not_a_package() -> None:
    """``alembic/__init__.py`` would shadow the library."""
    assert not (ROOT / "alembic" / "__init__.py").exists()


def test_tracked_files_are_small_and_name_no_machine() -> None:
    """No tracked file is over 1 MiB, and none names a directory of somebody's machine."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    tracked = [ROOT / name for name in listing.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    homes = tuple(f"/{name}/".encode() for name in ("root", "work", "home/user"))

    assert not [str(p) for p in tracked if p.stat().st_size > 1024 * 1024]
    assert not [str(p) for p in tracked if p != Path(__file__) and any(h in p.read_bytes() for h in homes)]
