"""The floor: what Flask, gunicorn's threads and psycopg2 cost with nothing on top.

One connection for each thread, statements by hand, JSON made by PostgreSQL, no token, no
validation, no logs: nobody would run this, and nothing on this stack can be quicker.
"""

from __future__ import annotations

import os
import threading

import psycopg2
from flask import Flask, Response, request
from uuid_utils.compat import uuid7

app = Flask(__name__)
local = threading.local()

FIELDS = """
    id, user_id, title, description, completed_at IS NOT NULL AS completed, completed_at,
    "order", created_at, updated_at, version
"""


def answer(statement: str, *values: object, status: int = 200) -> Response:
    if not hasattr(local, "cursor"):
        connection = psycopg2.connect(os.environ["FLOOR_DATABASE_URL"])
        connection.autocommit = True
        local.cursor = connection.cursor()
    local.cursor.execute(statement, values)
    [body] = local.cursor.fetchone()
    return Response(body, status, mimetype="application/json")


@app.get("/health")
@app.get("/health/live")
def get_liveness() -> Response:
    return Response("{}", mimetype="application/json")


@app.get("/tasks")
def list_tasks() -> Response:
    return answer(
        f"""
        SELECT json_build_object('tasks', coalesce(json_agg(t), '[]'))::text
          FROM (SELECT {FIELDS} FROM floor_tasks
                 WHERE user_id = %s ORDER BY id DESC LIMIT %s) AS t
        """,
        request.headers["X-User"],
        request.args["limit"],
    )


@app.get("/tasks/<task_id>")
def get_task(task_id: str) -> Response:
    return answer(
        f"""
        SELECT row_to_json(t)::text
          FROM (SELECT {FIELDS} FROM floor_tasks WHERE user_id = %s AND id = %s) AS t
        """,
        request.headers["X-User"],
        task_id,
    )


@app.post("/tasks")
def create_task() -> Response:
    body = request.get_json()
    return answer(
        f"""
        WITH t AS (INSERT INTO floor_tasks (user_id, id, title, description, version)
                   VALUES (%s, %s, %s, %s, 1) RETURNING {FIELDS})
        SELECT row_to_json(t)::text FROM t
        """,
        request.headers["X-User"],
        str(uuid7()),
        body["title"],
        body["description"],
        status=201,
    )


@app.patch("/tasks/<task_id>/complete")
def complete_task(task_id: str) -> Response:
    return answer(
        f"""
        WITH t AS (UPDATE floor_tasks SET version = version + 1, updated_at = now(),
                     completed_at = CASE WHEN completed_at IS NULL THEN now() END
                   WHERE user_id = %s AND id = %s RETURNING {FIELDS})
        SELECT row_to_json(t)::text FROM t
        """,
        request.headers["X-User"],
        task_id,
    )
