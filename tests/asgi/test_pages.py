"""The pages for people: what is in them, and with which headers they are served."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from html.parser import HTMLParser
from importlib.resources import files
from urllib.parse import urljoin

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.servers import running
from tusserver.asgi.pages import Page, PageFacts, page_routes

FACTS = PageFacts(uploads="/files/")
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


ClientFor = Callable[..., httpx.Client]
"""A client of a server with the pages for these facts, below this prefix."""


@pytest.fixture
def client_for() -> Iterator[ClientFor]:
    with ExitStack() as stack:

        def start(facts: PageFacts = FACTS, prefix: str = "") -> httpx.Client:
            routes = page_routes(facts)
            app = Starlette(routes=[Mount(prefix, routes=routes)] if prefix else routes)
            address = stack.enter_context(running(app)).address
            assert not isinstance(address, str)
            url = f"http://{address[0]}:{address[1]}"
            # Only where a test asks for it is anything packed.
            client = httpx.Client(base_url=url, headers={"Accept-Encoding": "identity"})
            return stack.enter_context(client)

        yield start


@pytest.fixture
def client(client_for: ClientFor) -> httpx.Client:
    return client_for()


class Attributes(HTMLParser):
    """Collects the attributes of all elements, and whether there is code between the tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        if self._open in ("script", "style") and data.strip():
            self.inline.append(data)

    def root(self) -> dict[str, str | None]:
        return next(attrs for _, attrs in self.elements if attrs.get("id") == "root")

    def references(self) -> list[str]:
        found = [attrs.get("src") or attrs.get("href") for _, attrs in self.elements]
        return [url for url in found if url]


def page_at(client: httpx.Client, path: str = "/") -> Attributes:
    return Attributes(client.get(path, headers=HTML).text)


def test_a_browser_gets_the_page(client: httpx.Client) -> None:
    answer = client.get("/", headers=HTML)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["Vary"] == "Accept"


@pytest.mark.parametrize("accept", ["*/*", "text/plain", ""], ids=["curl", "text", "nothing"])
@pytest.mark.parametrize("prefix", ["", "/portal"])
def test_other_clients_get_a_greeting_with_the_creation_url(
    accept: str, prefix: str, client_for: ClientFor
) -> None:
    answer = client_for(prefix=prefix).get(f"{prefix}/", headers={"Accept": accept})
    assert answer.text == f"This is tusserver. Point a tus client at {prefix}/files/\n"
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["Vary"] == "Accept"


def test_a_page_that_the_browser_has_is_not_sent_again(client: httpx.Client) -> None:
    etag = client.get("/", headers=HTML).headers["ETag"]
    for known in (etag, f'"other", W/{etag}'):
        answer = client.get("/", headers={**HTML, "If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == etag
    assert client.get("/", headers={**HTML, "If-None-Match": '"other"'}).status_code == 200


def test_other_facts_make_another_etag(client_for: ClientFor) -> None:
    other = client_for(PageFacts(uploads="/files/", max_size=7))
    etags = {client.get("/", headers=HTML).headers["ETag"] for client in (client_for(), other)}
    assert len(etags) == 2


def test_the_facts_are_in_the_page(client_for: ClientFor) -> None:
    facts = PageFacts(
        uploads="/a b/files/",
        api="/api/",
        max_size=10,
        extensions=("h5", "nc"),
        types=("image/*",),
        accepts_token=True,
        destinations=True,
    )
    assert page_at(client_for(facts)).root() == {
        "id": "root",
        "data-uploads": "./a%20b/files/",
        "data-api": "./api/",
        "data-max-size": "10",
        "data-extensions": "h5,nc",
        "data-types": "image/*",
        "data-accepts-token": "true",
        "data-destinations": "true",
    }


def test_what_is_not_limited_is_empty(client: httpx.Client) -> None:
    root = page_at(client).root()
    assert root["data-api"] == root["data-max-size"] == root["data-extensions"] == ""
    assert root["data-accepts-token"] == root["data-destinations"] == "false"


def test_no_fact_can_leave_its_attribute(client_for: ClientFor) -> None:
    mean = '"><script>alert(1)</script>'
    page = page_at(client_for(PageFacts(uploads="/files/", extensions=(mean,))))
    assert page.root()["data-extensions"] == mean
    assert page.inline == []


def test_the_policy_allows_nothing_from_elsewhere_and_no_inline_code(client: httpx.Client) -> None:
    page = page_at(client)
    for path in ("/", *page.references()):
        headers = client.get(path, headers=HTML).headers
        policy = dict(
            rule.strip().split(" ", 1) for rule in headers["Content-Security-Policy"].split(";")
        )
        assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'self'"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
    assert page.inline == []
    assert not any("style" in attrs or "onload" in attrs for _, attrs in page.elements)


@pytest.mark.parametrize("prefix", ["", "/portal/uploads"])
def test_everything_that_the_page_refers_to_is_there_for_a_year(
    prefix: str, client_for: ClientFor
) -> None:
    client = client_for(prefix=prefix)
    references = page_at(client, f"{prefix}/").references()
    types = set()
    for url in references:
        assert not re.match(r"[a-z]+:|/", url), f"{url} does not work below another path"
        answer = client.get(urljoin(f"{prefix}/", url))
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        types.add(answer.headers["Content-Type"])
    assert types == {"text/javascript; charset=utf-8", "text/css; charset=utf-8", "image/svg+xml"}


def test_assets_are_packed_for_those_who_can_unpack_them(client: httpx.Client) -> None:
    url = next(url for url in page_at(client).references() if url.endswith(".js"))
    plain = client.get(url)
    packed = client.get(url, headers={"Accept-Encoding": "br, gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    # The client of the test unpacks it.
    assert packed.content == plain.content
    assert int(packed.headers["Content-Length"]) == len(gzip.compress(plain.content))
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "name", ["none.js", "..%2findex.html", "%2e%2e/index.html", "..%5cindex.html", "", "."]
)
def test_nothing_else_is_served(name: str, client: httpx.Client) -> None:
    answer = client.get(f"/assets/{name}")
    assert answer.status_code == 404
    assert b"<html" not in answer.content


def test_pages_and_assets_cannot_be_written(client: httpx.Client) -> None:
    assert client.post("/", headers=HTML).status_code == 405
    assert client.put(page_at(client).references()[0]).status_code == 405


def test_a_page_without_a_place_for_the_facts_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"licenses\.md has no"):
        Page("licenses.md", FACTS)


def test_the_built_files_name_no_other_host_to_load_from() -> None:
    web = files("tusserver").joinpath("web")
    scripts = [file.read_text() for file in web.joinpath("assets").iterdir()]
    loaders = r"(?:import|fetch|importScripts|url)\(\s*[\"'`]?(?:https?:)?//"
    assert not [script for script in scripts if re.search(loaders, script)]
