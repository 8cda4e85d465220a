"""grpc_client.py ADDRESS CASE...: a real client of the service beside this file; fails with what is not as it should be."""

import os
import queue
import signal
import sys
import threading

import grpc

# Seconds; far more than any call here needs.
PATIENCE = 800 if "HYTHE_LONG" in os.environ else 30
address, case, *arguments = sys.argv[1:]


def secure(address):
    """Over TLS, to whom `authority.pem` in the current folder vouches for as calls.test."""
    with open("authority.pem", "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    return grpc.secure_channel(address, credentials, [("grpc.ssl_target_name_override", "calls.test")])


if address.startswith("https://"):
    channel = secure(address.removeprefix("https://"))
else:
    channel = grpc.insecure_channel(address)


def unary(method, request=b"", timeout=PATIENCE):
    return channel.unary_unary("/walk.Calls/" + method)(request, timeout=timeout)


def down(count, size):
    request = b"%d %d" % (count, size)
    return channel.unary_stream("/walk.Calls/Down")(request, timeout=PATIENCE)


def up(messages):
    return channel.stream_unary("/walk.Calls/Up")(messages, timeout=PATIENCE)


def error_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call succeeded")


def equal(seen, wanted):
    assert seen == wanted, f"{seen!r} instead of {wanted!r}"


class Conversation:
    """A call that streams both ways, one message at a time."""

    def __init__(self, timeout=PATIENCE):
        self.requests = queue.SimpleQueue()
        call = channel.stream_stream("/walk.Calls/Both")
        self.answers = call(iter(self.requests.get, None), timeout=timeout)

    def say(self, word):
        """The process that answers, when the answer is to this word."""
        self.requests.put(word)
        pid, answer = next(self.answers).split(b" ", 1)
        equal(answer, word)
        return int(pid)

    def end(self):
        self.requests.put(None)
        equal(list(self.answers), [])
        equal(self.answers.code(), grpc.StatusCode.OK)


def case_shapes():
    equal(unary("Echo", b"hello"), b"hello")
    equal(unary("Echo", b""), b"")
    equal([len(message) for message in down(100, 1000)], [1000] * 100)
    equal(up(bytes(n) for n in range(100)), b"100 4950")
    conversation = Conversation()
    for number in range(100):
        conversation.say(b"%d" % number)
    conversation.end()


def case_error():
    error = error_of(lambda: unary("Fail"))
    equal(error.code(), grpc.StatusCode.FAILED_PRECONDITION)
    equal(error.details(), "keine Brötchen, 100 % sicher")
    trailers = dict(error.trailing_metadata())
    equal((trailers["reason"], trailers["details-bin"]), ("sold out", b"\x00\xff\x01"))


def case_unknown():
    error = error_of(lambda: channel.unary_unary("/walk.Nobody/Echo")(b"", timeout=PATIENCE))
    equal(error.code(), grpc.StatusCode.UNIMPLEMENTED)


def case_deadline():
    """The service learns that nobody waits any more."""
    error = error_of(lambda: unary("Wait", timeout=0.2))
    equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
    equal(unary("Ended"), b"ended")


def case_kill():
    """Of two processes one dies: its calls fail, those of the other go on, and new ones find the other."""
    conversations = {}
    for _ in range(10):
        one = Conversation()
        conversations.setdefault(one.say(b"who"), []).append(one)
    equal(len(conversations), 2)
    victim = min(conversations)
    os.kill(victim, signal.SIGKILL)
    for one in conversations.pop(victim):
        error = error_of(lambda one=one: next(one.answers))
        equal(error.code(), grpc.StatusCode.UNAVAILABLE)
    for _ in range(50):
        assert int(unary("Pid")) != victim
    for survivors in conversations.values():
        for one in survivors:
            one.say(b"still here")
            one.end()


def case_volume():
    """So many bytes as messages of 64 KiB, down and up."""
    count = int(arguments[0]) // 65536
    equal(sum(len(message) for message in down(count, 65536)), count * 65536)
    message = bytes(65536)
    equal(up(message for _ in range(count)), b"%d %d" % (count, count * 65536))


def case_load():
    """One conversation, and calls beside it, until the standard input ends; says how many there were."""
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    conversation = Conversation(timeout=None)
    count = 0
    while not over.wait(0.002):
        word = b"%d" % count
        conversation.say(word)
        equal(unary("Echo", word), word)
        count += 2
    conversation.end()
    assert count > 0, "there was no call"
    print(count)


globals()["case_" + case]()
