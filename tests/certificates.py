"""A throwaway CA with what a TLS test needs: files on disk, as a server and its clients have them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class Files:
    """A certificate chain and its key, as PEM files."""

    cert: Path
    key: Path


class Authority:
    """A CA; its certificate is in ``ca_file``."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        directory.mkdir(exist_ok=True)
        self._directory = directory
        self._ca = trustme.CA()
        self.ca_file = directory / f"{name}.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def issue(self, name: str, *names: str, expired: bool = False) -> Files:
        """Return a certificate for ``names`` (localhost and 127.0.0.1 by default) in files called ``name``."""
        now = datetime.now(UTC)
        ends = now - timedelta(days=1) if expired else now + timedelta(days=90)
        begins = now - timedelta(days=2)
        issued = self._ca.issue_cert(*(names or ("localhost", "127.0.0.1")), not_before=begins, not_after=ends)
        files = Files(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        files.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        files.key.write_bytes(issued.private_key_pem.bytes())
        return files
