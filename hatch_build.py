"""Makes the compiled part (``otel_ingest.native``) at build time; without a C compiler the wheel is pure."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

sys.path.insert(0, str(Path(__file__).parent / "otel_ingest" / "native"))
import build


class NativeBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles before files are collected, for wheels and for editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's interface
        """Compile; the wheel is of this platform then, and of any Python 3."""
        self.app.display_info(build.build())
        library = build.library_path()
        if library.exists():
            build_data["artifacts"].append(f"otel_ingest/native/{library.name}")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{next(iter(platform_tags()))}"
