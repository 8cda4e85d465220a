"""Many apps: what the daemon needs, how long they take to start, to be listed, and to come back after a crash."""

import os
import signal
import socket
import subprocess
import time

from .apps import App, fleet, free_ports
from .systems import memory
from .table import Table, ratio, spread

FEW = 10


def starts(world):
    size = world.sizes.apps
    table = Table(
        f"{size} HTTP apps from one ecosystem file",
        ["", "until the last one listens, ms", "of bare node", "until the command returns, ms"],
        note="Bare node: as many `node app.js`, all started at once.",
    )
    last, returned = {}, {}
    fleets = {name: fleet(world.new_folder(), name, size) for name in ("bare node", "hythe", "PM2")}
    for _ in range(world.sizes.starts):
        for name, start in (("bare node", start_bare), ("hythe", start_file), ("PM2", start_file)):
            took = start(world, name, *fleets[name])
            last.setdefault(name, []).append(took[0])
            returned.setdefault(name, []).append(took[1])
            world.tell([name, *took])
    for name in fleets:
        command = "-" if name == "bare node" else spread(returned[name], 0)
        table.add(name, spread(last[name], 0), ratio(last[name], last["bare node"]), command)
    return table


def start_bare(world, _, apps, __):
    begun = time.monotonic_ns()
    processes = [subprocess.Popen(["node", str(app.script)]) for app in apps]
    listening = apps[0].journal.await_all([app.port for app in apps], begun)
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()
    return milliseconds(begun, max(at for _, at in listening.values())), 0


def start_file(world, name, apps, file):
    system = world.named(name)
    begun = time.monotonic_ns()
    ran = system.start_file(file)
    listening = apps[0].journal.await_all([app.port for app in apps], begun)
    system.delete_all()
    return milliseconds(begun, max(at for _, at in listening.values())), ran.seconds * 1000


def many(world):
    """Three tables of the same apps: they are started once."""
    daemons = Table(
        "Memory of the daemon, MB",
        ["idle HTTP apps", "", "RSS", "PSS", "USS"],
        note="hythe is two processes, server and minder; what they share counts twice in the sum of RSS.",
    )
    for system in world.both:
        system.delete_all()
    apps = {}
    for size in (0, FEW, world.sizes.apps):
        for system in world.both:
            system.delete_all()
            if size:
                apps[system.name], file = fleet(world.new_folder(), system.name, size)
                system.start_file(file)
        time.sleep(world.sizes.settle)
        for system in world.both:
            tell_memory(daemons, size, system)
            world.tell(daemons.rows[-1])
    results = [daemons, listings(world), crashes(world, apps)]
    for system in world.both:
        system.delete_all()
    return results


def tell_memory(table, size, system):
    used = {name: memory(pid) for name, pid in system.daemons().items()}
    for name, sizes in used.items():
        table.add(size, f"{system.name}, {name}", *(f"{sizes[kind]:.1f}" for kind in ("RSS", "PSS", "USS")))
    if len(used) > 1:
        sums = (sum(sizes[kind] for sizes in used.values()) for kind in ("RSS", "PSS", "USS"))
        table.add(size, f"{system.name}, sum", *(f"{total:.1f}" for total in sums))


def listings(world):
    table = Table(f"`ls` of {world.sizes.apps} apps, ms", ["", "whole command"])
    took = {system.name: [] for system in world.both}
    for _ in range(world.sizes.rounds):
        for system in world.both:
            took[system.name].append(system.ls().seconds * 1000)
    for system in world.both:
        table.add(system.name, spread(took[system.name]))
        world.tell(table.rows[-1])
    return table


def crashes(world, apps):
    table = Table(
        "SIGKILL to an app, ms",
        ["", "until it listens again", "beyond bare node", "until it answers"],
        note="Each time another of the apps, so no back-off counts. Bare node: from its start.",
    )
    bare = App(world.new_folder(), "bare", free_ports(1)[0])
    listening, answering = {}, {}
    for place in range(min(world.sizes.rounds, world.sizes.apps)):
        for name in ("bare node", "hythe", "PM2"):
            app = apps[name][place] if name in apps else bare
            again, answered = until_back(app, name in apps)
            listening.setdefault(name, []).append(again)
            answering.setdefault(name, []).append(answered)
    for name, times in listening.items():
        beyond = [time - bare for time, bare in zip(times, listening["bare node"])]
        table.add(name, spread(times), "-" if name not in apps else spread(beyond), spread(answering[name]))
        world.tell(table.rows[-1])
    return table


def until_back(app, is_kept):
    pid = app.pid() if is_kept else None
    begun = time.monotonic_ns()
    if is_kept:
        os.kill(pid, signal.SIGKILL)
    else:
        process = subprocess.Popen(["node", str(app.script)])
    await_answer(app.port)
    answered = time.monotonic_ns()
    _, listened = app.journal.await_listening(app.port, begun)
    if not is_kept:
        process.kill()
        process.wait()
    return milliseconds(begun, listened), milliseconds(begun, answered)


def await_answer(port, patience=15):
    """Asks again and again, because nobody may listen there yet."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
                connection.sendall(b"GET /1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                if connection.recv(12) == b"HTTP/1.1 200":
                    return
        except OSError:
            pass
        time.sleep(0.002)
    raise RuntimeError(f"port {port} does not answer within {patience} s")


def milliseconds(begin, end):
    return (end - begin) / 1e6
