"""What the scripts share: where the server is, and small helpers.

TORC_HOST, TORC_PORT and TORC_MEMCACHED_PORT say where; TORC_PROTOCOL is 2 or 3 (RESP).
"""

import os
import time

HOST = os.environ.get("TORC_HOST", "127.0.0.1")
PORT = int(os.environ.get("TORC_PORT", "6379"))
MEMCACHED_PORT = int(os.environ.get("TORC_MEMCACHED_PORT", "11211"))
PROTOCOL = int(os.environ.get("TORC_PROTOCOL", "2"))
# The longest wait for something that must happen, on a loaded machine.
DEADLINE_SECONDS = 20


def client(**options):
    """A redis-py client of the server under test."""
    import redis

    options.setdefault("protocol", PROTOCOL)
    options.setdefault("socket_timeout", DEADLINE_SECONDS)
    return redis.Redis(host=HOST, port=PORT, **options)


def fails(error, call, *args, text=None, **options):
    """Asserts that a call raises `error`, with `text` in its message."""
    try:
        result = call(*args, **options)
    except error as raised:
        assert text is None or text in str(raised), f"{raised!r} does not say {text!r}"
        return raised
    raise AssertionError(f"{call} gave {result!r} instead of {error}")


def until(check, what):
    """Waits until `check` gives something true."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        value = check()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {DEADLINE_SECONDS} s: {what}")
