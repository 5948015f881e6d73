"""The status API over HTTP: lists, one upload, live events, storage, signed URLs."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.servers import running, serving
from tests.status.site import ADMIN, KIM, LEE, SECRET, Api, bearer
from tests.tus import OCTETS, VERSION, Tus
from tests.wire import Answer
from tusserver import create_app
from tusserver.compose import TusApp
from tusserver.settings import SettingsError

SIGNING = b"another secret of thirty-two bytes at the least"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """For users with tokens."""
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "signing").write_bytes(SIGNING)
    with serving(
        tmp_path / "up",
        jwt_secret_file=tmp_path / "secret",
        jwt_admin_claim="roles",
        signing_secret_file=tmp_path / "signing",
        allow_preset="hpc",
        max_size="1MiB",
        fan_out=1,
        quota_size="1MiB",
    ) as tus:
        yield Api(tus)


@pytest.fixture
def open_api(tmp_path: Path) -> Iterator[Api]:
    """For everybody."""
    with serving(tmp_path / "up", api="on") as tus:
        yield Api(tus)


def made(
    api: Api, name: str, user: dict[str, str] = KIM, *, length: int = 10, data: bytes = b"hello"
) -> str:
    """The id of an upload with these bytes."""
    metadata = f"filename {b64encode(name.encode()).decode()}"
    answer = api.tus.post(
        {**user, **OCTETS, "Upload-Length": str(length), "Upload-Metadata": metadata}, data
    )
    assert answer.status == 201, answer
    return api.tus.location(answer).removeprefix("/files/")


def ids(answer: dict[str, list[dict[str, str]]]) -> list[str]:
    return [each["id"] for each in answer["uploads"]]


def refused(answer: Answer) -> tuple[int, str]:
    said = json.loads(answer.body)
    assert sorted(said) == ["code", "message"]
    return answer.status, said["code"]


def test_an_upload_is_told_as_it_stands(api: Api) -> None:
    upload_id = made(api, "시료 3.h5")
    told = api.json(f"uploads/{upload_id}", KIM)
    expected = {
        "id": upload_id, "url": f"/files/{upload_id}", "filename": "시료 3.h5", "length": 10,
        "offset": 5, "percent": 50.0, "state": "uploading", "owner": "kim", "place": None,
        "digests": {}, "scan": None, "refusal": None, "finish": None, "rate": None,
        "destination": None, "concat": None, "metadata": {"filename": "시료 3.h5"},
    }  # fmt: skip
    assert {key: told[key] for key in expected} == expected
    assert told["created"].endswith("Z")
    assert told["expires"] > told["modified"] >= told["created"][:10]
    assert api.tus.pa(told["url"], 5, b"world", KIM).status == 204
    told = api.json(f"uploads/{upload_id}", KIM)
    assert (told["state"], told["percent"], told["expires"]) == ("finished", 100.0, None)


def test_each_user_sees_their_own_uploads_and_admins_see_all(api: Api) -> None:
    of_kim, of_lee = made(api, "a.h5"), made(api, "b.h5", LEE)
    assert ids(api.json("uploads", KIM)) == [of_kim]
    assert ids(api.json("uploads?owner=kim", KIM)) == [of_kim]
    assert ids(api.json("uploads", LEE)) == [of_lee]
    assert ids(api.json("uploads", ADMIN)) == [of_lee, of_kim]
    assert ids(api.json("uploads?owner=lee", ADMIN)) == [of_lee]
    assert api.json(f"uploads/{of_kim}", ADMIN)["owner"] == "kim"
    # Neither the id nor that there is such an upload is told to others.
    assert refused(api.get(f"uploads/{of_kim}", LEE)) == (404, "ERR_UPLOAD_NOT_FOUND")
    assert refused(api.get(f"uploads/{of_kim}/events", LEE)) == (404, "ERR_UPLOAD_NOT_FOUND")
    assert refused(api.get("uploads?owner=kim", LEE)) == (403, "ERR_FORBIDDEN")
    assert refused(api.get("events?owner=kim", LEE)) == (403, "ERR_FORBIDDEN")


@pytest.mark.parametrize(
    "path", ["uploads", "uploads/ab", "uploads/ab/events", "events", "storage", "me"]
)
def test_who_cannot_be_told_is_told_nothing(api: Api, path: str) -> None:
    answer = api.get(path)
    assert refused(answer) == (401, "ERR_UNAUTHORIZED")
    assert answer["WWW-Authenticate"].startswith("Bearer ")
    assert refused(api.get(path, bearer("kim", exp=1)))[0] == 401


def test_a_signed_url_opens_no_status(api: Api) -> None:
    signed = json.loads(api.post("sign", {"expires_in": 60, "owner": "kim"}, ADMIN).body)
    query = signed["url"].partition("?")[2]
    assert refused(api.get(f"uploads?{query}")) == (403, "ERR_FORBIDDEN")


def test_lists_are_filtered_sorted_and_paged(open_api: Api) -> None:
    nobody: dict[str, str] = {}
    first = made(open_api, "Gamma.h5", nobody, length=30)
    second = made(open_api, "alpha.nc", nobody, length=20)
    third = made(open_api, "beta.H5", nobody, length=5)
    lists = {
        "": [third, second, first],
        "order=created": [first, second, third],
        "order=-size": [first, second, third],
        "order=size": [third, second, first],
        "order=name": [first, second, third],
        "name=h5": [third, first],
        "state=active": [second, first],
        "state=ended": [third],
        "limit=1": [third],
        "limit=1&skip=1": [second],
        "skip=3": [],
        "owner=somebody": [],
        f"name={quote('%')}": [],
    }
    for query, expected in lists.items():
        assert ids(open_api.json(f"uploads?{query}")) == expected, query
    page = open_api.json("uploads?limit=1&skip=1")
    assert (page["total"], page["limit"], page["skip"]) == (3, 1, 1)
    assert open_api.json("uploads?name=h5")["total"] == 2


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "skip=-1", "order=owner", "state=lost", "what=1",
     "limit=1&limit=2"],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(open_api: Api, query: str) -> None:
    assert refused(open_api.get(f"uploads?{query}")) == (400, "ERR_MALFORMED_REQUEST")


def test_other_paths_and_methods_are_refused_as_json(open_api: Api) -> None:
    assert refused(open_api.get("nothing")) == (404, "ERR_NOT_FOUND")
    assert refused(open_api.get("uploads/unknown")) == (404, "ERR_UPLOAD_NOT_FOUND")
    assert refused(open_api.get("uploads/..%2fx")) == (404, "ERR_UPLOAD_NOT_FOUND")
    answer = open_api.tus.request("DELETE", "/api/uploads", {})
    assert refused(answer) == (405, "ERR_METHOD_NOT_ALLOWED")
    assert "GET" in answer["Allow"]
    # Without a secret nothing can be signed.
    assert refused(open_api.post("sign", {"expires_in": 1})) == (404, "ERR_NOT_FOUND")


def test_the_stream_tells_what_is_there_and_then_what_happens(open_api: Api) -> None:
    tus = open_api.tus
    upload_id = made(open_api, "a.h5", {})
    with open_api.events("events") as events:
        assert events.until("upload")["id"] == upload_id
        events.until("ready")
        assert {name for name, _ in events.told} == {"storage", "upload", "ready"}
        assert tus.pa(f"/files/{upload_id}", 5, b"12").status == 204
        assert events.until("upload", offset=7)["percent"] == 70.0
        assert tus.pa(f"/files/{upload_id}", 7, b"345").status == 204
        assert events.until("upload", state="finished")["id"] == upload_id
        # One that comes and ends between two looks, and one that is ended by its client.
        whole = made(open_api, "b.h5", {}, length=5)
        assert events.until("upload", id=whole)["state"] == "finished"
        assert tus.request("DELETE", f"/files/{upload_id}", VERSION).status == 204
        assert events.until("removed") == {"id": upload_id}


def test_a_stream_tells_no_more_than_its_filter_lets_through(api: Api) -> None:
    mine, other = made(api, "a.h5"), made(api, "other.nc")
    of_lee = made(api, "b.h5", LEE)
    with api.events("events?name=h5&state=active", KIM) as events:
        events.until("ready")
        assert api.tus.pa(f"/files/{of_lee}", 5, b"1", LEE).status == 204
        assert api.tus.pa(f"/files/{other}", 5, b"1", KIM).status == 204
        assert api.tus.pa(f"/files/{mine}", 5, b"67890", KIM).status == 204
        assert events.until("removed") == {"id": mine}
    assert {data["id"] for name, data in events.told if name in ("upload", "removed")} == {mine}


def test_the_stream_of_one_upload_ends_with_it(open_api: Api) -> None:
    upload_id = made(open_api, "a.h5", {})
    other = made(open_api, "b.h5", {})
    with open_api.events(f"uploads/{upload_id}/events") as events:
        events.until("ready")
        assert open_api.tus.pa(f"/files/{other}", 5, b"12345").status == 204
        assert open_api.tus.pa(f"/files/{upload_id}", 5, b"12345").status == 204
        events.until("upload", state="finished")
        assert events.rest() == []
    assert {data["id"] for name, data in events.told if name == "upload"} == {upload_id}


def test_the_stream_of_an_upload_that_has_ended_tells_that_and_ends(open_api: Api) -> None:
    upload_id = made(open_api, "a.h5", {}, length=5)
    answer = open_api.get(f"uploads/{upload_id}/events")
    assert answer["Content-Type"].startswith("text/event-stream")
    assert answer.body.count(b"event: ") == 1
    assert b'"state":"finished"' in answer.body


def test_the_head_of_a_stream_has_no_end_to_wait_for(open_api: Api) -> None:
    answer = open_api.tus.request("HEAD", "/api/events", {})
    assert (answer.status, answer["X-Accel-Buffering"]) == (200, "no")


def test_a_stream_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    with ExitStack() as watchers:
        with serving(tmp_path / "up", api="on") as tus:
            events = watchers.enter_context(Api(tus).events("events"))
            events.until("ready")
            stopping = time.monotonic()
        # Who holds it up waits for the end of the grace of five seconds.
        assert time.monotonic() - stopping < 4
        assert events.rest() == []


def test_the_room_is_told_with_what_the_caller_has_of_it(api: Api) -> None:
    made(api, "a.h5", length=10)
    made(api, "b.h5", LEE, length=20)
    made(api, "c.h5", LEE, length=5)
    of_lee = api.json("storage", LEE)
    assert of_lee["used_by"] == {"size": 25, "uploads": 2, "active": 1}
    assert of_lee["quota"] == {"size": 1 << 20, "uploads": None, "active": None}
    assert 0 < of_lee["free"] < of_lee["total"]
    assert api.json("storage", ADMIN)["used_by"] == {"size": 35, "uploads": 3, "active": 2}


def test_a_caller_learns_who_they_are_and_what_would_be_taken(api: Api, open_api: Api) -> None:
    told = api.json("me", KIM)
    assert (told["user"], told["is_admin"], told["uploads"]) == ("kim", False, "/files/")
    assert told["max_size"] == 1 << 20
    assert {"h5", "sif", "nc"} <= set(told["extensions"])
    assert api.json("me", ADMIN)["is_admin"] is True
    assert open_api.json("me") == {
        "user": None, "is_admin": True, "max_size": None, "extensions": [], "types": [],
        "uploads": "/files/",
    }  # fmt: skip


def test_a_signed_url_that_an_admin_asked_for_takes_uploads(api: Api) -> None:
    answer = api.post("sign", {"expires_in": 60, "owner": "lee", "max_size": 100}, ADMIN)
    assert answer.status == 201
    signed = json.loads(answer.body)
    assert signed["url"].startswith("/files/?grant=")
    tus = Tus(api.tus.address, signed["url"])
    metadata = {"Upload-Metadata": "filename YS5oNQ=="}
    assert tus.post({"Upload-Length": "101", **metadata}).status == 413
    created = tus.post({"Upload-Length": "10", **metadata})
    assert created.status == 201
    upload_id = tus.location(created).removeprefix("/files/")
    assert api.json(f"uploads/{upload_id}", LEE)["owner"] == "lee"
    for_upload = {"expires_in": 60, "upload": upload_id, "verbs": ["head"]}
    url = json.loads(api.post("sign", for_upload, ADMIN).body)["url"]
    assert api.tus.request("HEAD", url, VERSION).status == 200
    assert api.tus.request("DELETE", url, VERSION).status == 403


@pytest.mark.parametrize(
    "asked",
    [{}, {"expires_in": 0}, {"expires_in": "60"}, {"expires_in": 60, "verbs": ["join"]},
     {"expires_in": 60, "verbs": ["put"]}, {"expires_in": 60, "upload": "../x"},
     {"expires_in": 60, "size": 1}, [], b"{", b"{}" + b" " * 65536],
)  # fmt: skip
def test_what_cannot_be_signed_is_refused(api: Api, asked: object) -> None:
    assert refused(api.post("sign", asked, ADMIN)) == (400, "ERR_MALFORMED_REQUEST")


def test_only_admins_sign_and_no_form_of_a_foreign_page_does(api: Api) -> None:
    assert refused(api.post("sign", {"expires_in": 60}, KIM)) == (403, "ERR_FORBIDDEN")
    assert refused(api.post("sign", {"expires_in": 60})) == (401, "ERR_UNAUTHORIZED")
    form = {**ADMIN, "Content-Type": "text/plain"}
    assert refused(api.post("sign", {"expires_in": 60}, form))[0] == 400


def test_browsers_of_other_origins_may_read_it(open_api: Api) -> None:
    answer = open_api.get("uploads", Origin="https://portal.example")
    assert answer["Access-Control-Allow-Origin"] == "*"
    preflight = {"Origin": "https://portal.example", "Access-Control-Request-Method": "GET"}
    answer = open_api.tus.request("OPTIONS", "/api/uploads", preflight)
    assert (answer.status, answer["Access-Control-Allow-Origin"]) == (204, "*")
    assert "Authorization" in answer["Access-Control-Allow-Headers"]


def test_it_is_off_unless_tokens_or_a_setting_turn_it_on(tmp_path: Path) -> None:
    with serving(tmp_path / "a") as tus:
        assert tus.request("GET", "/api/uploads", {}).status == 404
    (tmp_path / "secret").write_bytes(SECRET)
    with serving(tmp_path / "b", jwt_secret_file=tmp_path / "secret", api="off") as tus:
        assert tus.request("GET", "/api/uploads", KIM).status == 404


@pytest.mark.parametrize("base_path", ["/", "/api", "/api/uploads/"])
def test_uploads_that_leave_no_path_for_it_are_refused(tmp_path: Path, base_path: str) -> None:
    with pytest.raises(SettingsError, match="leave no path"):
        create_app(upload_dir=tmp_path, api="on", base_path=base_path)


def test_it_works_inside_of_another_application(tmp_path: Path) -> None:
    tus = TusApp(upload_dir=tmp_path / "up", api="on")
    routes = [Mount("/files", tus), Mount("/api", tus.status_api("../files"))]
    inner = Starlette(routes=routes)
    app = Starlette(routes=[Mount("/portal", inner)], lifespan=tus.lifespan)
    with running(app) as server:
        client = Tus(server.address, "/portal/files/")
        url = client.mk(10)
        assert url.startswith("/portal/files/")
        api = Api(client, "/portal")
        assert api.json("uploads")["uploads"][0]["url"] == url
        assert api.json("me")["uploads"] == "/portal/files/"


def test_an_application_must_turn_it_on(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="it is not on"):
        TusApp(upload_dir=tmp_path).status_api("../files")


def test_behind_a_proxy_the_urls_have_its_prefix(tmp_path: Path) -> None:
    with serving(tmp_path / "up", api="on", behind_proxy=True) as tus:
        api = Api(tus)
        made(api, "a.h5", {})
        answer = api.get("uploads", {"X-Forwarded-Prefix": "/portal/uploads"})
        url = json.loads(answer.body)["uploads"][0]["url"]
        assert url.startswith("/portal/uploads/files/")
