"""The service over HTTP: what it is asked is checked, and every refusal says why."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from typing import Annotated, Any

import torch
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from . import draws
from .model import Model
from .records import Records

MAX_BYTES = 4_000_000
Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]


class Ask(BaseModel):
    """A visitor's features, and the ids of what may be shown; all items if they are not given."""

    model_config = ConfigDict(extra="forbid", strict=True)
    context: list[Finite]
    eligible: Annotated[list[str], Field(min_length=1)] | None = None


class Reward(BaseModel):
    """What came of a request."""

    model_config = ConfigDict(extra="forbid", strict=True)
    request_id: Annotated[str, Field(max_length=64)]
    reward: Finite


def make_app(model: Model, records: Records) -> FastAPI:
    """The service of a model, which appends to a log."""
    torch.set_num_threads(1)
    service = draws.Draws(model, records)
    number_of = {name: number for number, name in enumerate(model.ids)}
    measured = Measured()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI):
        yield
        service.close()

    app = FastAPI(title="opl_lib: a policy that is served", lifespan=lifespan)
    app.state.service = service

    @app.post("/recommend")
    async def recommend(ask: Ask) -> Response:
        if len(ask.context) != model.width:
            raise draws.Refused(
                422, f"context has {len(ask.context)} features, and must have {model.width}"
            )
        eligible = None
        if ask.eligible is not None:
            unknown = next((name for name in ask.eligible if name not in number_of), None)
            if unknown is not None:
                raise draws.Refused(422, f"eligible: there is no item {unknown!r}")
            eligible = sorted({number_of[name] for name in ask.eligible})
        return _json(await service.ask(draws.Ask, ask.context, eligible))

    @app.post("/reward")
    async def reward(reward: Reward) -> Response:
        return _json(await service.ask(draws.Reward, reward.request_id, reward.reward))

    @app.get("/health")
    async def health() -> Response:
        about = {"policy": model.version, "items": len(model.ids)}
        if service.failed:
            return _json({"status": service.failed, **about}, 503)
        return _json({"status": "ok", **about})

    @app.get("/metrics")
    async def metrics() -> PlainTextResponse:
        lines = [f"serve_{name}_total {n}" for name, n in service.counts.items()]
        answers = sorted(measured.statuses.items())
        lines += [f'serve_answers_total{{status="{s}"}} {n}' for s, n in answers]
        lines += [f"serve_seconds_total {measured.seconds:.6f}"]
        return PlainTextResponse("\n".join(lines) + "\n")

    app.exception_handler(draws.Refused)(_refused)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_http)
    app.add_middleware(measured.around)
    return app


class Measured:
    """Counts answers and their seconds, and refuses bodies that are too long to be read."""

    def __init__(self) -> None:
        self.statuses: Counter = Counter()
        self.seconds = 0.0

    def around(self, app: Any) -> Any:
        """The same app, measured."""

        async def measured(scope: dict, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return

            async def counted(message: dict) -> None:
                if message["type"] == "http.response.start":
                    self.statuses[message["status"]] += 1
                await send(message)

            start = time.perf_counter()
            await (_too_long(scope) or app)(scope, receive, counted)
            self.seconds += time.perf_counter() - start

        return measured


def _too_long(scope: dict) -> Response | None:
    """The refusal of a body that does not say how long it is, or is too long."""
    length = dict(scope["headers"]).get(b"content-length", b"")
    if scope["method"] == "POST" and not length.isdigit():
        return _json({"error": "say how long the body is: Content-Length"}, 411)
    if length and int(length) > MAX_BYTES:
        return _json({"error": f"the body is longer than {MAX_BYTES} bytes"}, 413)
    return None


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(content), status, media_type="application/json")


async def _refused(request: Request, error: draws.Refused) -> Response:
    return _json({"error": str(error)}, error.status)


async def _http(request: Request, error: HTTPException) -> Response:
    return _json({"error": str(error.detail)}, error.status_code)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return _json({"error": f"{place or 'body'}: {first['msg']}"}, 422)
