"""What reloads cost the requests that are on their way, and what a new version that does not start costs."""

import time
from dataclasses import dataclass

from .apps import BROKEN, App, free_ports
from .client import LOST, Load
from .table import Table


@dataclass
class Kind:
    """A kind of load on a kind of app."""

    title: str
    keep: str
    connections: int
    delay: int = 0


KINDS = (
    Kind("a new connection for each request", "no", 20),
    Kind("kept connections", "yes", 20),
    Kind("300 ms to answer, half of the connections kept", "half", 400, delay=300),
)


def reloads(world):
    table = Table(
        "Requests lost while an app of two instances is reloaded",
        ["load", "app handles SIGINT", "", "reloads", "requests", "lost", *LOST[:-1], "slowest answer, ms"],
        note=f"{world.sizes.rate} requests a second; a request that has no answer after 3 s is hung.",
    )
    for kind in KINDS:
        for graceful in world.sizes.handlers:
            for system in world.both:
                requests, done = under_reloads(world, system, kind, graceful)
                lost = requests.lost()
                table.add(
                    kind.title,
                    "yes" if graceful else "no",
                    system.name,
                    done,
                    f"{len(requests):,}",
                    f"**{sum(lost.values())}**",
                    *(lost.get(outcome, 0) for outcome in LOST[:-1]),
                    f"{requests.slowest_ms():.0f}",
                )
                world.tell(table.rows[-1])
    return table


def under_reloads(world, system, kind, graceful):
    """The requests, and how many reloads there were."""
    sizes = world.sizes
    count = sizes.reloads if system is world.hythe else sizes.pm2_reloads
    # A kept pace, so that all are disturbed equally often, with time to spare: a client that had to wait sends less than
    # its rate.
    pace = 1.25 * sizes.requests / sizes.rate / sizes.reloads
    app = App(world.new_folder(), "app", free_ports(1)[0], kind.delay, graceful)
    two_instances(system, app)
    with Load(world.client, app.port, sizes.rate, kind.connections, kind.keep) as load:
        begun = time.monotonic()
        for done in range(1, count + 1):
            system.reload(app)
            time.sleep(max(0, begun + done * pace - time.monotonic()))
    system.delete_all()
    return load.requests, count


def broken(world):
    table = Table(
        "A new version that exits at once",
        ["", "exit code of the reload", "its time, s", "requests since", "answered", "lost"],
        note=f"Two instances, 200 requests a second until {world.sizes.settle} s after the reload.",
    )
    for system in world.both:
        app = App(world.new_folder(), "app", free_ports(1)[0])
        two_instances(system, app)
        with Load(world.client, app.port, 200, 20, "no") as load:
            time.sleep(1)
            app.write(BROKEN)
            since = time.monotonic_ns()
            ran = system.reload(app, fine=None)
            time.sleep(world.sizes.settle)
        requests = load.requests.begun_from(since)
        lost = sum(requests.lost().values())
        table.add(system.name, ran.code, f"{ran.seconds:.1f}", len(requests), len(requests) - lost, lost)
        world.tell(table.rows[-1])
        system.delete_all()
    return table


def two_instances(system, app):
    system.start(app, instances=2)
    deadline = time.monotonic() + 15
    while len(app.journal.entries()) < 2:
        if time.monotonic() > deadline:
            raise RuntimeError(f"two instances of {app.script} do not listen after 15 s")
        time.sleep(0.05)
