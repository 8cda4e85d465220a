"""Says back what it hears; `bye` ends the connection with a code and a reason."""

import os

from websockets.sync.server import serve


def echo(connection):
    for message in connection:
        if message == "bye":
            connection.close(4001, "as you wish")
        else:
            connection.send(message)


with serve(echo, "127.0.0.1", int(os.environ["PORT"]), subprotocols=["echo.v1"], max_size=None) as server:
    server.serve_forever()
