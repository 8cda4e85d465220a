"""Apps with a port of their own, as files in a folder, and when they began to listen."""

import itertools
import json
import random
import socket
import time
from pathlib import Path

LIBRARY = Path(__file__).with_name("server.js")
BROKEN = "process.exit(1);\n"


class App:
    """One script. Its port stands in it, so nothing that starts it needs to know the port."""

    def __init__(self, folder, name, port, delay=0, graceful=False):
        self.name, self.port = name, port
        # Beside the folder and not in it, where it would be one of the files that are watched.
        self.journal = Journal(folder.with_name(f"{folder.name}.journal"))
        self.script = folder / f"{name}.js"
        settings = {"port": port, "journal": str(self.journal.path), "delay": delay, "graceful": graceful}
        self.text = f"require({json.dumps(str(LIBRARY))})({json.dumps(settings)});\n"
        self.write(self.text)

    def write(self, text):
        self.script.parent.mkdir(parents=True, exist_ok=True)
        self.script.write_text(text)

    def pid(self):
        """Who began to listen there last."""
        return [pid for pid, port, _ in self.journal.entries() if port == self.port][-1]


class Journal:
    """Where apps write who began to listen where and when."""

    def __init__(self, path):
        self.path = path

    def entries(self):
        """Pid, port, and nanoseconds of the monotonic clock, in the order they were written."""
        try:
            lines = self.path.read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [tuple(map(int, line.split())) for line in lines if line.endswith("\n")]

    def await_listening(self, port, since, patience=15):
        """The first that began to listen there at or after `since`, on the monotonic clock: its pid, and when."""
        return self.await_all([port], since, patience)[port]

    def await_all(self, ports, since, patience=60):
        """The same of several ports."""
        deadline = time.monotonic() + patience
        while True:
            found = {}
            for pid, port, at in self.entries():
                if at >= since:
                    found.setdefault(port, (pid, at))
            missing = [port for port in ports if port not in found]
            if not missing:
                return {port: found[port] for port in ports}
            if time.monotonic() > deadline:
                raise RuntimeError(f"nobody began to listen at port {missing[0]} within {patience} s")
            # The time is the app's own, so looking seldom costs nothing but the run's own time.
            time.sleep(0.01)


def fleet(folder, name, size):
    """Apps with one journal, and the ecosystem file that starts them all, in fork mode."""
    apps = [App(folder, f"{name}-{place}", port) for place, port in enumerate(free_ports(size))]
    listed = [{"name": app.name, "script": str(app.script)} for app in apps]
    file = folder / f"{name}.config.js"
    file.write_text(f"module.exports = {{ apps: {json.dumps(listed, indent=2)} }};\n")
    return apps, file


# Each is given out once, below those that the kernel gives to clients and that Hythe gives to instances.
candidates = iter(random.sample(range(10_000, 20_000), 10_000))


def free_ports(count):
    """Ports that nobody listens at."""
    return list(itertools.islice(filter(is_free, candidates), count))


def is_free(port):
    with socket.socket(socket.AF_INET6) as tried:
        tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            tried.bind(("::", port))
        except OSError:
            return False
        return True
