"""A streaming application on uvicorn, as people write it: its port is the last argument."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import recordings  # noqa: E402


async def who(request: Request) -> Response:
    """Says which connection the request came on."""
    assert request.client is not None
    return JSONResponse({"port": request.client.port})


async def replay(request: Request) -> Response:
    """A recorded stream, in chunks of so many bytes that have nothing to do with its events."""
    body = recordings.load(request.query_params["recording"]).body
    size = int(request.query_params["size"])

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    return StreamingResponse(chunks(), media_type="text/event-stream")


async def chat(request: Request) -> Response:
    """A short chat completion that names its connection."""
    await request.json()
    assert request.client is not None
    content = f'data: {{"choices":[{{"index":0,"delta":{{"content":"{request.client.port}"}},"finish_reason":"stop"}}]}}'

    async def chunks() -> AsyncIterator[bytes]:
        yield content.encode()
        yield b"\n\ndata: [DONE]\n\n"

    return StreamingResponse(chunks(), media_type="text/event-stream")


app = Starlette(
    routes=[
        Route("/who", who),
        Route("/replay", replay),
        Route("/v1/chat/completions", chat, methods=["POST"]),
    ]
)

if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[-1]),
        timeout_keep_alive=int(os.environ["KEEP_ALIVE_SECONDS"]),
        log_level="warning",
    )
