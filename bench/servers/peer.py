"""The peer: contract C on FastAPI, SQLModel and asyncpg, in the best style of that stack.

The same routes, fields, validation, indexes and pool as the service; of what the service has
beyond it (row-level security, sessions that can be revoked, request ids, logs) nothing.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import jwt
from fastapi import Depends, FastAPI, HTTPException, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import Column, DateTime, Index
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlmodel import Field as Mapped
from sqlmodel import SQLModel, select
from sqlmodel.ext.asyncio.session import AsyncSession
from uuid_utils.compat import uuid7

SECRET = os.environ["SECRET"]

engine = create_async_engine(
    os.environ["PEER_DATABASE_URL"], pool_size=int(os.environ["POOL_SIZE"]), max_overflow=0
)
new_session = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)
app = FastAPI()
bearer = HTTPBearer()
passwords = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19456, parallelism=1),))
DUMMY_HASH = passwords.hash("nobody's")

Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Description = Annotated[str, StringConstraints(max_length=2000)]
Order = Annotated[int, Field(ge=-(2**31), lt=2**31)]


def now() -> datetime:
    return datetime.now(UTC)


class Task(SQLModel, table=True):
    __tablename__ = "peer_tasks"
    __table_args__ = (Index("ix_peer_tasks_user_id_id", "user_id", "id"),)

    id: UUID = Mapped(default_factory=uuid7, primary_key=True)
    user_id: str = Mapped(max_length=255)
    title: str = Mapped(max_length=500)
    description: str | None = Mapped(default=None, max_length=2000)
    completed_at: datetime | None = Mapped(default=None, sa_column=Column(DateTime(timezone=True)))
    order: int = 0
    created_at: datetime = Mapped(
        default_factory=now, sa_column=Column(DateTime(timezone=True), nullable=False)
    )
    updated_at: datetime = Mapped(
        default_factory=now, sa_column=Column(DateTime(timezone=True), nullable=False)
    )
    version: int = 1

    @property
    def completed(self) -> bool:
        return self.completed_at is not None


class User(SQLModel, table=True):
    __tablename__ = "peer_users"

    id: str = Mapped(primary_key=True)
    email: str
    password_hash: str


class Credentials(BaseModel):
    email: str
    password: str


class Token(BaseModel):
    access_token: str
    token_type: str = "bearer"


class TaskInput(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: Title
    description: Description | None = None
    completed: bool = False
    order: Order = 0


class TaskPatch(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: Title | None = None
    description: Description | None = None
    completed: bool | None = None
    order: Order | None = None


class TaskOutput(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    user_id: str
    title: str
    description: str | None
    completed: bool
    completed_at: datetime | None
    order: int
    created_at: datetime
    updated_at: datetime
    version: int


class TaskPage(BaseModel):
    tasks: list[TaskOutput]
    next_cursor: UUID | None


async def get_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


async def get_user_id(
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)],
) -> str:
    try:
        claims = jwt.decode(credentials.credentials, SECRET, algorithms=["HS256"])
    except jwt.PyJWTError:
        raise HTTPException(401, "The token is not valid.") from None
    return str(claims["sub"])


Session = Annotated[AsyncSession, Depends(get_session)]
UserId = Annotated[str, Depends(get_user_id)]


async def get_own(session: AsyncSession, user_id: str, task_id: UUID) -> Task:
    statement = select(Task).where(Task.id == task_id, Task.user_id == user_id)
    task = (await session.exec(statement)).one_or_none()
    if task is None:
        raise HTTPException(404, "You have no task with this id.")
    return task


async def change(session: AsyncSession, task: Task, values: dict[str, Any]) -> Task:
    if "completed" in values:
        completed = values.pop("completed")
        task.completed_at = (task.completed_at or now()) if completed else None
    for name, value in values.items():
        setattr(task, name, value)
    task.updated_at = now()
    task.version += 1
    session.add(task)
    await session.commit()
    return task


@app.get("/health/live")
async def get_liveness() -> dict[str, str]:
    return {"status": "alive"}


@app.get("/health")
async def get_health(session: Session) -> dict[str, str]:
    await session.exec(select(1))
    return {"status": "healthy"}


@app.post("/auth/login")
async def log_in(session: Session, body: Credentials) -> Token:
    user = (await session.exec(select(User).where(User.email == body.email))).one_or_none()
    known_hash = user.password_hash if user else DUMMY_HASH
    matches = await run_in_threadpool(passwords.verify, body.password, known_hash)
    if user is None or not matches:
        raise HTTPException(401, "The e-mail address and the password do not belong together.")
    claims = {"sub": user.id, "exp": now() + timedelta(minutes=15)}
    return Token(access_token=jwt.encode(claims, SECRET, "HS256"))


@app.get("/tasks", response_model=TaskPage)
async def list_tasks(
    session: Session,
    user_id: UserId,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: UUID | None = None,
) -> Any:
    statement = select(Task).where(Task.user_id == user_id)
    if cursor is not None:
        statement = statement.where(Task.id < cursor)
    tasks = (await session.exec(statement.order_by(Task.id.desc()).limit(limit + 1))).all()
    return {"tasks": tasks[:limit], "next_cursor": tasks[limit - 1].id if tasks[limit:] else None}


@app.get("/api/{owner}/tasks", response_model=list[TaskOutput])
async def list_all_tasks(session: Session, user_id: UserId, owner: str) -> Any:
    if owner != user_id:
        raise HTTPException(403, "The URL names another user.")
    statement = select(Task).where(Task.user_id == user_id).order_by(Task.id.desc())
    return (await session.exec(statement)).all()


@app.post("/tasks", response_model=TaskOutput, status_code=201)
async def create_task(session: Session, user_id: UserId, body: TaskInput) -> Any:
    values = body.model_dump()
    completed_at = now() if values.pop("completed") else None
    task = Task(user_id=user_id, completed_at=completed_at, **values)
    session.add(task)
    await session.commit()
    return task


@app.get("/tasks/{task_id}", response_model=TaskOutput)
async def get_task(session: Session, user_id: UserId, task_id: UUID) -> Any:
    return await get_own(session, user_id, task_id)


@app.patch("/tasks/{task_id}", response_model=TaskOutput)
async def patch_task(session: Session, user_id: UserId, task_id: UUID, body: TaskPatch) -> Any:
    task = await get_own(session, user_id, task_id)
    return await change(session, task, body.model_dump(exclude_unset=True))


@app.patch("/tasks/{task_id}/complete", response_model=TaskOutput)
async def complete_task(session: Session, user_id: UserId, task_id: UUID) -> Any:
    task = await get_own(session, user_id, task_id)
    return await change(session, task, {"completed": not task.completed})


@app.delete("/tasks/{task_id}", status_code=204)
async def delete_task(session: Session, user_id: UserId, task_id: UUID) -> Response:
    await session.delete(await get_own(session, user_id, task_id))
    await session.commit()
    return Response(status_code=204)
