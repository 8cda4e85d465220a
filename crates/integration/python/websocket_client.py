"""websocket_client.py ADDRESS: a real client of the service beside this file."""

import os
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


def equal(seen, wanted):
    assert seen == wanted, f"{seen!r:.100} instead of {wanted!r:.100}"


with connect(f"ws://{sys.argv[1]}/echo", subprotocols=["echo.v1"], max_size=None) as connection:
    equal(connection.subprotocol, "echo.v1")
    large = os.urandom(3_000_000)
    for message in ["", "grüß dich", b"\x00\xff", large]:
        connection.send(message)
        equal(connection.recv(timeout=30), message)
    assert connection.ping().wait(30), "no pong"
    connection.send("bye")
    try:
        connection.recv(timeout=30)
        raise AssertionError("still open")
    except ConnectionClosed as end:
        equal((end.rcvd.code, end.rcvd.reason), (4001, "as you wish"))
