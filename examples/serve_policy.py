"""Serves a trained policy over HTTP with Ray Serve: each session is an episode of its own.

    pip install 'ray[serve]'
    python examples/serve_policy.py CHECKPOINT

    curl localhost:8000/sessions/anna -d '{"observation": [0, 0, 0, 0]}'      {"action": 2}
    curl localhost:8000/sessions/anna -d '{"observation": [0, 0, 0, 1], "reward": 0.5}'
    curl localhost:8000/sessions/anna -X DELETE

CHECKPOINT is whatever `rllib_elmur.load_policy` takes. A session begins with its first observation.
The memories of all sessions are rows of one policy in one replica, which the sessions take turns
in; the row of a session that has ended goes to the next one that begins.
"""

import argparse
import json
from typing import Any

import torch
from fastapi import FastAPI, HTTPException, Response
from pydantic import BaseModel
from ray import serve

import rllib_elmur

app = FastAPI()


class Step(BaseModel):
    """What the environment of a session returned, and the reward if the policy reads it."""

    observation: Any
    reward: float | None = None


@serve.deployment
@serve.ingress(app)
class Sessions:
    """The sessions of one policy."""

    def __init__(self, checkpoint: str):
        torch.set_num_threads(1)  # matrices are small: threads would wait for each other
        self._policy = rllib_elmur.load_policy(checkpoint)
        self._rows: dict[str, int] = {}
        self._free: list[int] = []

    # Asynchronous, so that one act ends before the next begins.
    @app.post("/sessions/{session}")
    async def act(self, session: str, step: Step) -> Response:
        """Lets a session go on by a step, and begins it if it is new."""
        row = self._rows.get(session)
        is_new = row is None
        if is_new:
            row = self._free.pop() if self._free else len(self._rows)
        try:
            action = self._policy.act(step.observation, step.reward, rows=[row])
        except ValueError as error:
            if is_new:
                self._free.append(row)
            raise HTTPException(status_code=422, detail=str(error)) from error
        self._rows[session] = row
        return Response(json.dumps({"action": action}, default=lambda part: part.tolist()))

    @app.delete("/sessions/{session}")
    async def end(self, session: str) -> None:
        """Ends a session."""
        row = self._rows.pop(session, None)
        if row is None:
            raise HTTPException(status_code=404, detail=f"There is no session {session!r}.")
        self._policy.reset([row])
        self._free.append(row)

    @app.get("/sessions")
    async def sessions(self) -> dict[str, int]:
        """Returns the row of each session."""
        return self._rows


def main() -> None:
    """Serves until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    serve.start(http_options={"port": arguments.port})
    serve.run(Sessions.bind(arguments.checkpoint), blocking=True)


if __name__ == "__main__":
    main()
