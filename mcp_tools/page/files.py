"""The page's own files: stylesheet and modules, named by their content so that browsers may keep them."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

INDEX = """otel-ingest

  /                     the page, for people: log in with a read token
  /mcp                  MCP over streamable HTTP (Authorization: Bearer TOKEN)
  /api/v1/overview      what is there
  /api/v1/logs          ?component=&severity_min=&text=&trace_id=&since=&limit=&cursor=
  /api/v1/traces        ?component=&status=&sort=slowest
  /api/v1/traces/ID     one whole trace
  /api/v1/stats         counts
  /api/v1/levels        levels in force; POST sets one
  /healthz  /readyz     alive; ready to store
  /metrics              Prometheus
"""
"""What programs read at /, where browsers get the page."""

FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_VERSION_CHARS = 12


@dataclass(frozen=True, slots=True)
class File:
    """One file as it is sent: its bytes, and the same compressed."""

    content: bytes
    compressed: bytes
    media_type: str


def _read(path: Path) -> File:
    content = path.read_bytes()
    return File(content, gzip.compress(content, 9, mtime=0), _TYPES[path.suffix])


FILES = {path.name: _read(path) for path in sorted(FOLDER.iterdir()) if path.suffix in _TYPES}
# One version for all of them: modules name each other without one.
VERSION = hashlib.sha256(b"".join(file.content for file in FILES.values())).hexdigest()[:_VERSION_CHARS]


def url(name: str) -> str:
    """Return the URL of a file; another one after each change of any of them."""
    return f"/static/{VERSION}/{name}"


async def endpoint(request: Request) -> Response:
    """Return one file; what is asked for by the version at hand is kept for a year."""
    file = FILES.get(request.path_params["name"])
    if file is None:
        return PlainTextResponse("no such file\n", 404)
    headers = {"Vary": "Accept-Encoding"}
    if request.path_params["version"] == VERSION:
        headers["Cache-Control"] = "public, max-age=31536000, immutable"
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(file.content, headers=headers, media_type=file.media_type)
    return Response(file.compressed, headers=headers | {"Content-Encoding": "gzip"}, media_type=file.media_type)
