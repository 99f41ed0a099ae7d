"""One thread that draws for many requests at once, and writes them by one fsync."""

from __future__ import annotations

import asyncio
import logging
import queue
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from .model import Model
from .records import Records, by_request

MAX_BATCH = 64
MAX_WAITING = 1000
FAR = 1000  # features are near unit scale, and this is no standardised number of a million rows


class Refused(Exception):
    """A request that is not answered, and the HTTP status that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, eq=False)
class Ask:
    """Who asks, and the numbers of what may be shown; None for all."""

    context: list[float]
    eligible: list[int] | None
    answer: asyncio.Future


@dataclass(frozen=True, eq=False)
class Reward:
    """What came of a request."""

    request_id: str
    reward: float
    answer: asyncio.Future


class Draws:
    """Answers requests: those that wait are drawn for together, logged together, then answered.

    A request is answered only after its line is on the disk. While one batch is written the next
    one gathers, so the busier the service is, the fewer fsyncs it needs for each.
    """

    def __init__(self, model: Model, records: Records) -> None:
        self.model, self.records = model, records
        shown, rewards = by_request(records.known, records.path)
        self.rewards: dict[str, float | None] = {**dict.fromkeys(shown), **rewards}
        records.known.clear()
        self.counts = {"shown": 0, "reward": 0, "batches": 0, "far": 0}
        self.failed: str | None = None
        self._waiting: queue.SimpleQueue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    async def ask(self, kind: type, *arguments: Any) -> dict[str, Any]:
        """The answer to a request, when it is on the disk."""
        if self.failed:
            raise Refused(503, self.failed)
        if self._waiting.qsize() >= MAX_WAITING:
            raise Refused(503, "too many requests wait: ask again later")
        answer = asyncio.get_running_loop().create_future()
        self._waiting.put(kind(*arguments, answer))
        return await answer

    def close(self) -> None:
        """Answer what waits, then end."""
        self._waiting.put(None)
        self._thread.join(timeout=10)
        self.records.close()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, ended = [first], False
            while len(batch) < MAX_BATCH and not self._waiting.empty():
                batch.append(self._waiting.get())
            if batch[-1] is None:
                batch.pop()
                ended = True
            answers = self._answers(batch)
            loop = first.answer.get_loop()
            loop.call_soon_threadsafe(_resolve, batch, answers)
            if ended:
                return

    def _answers(self, batch: list[Ask | Reward]) -> list[Any]:
        """An answer or an error for each request, after what they say is on the disk."""
        if self.failed:
            return [Refused(503, self.failed)] * len(batch)
        asks = [each for each in batch if isinstance(each, Ask)]
        try:
            drawn = dict(zip(map(id, asks), self._draw(asks), strict=True))
            new: dict[str, float] = {}
            answers = [
                drawn[id(each)] if isinstance(each, Ask) else self._reward(each, new)
                for each in batch
            ]
        except Exception as error:  # of a model that cannot answer: the service lives on
            return [Refused(500, f"the policy failed: {error}")] * len(batch)
        rewards = [
            {"kind": "reward", "id": name, "time": time.time(), "reward": reward}
            for name, reward in new.items()
        ]
        try:
            self.records.append([*(record for record, _ in drawn.values()), *rewards])
        except (OSError, ValueError) as error:
            self.failed = f"the log cannot be written: {error}. Mend that and start again"
            return [Refused(503, self.failed)] * len(batch)
        self.rewards |= {record["id"]: None for record, _ in drawn.values()} | new
        for name, n in (("shown", len(asks)), ("reward", len(new)), ("batches", 1)):
            self.counts[name] += n
        return [answer[1] if isinstance(answer, tuple) else answer for answer in answers]

    def _draw(self, asks: list[Ask]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """What is shown to each, as a record and as an answer."""
        made: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
        for limited in (False, True):
            part = [each for each in asks if (each.eligible is not None) == limited]
            if part:
                made |= dict(zip(map(id, part), self._drawn(part, limited), strict=True))
        return [made[id(each)] for each in asks]

    def _drawn(self, asks: list[Ask], limited: bool) -> Any:
        policy, ids = self.model.policy, self.model.ids
        mask = None
        if limited:
            mask = np.zeros((len(asks), len(ids)), dtype=bool)
            for row, each in enumerate(asks):
                mask[row, each.eligible] = True
        context = np.array([each.context for each in asks], dtype=np.float32)
        self._count_far(context)
        drawn = policy.draw(context, self.model.items, eligible=mask)
        for row, each in enumerate(asks):
            answer = {
                "request_id": secrets.token_hex(8),
                "action": ids[drawn.action[row]],
                "pscore": float(drawn.pscore[row]),
                "policy": self.model.version,
            }
            record = {
                "kind": "shown",
                "id": answer["request_id"],
                "time": time.time(),
                "policy": answer["policy"],
                "context": each.context,
                "eligible": None if each.eligible is None else [ids[a] for a in each.eligible],
                "retrieved": [ids[a] for a in drawn.retrieved[row].tolist() if a >= 0],
                "action": answer["action"],
                "pscore": answer["pscore"],
            }
            yield record, answer

    def _count_far(self, context: np.ndarray) -> None:
        """Count visitors like no row of a log, and say so once."""
        largest = np.abs(context).max(axis=1, initial=0)
        if not largest.max() > FAR:
            return
        if not self.counts["far"]:
            row = int(largest.argmax())
            feature = int(np.abs(context[row]).argmax())
            logging.getLogger("serve").warning(
                "context.%d is %g, and features are near unit scale where a policy was learned: "
                "is it encoded as the log was? serve_far_total counts such requests.",
                *(feature, context[row, feature]),
            )
        self.counts["far"] += int((largest > FAR).sum())

    def _reward(self, each: Reward, new: dict[str, float]) -> Any:
        """The answer to a reward, which is added to the new ones unless it is known."""
        name, reward = each.request_id, each.reward
        if name not in self.rewards:
            return Refused(404, f"request_id {name!r} is not known: nothing was shown by it")
        before = new.get(name, self.rewards[name])
        if before is not None and before != reward:
            return Refused(409, f"request_id {name!r} has the reward {before} already")
        if before is None:
            new[name] = reward
        return {"request_id": name, "reward": reward}


def _resolve(batch: list[Ask | Reward], answers: list[Any]) -> None:
    for each, answer in zip(batch, answers, strict=True):
        if each.answer.done():  # whoever asked has gone
            continue
        if isinstance(answer, Exception):
            each.answer.set_exception(answer)
        else:
            each.answer.set_result(answer)
