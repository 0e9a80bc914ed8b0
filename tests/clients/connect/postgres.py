"""A PostgreSQL cluster of its own in a temporary folder, with logical decoding on."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from weir import free_port


class Postgres:
    def __init__(self):
        self.bin = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
        self.folder = Path(tempfile.mkdtemp(prefix="weir-clients-postgres-"))
        self.cluster = self.folder / "cluster"
        self.port = free_port()

    def start(self):
        self.folder.chmod(0o755)
        self.cluster.mkdir()
        if os.getuid() == 0:
            shutil.chown(self.cluster, "postgres")
        self.command("initdb", "-D", self.cluster, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.cluster} "
            "-c wal_level=logical -c timezone=UTC -c fsync=off"
        )
        self.command("pg_ctl", "-D", self.cluster, "-w", "-l", self.cluster / "log", "-o", options, "start")

    def command(self, name, *arguments):
        """PostgreSQL refuses to run as root: there it runs as the user `postgres`."""
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        command = [*as_postgres, str(self.bin / name), *map(str, arguments)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)

    def sql(self, text):
        """Runs statements; the rows that they give, a line each."""
        command = [str(self.bin / "psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-qAt",
                   "-v", "ON_ERROR_STOP=1", "-c", text]  # fmt: skip
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        return done.stdout.splitlines()

    def stop(self):
        self.command("pg_ctl", "-D", self.cluster, "-m", "immediate", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)
