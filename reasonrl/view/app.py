"""The app behind ``reasonrl view``: its URLs, and what each of them returns."""

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from html import escape
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import Final

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from reasonrl import __version__
from reasonrl.errors import ConfigError, ReasonRLError
from reasonrl.plugins.lookup import Plugins
from reasonrl.system.jsonl import finite
from reasonrl.view import rollouts
from reasonrl.view.evals import Evaluations
from reasonrl.view.guard import REPORT_POLICY, Guard, new_token
from reasonrl.view.index import Progress, RolloutIndex
from reasonrl.view.lab import LabRequest, RewardLab
from reasonrl.view.overview import Overviews
from reasonrl.view.runs import NotFoundError, RunFolder
from reasonrl.view.search import Filters, facets, find
from reasonrl.web import STATIC

MAX_BODY: Final = 40 << 20
"""Bytes of the longest request."""

OWN: Final = files("reasonrl.view") / "static"
TYPES: Final = {"css": "text/css", "js": "text/javascript"}
PAGE: Final = "index.html"
"""The one page; the rest is served to it."""


class Json(Response):
    """JSON that holds any text: half of a surrogate pair is escaped as everything else beyond ASCII."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """Return the body."""
        return json.dumps(finite(content), allow_nan=False, separators=(",", ":")).encode()


class ViewApp:
    """Answers requests about the runs in a folder.

    Args:
        folder: the runs.
        plugins: where rewards of the lab come from.
    """

    def __init__(self, folder: RunFolder, plugins: Plugins) -> None:
        self.folder = folder
        self.token = new_token()
        """What requests to the lab must show; the page holds it."""
        self._overviews = Overviews(folder)
        self._evaluations = Evaluations(folder)
        self._lab = RewardLab(folder, plugins)
        self._static = _static_files()
        self._lock = Lock()
        self._indexes: dict[tuple[Path, str], RolloutIndex] = {}

    def close(self) -> None:
        """Leave nothing running."""
        self._lab.close()
        for index in self._indexes.values():
            index.close()

    # pages

    def page(self, _: Request) -> Response:
        """The page, with what makes it one of this server."""
        text = self._static[PAGE].decode()
        return HTMLResponse(text.replace("{{token}}", self.token).replace("{{version}}", escape(__version__)))

    def static(self, request: Request) -> Response:
        """A file of the page, by its name."""
        name = request.path_params["name"]
        if name not in self._static or name == PAGE:
            raise NotFoundError(f"there is no file {name!r}.")
        return Response(self._static[name], media_type=f"{TYPES[name.rpartition('.')[2]]}; charset=utf-8")

    def report(self, request: Request) -> Response:
        """The report of a run, where it has been written."""
        path = self.folder.open(request.path_params["run"]).path / "report.html"
        if not path.is_file():
            raise NotFoundError(f"there is no report of this run yet. Write it: reasonrl report {path.parent}")
        return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})

    # runs

    def runs(self, _: Request) -> Response:
        """The list of runs."""
        return Json({"folder": str(self.folder.root), "runs": self._overviews.runs()})

    def run(self, request: Request) -> Response:
        """A run; nothing where it is still as the page has it."""
        values = self._overviews.run(request.path_params["run"])
        is_known = request.query_params.get("unless") == values["version"]
        return Response(status_code=204) if is_known else Json(values)

    # rollouts

    def rollouts(self, request: Request) -> Response:
        """A page of the rollouts that pass filters."""
        given = dict(request.query_params)
        offset = _number(given.pop("offset", "0"), "offset")
        filters = Filters.parse(given)
        with self._index(request) as (_, db, progress):
            page = find(db, filters, offset)
            return Json(
                {
                    "rows": page.rows,
                    "total": page.total,
                    "is_capped": page.is_capped,
                    "offset": offset,
                    "index": {"done": progress.done, "total": progress.total, "errors": dict(progress.errors)},
                }
            )

    def facets(self, request: Request) -> Response:
        """What there is to filter by."""
        with self._index(request) as (_, db, _progress):
            return Json(facets(db))

    def rollout(self, request: Request) -> Response:
        """One rollout."""
        with self._index(request) as (index, db, _):
            return Json(rollouts.read(index, db, request.path_params["rollout"]))

    def group(self, request: Request) -> Response:
        """The group that a rollout belongs to."""
        with self._index(request) as (index, db, _):
            return Json(rollouts.read_group(index, db, request.path_params["rollout"]))

    def text(self, request: Request) -> Response:
        """A further part of a rollout's text."""
        given = request.query_params
        start, count = (_number(given.get(name, "0"), name) for name in ("start", "count"))
        field = given.get("field", "completion")
        with self._index(request) as (index, db, _):
            return Json(rollouts.read_piece(index, db, request.path_params["rollout"], field, start, count))

    # evaluations

    def samples(self, request: Request) -> Response:
        """Completions of one measurement."""
        path = request.path_params
        return Json(self._evaluations.samples(path["run"], path["step"], path["suite"], request.query_params))

    def pair(self, request: Request) -> Response:
        """Two measurements, paired by problem."""
        given = request.query_params
        return Json(self._evaluations.pair(*_pair_of(given), given))

    def pair_problem(self, request: Request) -> Response:
        """What both answered to one problem."""
        given = request.query_params
        return Json(self._evaluations.problem(*_pair_of(given), given.get("problem", "")))

    # reward lab

    def lab_rewards(self, request: Request) -> Response:
        """The rewards that can be asked."""
        return Json(self._lab.offered(request.query_params.get("run")))

    async def lab(self, request: Request) -> Response:
        """What rewards say of completions."""
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise HTTPException(413, "the texts are too long.")
        try:
            asked = LabRequest.model_validate_json(bytes(body))
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        return Json(await run_in_threadpool(self._lab.score, asked))

    @contextmanager
    def _index(self, request: Request) -> Iterator[tuple[RolloutIndex, sqlite3.Connection, Progress]]:
        """Return the index of a run as its directory is now."""
        key = self.folder.rollouts_of(request.path_params["run"])
        with self._lock:
            if key not in self._indexes:
                self._indexes[key] = RolloutIndex(*key)
            index = self._indexes[key]
        progress = index.update()
        with index.connection() as db:
            yield index, db, progress


