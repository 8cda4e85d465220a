"""The two that are measured, each with a home of its own, behind the same few verbs."""

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PM2 = TARGET / "pm2/node_modules/pm2"


@dataclass
class Ran:
    """A command that has ended."""

    code: int
    seconds: float
    output: str


class System:
    """What both have in common: a command with an environment, and processes that have to end with the run."""

    name: str

    def __init__(self, program, home, variables):
        home.mkdir(parents=True)
        self.program, self.home = program, home
        self.environment = {**os.environ, **variables}

    def run(self, *words, folder=None, patience=180, fine=(0,)):
        begun = time.monotonic()
        ran = subprocess.run(
            [self.program, *words],
            env=self.environment,
            cwd=folder or self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=patience,
            text=True,
        )
        if fine is not None and ran.returncode not in fine:
            raise RuntimeError(f"{self.name} {' '.join(words)} exited with {ran.returncode}:\n{ran.stdout}")
        return Ran(ran.returncode, time.monotonic() - begun, ran.stdout)

    def in_background(self, *words):
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            [self.program, *words], env=self.environment, cwd=self.home, stdin=quiet, stdout=quiet, stderr=quiet
        )

    def start(self, app, instances=None, watch=False):
        words = ["start", str(app.script)]
        words += ["-i", str(instances)] if instances else []
        words += ["--watch"] if watch else []
        # Where it is started is what it watches.
        return self.run(*words, folder=app.script.parent)

    def start_file(self, file):
        return self.run("start", str(file))

    def start_again(self, app):
        return self.run("start", app.name)

    def delete_all(self):
        # Nothing to delete is no failure here.
        return self.run("delete", "all", fine=None)

    def ls(self):
        return self.run("ls")

    def end(self):
        """Asks everything to end, and ends by its pid what does not."""
        pids = list(self.daemons().values())
        pids += [pid for daemon in pids for pid in children(daemon)]
        try:
            self.delete_all()
            self.shut_down()
        finally:
            for pid in filter(is_there, pids):
                os.kill(pid, signal.SIGKILL)


class Hythe(System):
    name = "hythe"

    def __init__(self, program, home):
        variables = {
            "HYTHE_HOME": str(home),
            "HYTHE_PROXY_LISTEN": "127.0.0.1:0",
            "HYTHE_PROXY_TLS_LISTEN": "off",
            "HYTHE_API_LISTEN": "127.0.0.1:0",
        }
        super().__init__(program, home, variables)

    def begin(self):
        self.run("server", "start")

    def daemons(self):
        status = json.loads(self.run("status", "--json").output)
        return {"server": status["server"]["pid"], "minder": status["minder"]["pid"]}

    def reload(self, app, fine=(0,)):
        return self.run("restart", app.name, fine=fine)

    def shut_down(self):
        self.run("server", "stop", "--with-services")


class Pm2(System):
    name = "PM2"

    def __init__(self, home):
        variables = {"PM2_HOME": str(home), "PM2_DISABLE_VERSION_CHECK": "true"}
        super().__init__(str(PM2 / "bin/pm2"), home, variables)

    def begin(self):
        self.run("ping")

    def daemons(self):
        return {"daemon": int((self.home / "pm2.pid").read_text())}

    def reload(self, app, fine=(0,)):
        return self.run("reload", app.name, fine=fine)

    def shut_down(self):
        self.run("kill")


def children(pid):
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def is_there(pid):
    """Whether it runs, ended processes that nobody has waited for aside."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def memory(pid):
    """Resident, proportional and unshared memory, MB."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, size = line.split()[:2]
        sizes[name.rstrip(":")] = int(size) / 1024
    return {
        "RSS": sizes["Rss"],
        "PSS": sizes["Pss"],
        "USS": sizes["Private_Clean"] + sizes["Private_Dirty"],
    }
