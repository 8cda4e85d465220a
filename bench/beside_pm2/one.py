"""One app: how long its stop takes, how long a changed file takes to be served, and the death of the daemon."""

import os
import select
import signal
import time

from .apps import App, free_ports
from .client import Load
from .many import milliseconds
from .reloads import two_instances
from .systems import is_there
from .table import Table, spread


def stops(world):
    table = Table("Stop of one app that does not handle SIGINT, ms", ["", "until it has ended", "whole command"])
    apps = {}
    for system in world.both:
        apps[system.name] = App(world.new_folder(), "app", free_ports(1)[0])
        system.start(apps[system.name])
    ended, returned = {}, {}
    for _ in range(world.sizes.rounds // 3 or 1):
        for system in world.both:
            app = apps[system.name]
            app.journal.await_listening(app.port, 0)
            end, whole = stop_and_start(system, app)
            ended.setdefault(system.name, []).append(end)
            returned.setdefault(system.name, []).append(whole)
    for system in world.both:
        table.add(system.name, spread(ended[system.name]), spread(returned[system.name]))
        world.tell(table.rows[-1])
        system.delete_all()
    return table


def stop_and_start(system, app):
    process = os.pidfd_open(app.pid())
    begun = time.monotonic_ns()
    stopping = system.in_background("stop", app.name)
    watched = select.poll()
    watched.register(process, select.POLLIN)
    if not watched.poll(10_000):
        raise RuntimeError(f"{system.name} did not stop its app within 10 s")
    ended = milliseconds(begun, time.monotonic_ns())
    os.close(process)
    stopping.wait(timeout=30)
    returned = milliseconds(begun, time.monotonic_ns())

    since = time.monotonic_ns()
    system.start_again(app)
    app.journal.await_listening(app.port, since)
    return ended, returned


def watches(world):
    table = Table("A watched file changes, ms", ["", "until the app listens again"])
    apps = {}
    for system in world.both:
        apps[system.name] = App(world.new_folder(), "app", free_ports(1)[0])
        system.start(apps[system.name], watch=True)
        apps[system.name].journal.await_listening(apps[system.name].port, 0)
    took = {system.name: [] for system in world.both}
    for _ in range(world.sizes.rounds // 3 or 1):
        for system in world.both:
            # Both take a moment after a start before they watch, and one after a change before they see the next.
            time.sleep(2)
            app = apps[system.name]
            begun = time.monotonic_ns()
            app.write(app.text)
            _, listened = app.journal.await_listening(app.port, begun)
            took[system.name].append(milliseconds(begun, listened))
    for system in world.both:
        table.add(system.name, spread(took[system.name]))
        world.tell(table.rows[-1])
        system.delete_all()
    return table


def daemon_kills(world):
    table = Table(
        "SIGKILL to the daemon under load",
        ["", "kills", "requests lost", "of them refused", "no answer for, ms", "apps"],
        note="500 requests a second over 40 connections, half of them kept; two instances.",
    )
    for system in world.both:
        # Nobody starts PM2's daemon again, so there is only one to be killed.
        kills = world.sizes.kills if system is world.hythe else 1
        table.add(system.name, kills, *under_kills(world, system, kills))
        world.tell(table.rows[-1])
        system.delete_all()
    return table


def under_kills(world, system, kills):
    app = App(world.new_folder(), "app", free_ports(1)[0])
    two_instances(system, app)
    before = [pid for pid, _, _ in app.journal.entries()]
    times = []
    with Load(world.client, app.port, 500, 40, "half") as load:
        time.sleep(2)
        for _ in range(kills):
            daemon = next(iter(system.daemons().values()))
            times.append(time.monotonic_ns())
            os.kill(daemon, signal.SIGKILL)
            time.sleep(world.sizes.between_kills)
    lost = [request for request in load.requests.all if request.outcome != "ok"]
    refused = sum(request.outcome == "refused" for request in lost)
    ends = [time + int(world.sizes.between_kills * 1e9) for time in times]
    silences = [load.requests.silence_after(time, end) for time, end in zip(times, ends)]
    same = [pid for pid, _, _ in app.journal.entries()] == before and all(map(is_there, before))
    return (
        f"{len(lost)} ({len(lost) / kills:.1f} each)",
        refused,
        "for good" if None in silences else spread(silences),
        "the same processes" if same else "gone",
    )
