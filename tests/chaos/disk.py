"""A disk small enough to fill: a tmpfs of its own, which only root on Linux can mount."""

import os
import subprocess
import sys
from pathlib import Path

_BLOCK = 4096


def impossible() -> str | None:
    """Return why no small disk can be made here; None: it can."""
    if sys.platform != "linux":
        return "small disks are made with tmpfs, which this system does not have"
    if os.geteuid() != 0:
        return "only root can mount the small disks that are filled"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        return "this container may not mount the small disks that are filled"
    return None


class SmallDisk:
    """A tmpfs of ``size_bytes`` at ``path``. It is filled by making it as small as what it holds."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self._size_bytes = size_bytes
        path.mkdir(parents=True, exist_ok=True)
        self._mount("-t", "tmpfs", "-o", f"size={size_bytes},mode=0711", "tmpfs", str(path))

    def fill(self) -> None:
        """Leave nothing free."""
        for _ in range(20):
            status = os.statvfs(self.path)
            used = (status.f_blocks - status.f_bfree) * status.f_frsize
            # Written to meanwhile, it may hold more than it is told to: then again.
            if self._resize(max(used, _BLOCK)):
                return
        raise OSError(f"{self.path} could not be made full")

    def free(self) -> None:
        """Give the space back."""
        if not self._resize(self._size_bytes):
            raise OSError(f"{self.path} could not be made larger")

    def used_bytes(self) -> int:
        """Return what it holds."""
        status = os.statvfs(self.path)
        return (status.f_blocks - status.f_bfree) * status.f_frsize

    def remove(self) -> None:
        """Unmount it; what it held is gone."""
        subprocess.run(["umount", "--lazy", str(self.path)], capture_output=True, check=False)

    def _resize(self, size_bytes: int) -> bool:
        command = ["mount", "-o", f"remount,size={size_bytes}", str(self.path)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _mount(self, *arguments: str) -> None:
        subprocess.run(["mount", *arguments], capture_output=True, check=True)
