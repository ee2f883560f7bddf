"""A small application under the real server: `python -m tests.web.small_server`.

Prints the port it listens on when it is ready, and `finished` or `cut off` at the end.
"""

from __future__ import annotations

import asyncio
import os
import sys

from sebago.web.server import listen, serve_http
from sebago.web.threads import Streamed, Threads

MIB = 1 << 20


class Small:
    def __init__(self):
        self.threads = Threads()
        self.made = 0

    async def __call__(self, scope, receive, send):
        path = scope["path"]
        if path == "/stream":
            await Streamed(self.pieces(), self.threads, media_type="a/b", length=4096 * MIB)(
                scope, receive, send
            )
            return
        text = path
        if path == "/slow":
            await asyncio.sleep(1)
        elif path == "/made":
            text = str(self.made)
        elif path == "/body":
            text = await self.body(receive)
        elif path == "/pid":
            text = str(os.getpid())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})

    def pieces(self):
        piece = b"x" * MIB
        for _ in range(4096):
            self.made += 1
            yield piece

    async def body(self, receive):
        size = pieces = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return "gone"
            size += len(message["body"])
            pieces += 1
            if not message["more_body"]:
                return str(size)


def say(what):
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main():
    listener = listen("127.0.0.1", 0)
    done = serve_http(
        Small(),
        listener,
        ready=lambda: say(listener.getsockname()[1]),
        grace_s=float(sys.argv[1]),
        head_timeout_s=float(sys.argv[2]),
    )
    say("finished" if done else "cut off")
    os._exit(0)


if __name__ == "__main__":
    main()
