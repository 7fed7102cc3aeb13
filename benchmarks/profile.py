"""``make bench-profile``: a flame graph of the server while it commits requests of 512 log records, by py-spy."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.decode import requests_of
from benchmarks.load import Generator, framed
from tests import harness


def main() -> None:
    """Record and say where the picture is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transport", choices=["http", "grpc"], default="http")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--records", type=int, default=204_800)
    options = parser.parse_args()
    picture = Path(__file__).parent / "out" / f"flame-{options.transport}.svg"
    picture.parent.mkdir(exist_ok=True)
    generator = Generator({"logs": [framed(r, options.transport) for r in requests_of(options.records)]})
    try:
        with (
            tempfile.TemporaryDirectory(prefix="oi-") as directory,
            harness.running(Path(directory) / "data") as server,
        ):
            spy = Path(sys.executable).parent / "py-spy"
            program = [str(spy), "record", "--pid", str(server.process.pid), "--duration", str(options.seconds)]
            with subprocess.Popen([*program, "--rate", "250", "--native", "--output", str(picture)]) as process:
                address = server.http if options.transport == "http" else server.grpc
                while process.poll() is None:
                    with server.sql() as cursor:  # the same requests once more would be known
                        cursor.execute("TRUNCATE request_digests_0, request_digests_1, request_digests_2")
                    generator.drive(address, options.transport, "logs", 8)
    finally:
        generator.close()
    print(picture)


if __name__ == "__main__":
    main()
