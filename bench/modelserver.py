"""A server that speaks the Messages API and answers every question after a set time; `python -m bench.modelserver 50`.

It runs in a process of its own, so that it shares no interpreter with the workers, and prints its port.
"""

from __future__ import annotations

import asyncio
import json
import sys


def _event(kind: str, **data: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


USAGE = {"input_tokens": 100, "output_tokens": 10}
OVERVIEW = json.dumps({"summary": "A bench.", "stack": [], "layout": "", "conventions": ""})
NOTHING = json.dumps({"findings": []})


def answer(text: str) -> bytes:
    """A whole answer as an event stream."""
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5",
        "content": [],
    }
    return b"".join(
        [
            _event(
                "message_start",
                message={**message, "stop_reason": None, "stop_sequence": None, "usage": USAGE},
            ),
            _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text}),
            _event("content_block_stop", index=0),
            _event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=USAGE),
            _event("message_stop"),
        ]
    )


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Answer the requests of one connection."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        sizes = [
            line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        ]
        body = await reader.readexactly(int(sizes[0])) if sizes else b""
        if head.startswith(b"GET"):
            sent, kind = (
                b'{"data": [], "has_more": false, "first_id": null, "last_id": null}',
                b"application/json",
            )
        else:
            await asyncio.sleep(seconds)
            sent, kind = (
                answer(OVERVIEW if b"You describe a repository" in body else NOTHING),
                b"text/event-stream",
            )
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: " + kind + b"\r\ncontent-length: %d\r\n\r\n" % len(sent) + sent
        )
        await writer.drain()


async def main(seconds: float) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer, seconds)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) / 1000))