def build_app(view: ViewApp) -> Starlette:
    """Return the app as a server runs it; it closes the view when it ends."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(view.close)

    one = "/api/runs/{run}"
    routes = {
        "/": view.page,
        "/static/{name}": view.static,
        "/report/{run}": view.report,
        "/api/runs": view.runs,
        one: view.run,
        f"{one}/rollouts": view.rollouts,
        f"{one}/facets": view.facets,
        f"{one}/rollouts/{{rollout:int}}": view.rollout,
        f"{one}/groups/{{rollout:int}}": view.group,
        f"{one}/texts/{{rollout:int}}": view.text,
        f"{one}/evals/{{step:int}}/{{suite}}": view.samples,
        "/api/pair": view.pair,
        "/api/pair/problem": view.pair_problem,
        "/api/lab/rewards": view.lab_rewards,
    }
    app = Starlette(
        routes=[
            *(Route(path, endpoint, methods=["GET"]) for path, endpoint in routes.items()),
            Route("/api/lab", view.lab, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, token=view.token)],
        exception_handlers={ReasonRLError: _refused, HTTPException: _http_error},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # an address that is not one of these is none
    return app


def _refused(_: Request, error: Exception) -> Response:
    """Return an error of ours: 404 for what is not there, 400 for what was asked wrongly, 422 for what is damaged."""
    status = 404 if isinstance(error, NotFoundError) else 400 if isinstance(error, ConfigError) else 422
    return Json({"error": str(error)}, status)


def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "the handler is registered for it"
    return Json({"error": error.detail}, error.status_code)


def _pair_of(given: Mapping[str, str]) -> tuple[str, str, str]:
    if missing := [name for name in ("a", "b", "suite") if not given.get(name)]:
        raise ConfigError(f"{missing[0]}: is needed to compare two measurements.")
    return given["a"], given["b"], given["suite"]


def _number(text: str, name: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"{name}: {text!r} is no number of rows.")
    return int(text)


def _static_files() -> dict[str, bytes]:
    """Return the files of the page by name: its own, and those that all pages share."""
    return {
        file.name: file.read_bytes()
        for folder in (STATIC, OWN)
        for file in folder.iterdir()
        if file.name == PAGE or file.name.rpartition(".")[2] in TYPES
    }
