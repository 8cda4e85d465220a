"""Constant load by `hythe-bench requests`, which never repeats a request, and what became of it."""

import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass

# With hundreds of requests a second, answers that end so long before the load does have ended for good.
SILENT = 1_000_000_000

LOST = ("refused", "reset", "cut", "hung", "wrong", "other")


@dataclass
class Request:
    """Times are nanoseconds of the monotonic clock."""

    outcome: str
    begun: int
    over: int


class Requests:
    """All requests of a run, in the order they ended."""

    def __init__(self, lines):
        fields = (line.split() for line in lines)
        self.all = [Request(outcome, int(begun), int(over)) for outcome, begun, over in fields]

    def __len__(self):
        return len(self.all)

    def lost(self):
        """How many were lost, by what became of them."""
        counts = Counter(request.outcome for request in self.all)
        return {outcome: counts[outcome] for outcome in LOST if counts[outcome]}

    def begun_from(self, time):
        chosen = Requests([])
        chosen.all = [request for request in self.all if request.begun >= time]
        return chosen

    def silence_after(self, time, end):
        """The longest that nothing was answered between these times, ms; nothing when answers did not come back."""
        answers = sorted(request.over for request in self.all if request.outcome == "ok" and time < request.over < end)
        if not answers or end - answers[-1] > SILENT:
            return None
        return max(later - earlier for earlier, later in zip([time, *answers], answers)) / 1e6

    def slowest_ms(self):
        took = (request.over - request.begun for request in self.all if request.outcome == "ok")
        return max(took, default=0) / 1e6


class Load:
    """Requests until the end of the block; then `requests` has them all."""

    def __init__(self, program, port, rate, connections, keep):
        self.command = [program, "requests", "--address", f"127.0.0.1:{port}", "--rate", str(rate)]
        self.command += ["--connections", str(connections), "--keep", keep]

    def __enter__(self):
        self.log = tempfile.TemporaryFile("w+")
        self.client = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=self.log)
        return self

    def __exit__(self, *_):
        self.client.stdin.close()
        code = self.client.wait(timeout=30)
        if code:
            raise RuntimeError(f"the client exited with {code}")
        self.log.seek(0)
        self.requests = Requests(self.log)
        self.log.close()
