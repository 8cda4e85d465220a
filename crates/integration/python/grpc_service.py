"""Calls of every shape over bytes, so that nothing has to be generated from a description.

  Echo   unary: the same bytes          Pid   unary: the process that answers
  Down   server stream: "COUNT SIZE"    Up    client stream: "COUNT BYTES"
  Both   each message, as it comes      Fail  an error with a message and details in trailers
  Wait   never answers; Ended says how many such calls have come to an end
"""

import os
import threading
from concurrent import futures

import grpc

ended = threading.Semaphore(0)


def down(request, _context):
    count, size = map(int, request.split())
    message = bytes(size)
    for _ in range(count):
        yield message


def up(requests, _context):
    count = size = 0
    for request in requests:
        count += 1
        size += len(request)
    return b"%d %d" % (count, size)


def both(requests, _context):
    for request in requests:
        yield b"%d %s" % (os.getpid(), request)


def fail(_request, context):
    context.set_trailing_metadata((("reason", "sold out"), ("details-bin", b"\x00\xff\x01")))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "keine Brötchen, 100 % sicher")


def wait(_request, context):
    over = threading.Event()
    context.add_callback(over.set)
    over.wait()
    ended.release()
    return b""


def await_ended(_request, _context):
    ended.acquire()
    return b"ended"


UNARY = grpc.unary_unary_rpc_method_handler
METHODS = {
    "Echo": UNARY(lambda request, _context: request),
    "Pid": UNARY(lambda _request, _context: b"%d" % os.getpid()),
    "Down": grpc.unary_stream_rpc_method_handler(down),
    "Up": grpc.stream_unary_rpc_method_handler(up),
    "Both": grpc.stream_stream_rpc_method_handler(both),
    "Fail": UNARY(fail),
    "Wait": UNARY(wait),
    "Ended": UNARY(await_ended),
}

server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("walk.Calls", METHODS),))
address = "127.0.0.1:" + os.environ["PORT"]
if os.environ.get("CERTIFICATE"):
    with open(os.environ["CERTIFICATE"] + ".pem", "rb") as chain, open(os.environ["CERTIFICATE"] + ".key", "rb") as key:
        pair = (key.read(), chain.read())
    server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
else:
    server.add_insecure_port(address)
server.start()
server.wait_for_termination()
