"""A small client for many requests: HTTP/1.1 over connections that stay open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit


class Connection:
    """One connection to a service; a request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def post(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request; raise a RuntimeError unless its status is 200."""
        return json.loads(await self.send(path, json.dumps(content).encode()))

    async def send(self, path: str, body: bytes) -> bytes:
        """As `post`, of a body and an answer that are bytes."""
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answered = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = answered.partition(b"content-length:")[2].partition(b"\r\n")[0]
        answer = await self._reader.readexactly(int(length))
        if b" 200 " not in answered.partition(b"\r\n")[0]:
            raise RuntimeError(f"{path}: {answer.decode()}")
        return answer


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Connection]:
    """A connection to an address such as http://127.0.0.1:8000."""
    where = urlsplit(address)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()
