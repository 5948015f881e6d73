"""The upload server of an HPC portal, from the files in `deploy/hpc-portal/` and by the commands in
`docs/hpc-portal.md`: with the real nginx and the real clamd, by tuspy and curl.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import time
import tomllib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from requests import Response
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from tests.clamd import EICAR, clamd
from tests.e2e.nginx import make_certificate, nginx, replaced
from tests.policy.issuer import JwksServer, claims, public_jwk, signing_key
from tests.policy.issuer import token as issued
from tests.servers import ProcessServer, process_server, serving
from tests.tus import OCTETS, VERSION, Tus, eventually
from tusserver.settings import Settings, parse_duration, parse_size

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "deploy" / "hpc-portal"
MANUAL = (ROOT / "docs" / "hpc-portal.md").read_text()
SECRET = b"the secret of a portal, of forty-odd bytes"
HDF5 = b"\x89HDF\r\n\x1a\n" + os.urandom(3 * 2**20 + 17)
MEBI = 2**20
PLACEHOLDER = "https://portal.example"

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@dataclass(frozen=True)
class Portal:
    """A running portal; `directory` stands for the root of its machine."""

    directory: Path
    server: ProcessServer
    origin: str
    certificate: Path

    @property
    def url(self) -> str:
        return f"{self.origin}/uploads/files/"

    @property
    def jobs(self) -> Path:
        return self.directory / "srv" / "jobs"

    def files(self, holding: bytes) -> list[str]:
        """The files that hold these bytes."""
        return sorted(
            str(path.relative_to(self.directory / "srv"))
            for path in (self.directory / "srv").rglob("*")
            if path.is_file() and holding in path.read_bytes()
        )

    def create(
        self, caller: dict[str, str], filename: str, destination: str | None, length: int
    ) -> Response:
        values = {"filename": filename} | ({"destination": destination} if destination else {})
        pairs = (f"{key} {b64encode(value.encode()).decode()}" for key, value in values.items())
        headers = {**VERSION, "Upload-Length": str(length), "Upload-Metadata": ",".join(pairs)}
        return requests.post(self.url, headers={**headers, **caller}, timeout=20)

    def created(self, caller: dict[str, str], filename: str, length: int) -> str:
        answer = self.create(caller, filename, "job-1", length)
        assert answer.status_code == 201, answer.text
        return self.origin + answer.headers["Location"]


def bearer(user: str, **changes: object) -> dict[str, str]:
    """A token as the portal makes it."""
    issuer = {"iss": PLACEHOLDER, "aud": "uploads"}
    whole = {**claims(sub=user), **issuer, **changes}
    return {"Authorization": f"Bearer {jwt.encode(whole, SECRET, 'HS256')}"}


KIM, LEE = bearer("kim"), bearer("lee")
ADMIN = bearer("root", roles=["upload-admin"])


def shipped_settings(directory: Path, socket: Path) -> str:
    """The shipped file with what belongs to the machine replaced: paths, the group, and the room
    that must be left on its disk.
    """
    text = (SHIPPED / "tusserver.toml").read_text()
    text = re.sub(r'(?<=")/srv/portal(?=/)', str(directory / "srv"), text)
    text = replaced(text, '= "/etc/tusserver/jwt-secret"', f'= "{directory}/secret"')
    text = replaced(text, '"unix:/run/clamav/clamd.ctl"', f'"unix:{socket}"')
    text = replaced(text, '"hpcportal"', f'"{os.getgid()}"')
    return replaced(text, 'min-free-space = "20GiB"', 'min-free-space = "1MiB"')


def shipped_limits() -> dict[str, str]:
    """The lines of the shipped fragment of clamd.conf."""
    lines = (SHIPPED / "clamd.conf").read_text().splitlines()
    return dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))


def shipped_site(directory: Path, portal: str) -> Callable[[str], str]:
    """Puts the shipped site in the place of the usual one, on the same port and before the same
    server.
    """

    def change(usual: str) -> str:
        [port] = re.findall(r"listen 127\.0\.0\.1:(\d+);", usual)
        [server] = re.findall(r"^    server (\S+);", usual, re.MULTILINE)
        site = (SHIPPED / "nginx.conf").read_text()
        site = replaced(site, "    listen [::]:443 ssl;\n", "")
        site = replaced(site, "listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
        site = replaced(site, "127.0.0.1:8080", server)
        site = replaced(site, "127.0.0.1:8000", portal)
        site = replaced(site, "/etc/ssl/certs/portal.pem", f"{directory}/uploads.pem")
        site = replaced(site, "/etc/ssl/private/portal.key", f"{directory}/uploads.key")
        return replaced(site, "/var/log/nginx/uploads.log", f"{directory}/nginx.log")

    return change


@contextmanager
def portal(
    directory: Path, change: Callable[[str], str] = lambda settings: settings
) -> Iterator[Portal]:
    """A whole portal; `change` is made to its settings."""
    for name in ("uploads", "quarantine", "jobs"):
        (directory / "srv" / name).mkdir(parents=True)
    (directory / "secret").write_bytes(SECRET + b"\n")
    certificate, _ = make_certificate(directory)
    limits = {name: line for name, line in shipped_limits().items() if "Socket" not in name}
    config = directory / "tusserver.toml"
    with (
        JwksServer() as pages,
        clamd(directory / "clamd", **limits) as daemon,
    ):
        config.write_text(change(shipped_settings(directory, daemon.socket)))
        site = shipped_site(directory, pages.url.split("/")[2])
        options = ("--config", str(config))
        with (
            process_server(directory / "srv" / "uploads", *options) as server,
            nginx(directory / "nginx", server.tus.address, change=site) as proxy,
        ):
            yield Portal(directory, server, f"https://localhost:{proxy.port}", certificate)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    with portal(tmp_path_factory.mktemp("portal")) as here:
        yield here


@pytest.fixture
def here(shared: Portal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    """The portal with the shipped settings, whose certificate requests and curl believe."""
    believe(shared, monkeypatch)
    yield shared
    # tuspy opens its file anew for each request and never closes it; no later test shall hear.
    gc.collect()


def believe(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(portal.certificate))


def upload(portal: Portal, caller: dict[str, str], source: Path, **metadata: str) -> str:
    """Uploads a file with tuspy; returns its URL."""
    client = TusClient(portal.url, headers=caller)
    uploader = client.uploader(str(source), chunk_size=MEBI, metadata=metadata)
    uploader.upload()
    assert isinstance(uploader.url, str)
    return uploader.url


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(HDF5)
    return path


# What users do.


def test_the_files_of_two_users_land_in_the_folders_of_their_jobs(
    here: Portal, source: Path
) -> None:
    for user, caller in (("kim", KIM), ("lee", LEE)):
        url = upload(here, caller, source, filename="한글 입력.h5", destination="job-42/in")
        assert url.startswith(here.url)
        placed = here.jobs / user / "job-42" / "in" / "한글 입력.h5"
        assert placed.read_bytes() == HDF5
        assert (placed.stat().st_mode & 0o7777, placed.stat().st_gid) == (0o640, os.getgid())
        for folder in (placed.parent, placed.parents[1], placed.parents[2]):
            assert folder.stat().st_mode & 0o7777 == 0o2770
        answer = requests.head(url, headers={**VERSION, **caller}, timeout=20)
        assert answer.headers["Upload-Place"].startswith(f"{user}/job-42/in/")
        digest = b64encode(hashlib.sha256(HDF5).digest()).decode()
        assert answer.headers["Repr-Digest"] == f"sha-256=:{digest}:"
        record = here.directory / "srv" / "uploads" / f"{url.rpartition('/')[2]}.info"
        assert json.loads(record.read_text())["tusserver"]["finish"]["scan"] == "clean"
    # The data of neither is anywhere else, and a second one of the same name is beside the first.
    assert len(here.files(HDF5[-64:])) == 2
    upload(here, KIM, source, filename="한글 입력.h5", destination="job-42/in")
    assert (here.jobs / "kim" / "job-42" / "in" / "한글 입력 (1).h5").read_bytes() == HDF5


def test_a_virus_is_refused_and_only_in_quarantine(here: Portal, tmp_path: Path) -> None:
    infected = tmp_path / "infected"
    infected.write_bytes(EICAR)
    before = [path for path in here.jobs.rglob("*") if path.is_file()]
    with pytest.raises(TusCommunicationError) as refusal:
        upload(here, KIM, infected, filename="readme.txt", destination="job-1")
    assert refusal.value.status_code == 422
    assert b"ERR_INFECTED: the file is infected: Test.Eicar" in refusal.value.response_content
    assert [path for path in here.jobs.rglob("*") if path.is_file()] == before
    [kept] = here.files(EICAR)
    assert kept.startswith("quarantine/")


def test_other_kinds_of_files_are_refused(here: Portal, source: Path) -> None:
    answer = here.create(KIM, "tool.exe", "job-1", 12)
    assert (answer.status_code, "ERR_KIND_NOT_ALLOWED" in answer.text) == (415, True)
    with pytest.raises(TusCommunicationError) as refusal:
        upload(here, KIM, source, filename="input.tar.gz", destination="job-1")
    assert refusal.value.status_code == 415


def test_what_is_too_large_or_nowhere_to_go_is_refused(here: Portal) -> None:
    answer = here.create(KIM, "a.h5", "job-1", 10 * 2**30 + 1)
    assert (answer.status_code, "ERR_MAX_SIZE_EXCEEDED" in answer.text) == (413, True)
    assert requests.options(here.url, timeout=20).headers["Tus-Max-Size"] == str(10 * 2**30)
    for destination in (None, "elsewhere", "job-1/../../lee", "/etc"):
        answer = here.create(KIM, "a.h5", destination, 12)
        assert (answer.status_code, "ERR_INVALID_NAME" in answer.text) == (400, True)


def test_uploads_are_nobody_elses(here: Portal) -> None:
    url = here.created(KIM, "a.csv", 5)
    patch = {**VERSION, **OCTETS, "Upload-Offset": "0"}
    for caller, status in ((LEE, 403), ({}, 401), (bearer("kim", aud="elsewhere"), 401),
                           (bearer("kim", exp=int(time.time()) - 60), 401)):  # fmt: skip
        answer = requests.patch(url, b"a,b\n1", headers={**patch, **caller}, timeout=20)
        assert answer.status_code == status
    assert requests.head(url, headers={**VERSION, **LEE}, timeout=20).status_code == 403
    assert requests.head(url, headers={**VERSION, **ADMIN}, timeout=20).status_code == 200
    cookie = {"Cookie": f"portal_uploads={KIM['Authorization'].removeprefix('Bearer ')}"}
    answer = requests.patch(url, b"a,b\n1", headers={**patch, **cookie}, timeout=20)
    assert (answer.status_code, answer.headers["Upload-Place"]) == (204, "kim/job-1/a.csv")


def test_progress_is_seen_live_through_nginx(here: Portal) -> None:
    url = here.created(LEE, "live.csv", 5)
    watched = f"{here.origin}/uploads/api/uploads/{url.rpartition('/')[2]}"
    assert requests.get(watched, headers=KIM, timeout=20).status_code == 404
    patch = {**VERSION, **OCTETS, "Upload-Offset": "0", **LEE}
    seen = []
    with requests.get(f"{watched}/events", headers=LEE, timeout=20, stream=True) as events:
        for line in events.iter_lines(chunk_size=1):
            if not line.startswith(b'data: {"id"'):
                continue
            seen.append(json.loads(line.removeprefix(b"data: ")))
            if len(seen) == 1:
                requests.patch(url, b"a,b\n1", headers=patch, timeout=20)
    assert seen[0]["state"] == "uploading"
    assert seen[0]["url"] == url.removeprefix(here.origin)
    assert (seen[-1]["state"], seen[-1]["place"]) == ("finished", "lee/job-1/live.csv")


def test_a_page_of_another_site_changes_nothing_by_the_cookie_of_a_user(here: Portal) -> None:
    """A browser lets it send the cookie, but no header that the server does not allow."""
    cookie = {"Cookie": f"portal_uploads={KIM['Authorization'].removeprefix('Bearer ')}"}
    forged = {**cookie, "Origin": "https://evil.example", "Upload-Length": "5"}
    assert requests.post(here.url, headers=forged, timeout=20).status_code == 412
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    preflight = requests.options(here.url, headers=asked, timeout=20)
    assert not [name for name in preflight.headers if name.lower().startswith("access-control")]


def test_the_portal_is_beside_the_uploads(here: Portal) -> None:
    assert requests.get(f"{here.origin}/", timeout=20).json() == {"keys": []}
    log = here.directory / "nginx.log"
    requests.options(f"{here.url}?grant=private", timeout=20)
    eventually(lambda: '"OPTIONS /uploads/files/" 200' in log.read_text())
    assert "private" not in log.read_text()


def test_clients_are_asked_to_come_again_while_the_server_is_down(here: Portal) -> None:
    url = here.created(KIM, "a.csv", 5)
    here.server.kill()
    for method, status in (("HEAD", 423), ("POST", 503)):
        answer = requests.request(method, url, headers={**VERSION, **KIM}, timeout=20)
        assert (answer.status_code, answer.headers["Retry-After"]) == (status, "5")
    here.server.start()
    assert requests.head(url, headers={**VERSION, **KIM}, timeout=20).status_code == 200


# The variants.


def with_an_issuer(url: str) -> Callable[[str], str]:
    """Puts the commented block of the settings into use, with the keys at this URL."""

    def change(settings: str) -> str:
        begin, end = settings.index("jwt-secret-file"), settings.index("# Instead of the six lines")
        assert settings[begin:end].count("\n") == 6
        rest = settings[end:]
        last = rest.index("# For clients that cannot send")
        block, count = re.subn(r"^# (?=jwt-)", "", rest[:last], flags=re.MULTILINE)
        assert count == 6
        block = re.sub(r'(?<=jwt-jwks-url = ")[^"]+', url, block)
        return settings[:begin] + block + rest[last:]

    return change


def test_the_tokens_of_a_keycloak_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = signing_key("RSA")
    issuer: dict[str, Any] = {
        "iss": "https://sso.example/realms/hpc",
        "aud": ["account", "uploads"],
    }

    def caller(user: str, *roles: str) -> dict[str, str]:
        carried = claims(sub="0f2c-1", preferred_username=user, **issuer)
        carried["realm_access"] = {"roles": list(roles)}
        return {"Authorization": f"Bearer {issued(key, 'RS256', carried, kid='1')}"}

    with (
        JwksServer(public_jwk(key)) as keys,
        portal(tmp_path, with_an_issuer(keys.url)) as here,
    ):
        believe(here, monkeypatch)
        url = here.created(caller("kim", "offline_access"), "a.csv", 5)
        patch = {**VERSION, **OCTETS, "Upload-Offset": "0", **caller("kim")}
        answer = requests.patch(url, b"a,b\n1", headers=patch, timeout=20)
        assert answer.headers["Upload-Place"] == "kim/job-1/a.csv"
        for other, status in ((caller("lee"), 403), (KIM, 401), (caller("x", "upload-admin"), 200)):
            assert (
                requests.head(url, headers={**VERSION, **other}, timeout=20).status_code == status
            )


def named(filename: str) -> dict[str, str]:
    return {"Upload-Metadata": f"filename {b64encode(filename.encode()).decode()}"}


def sent(tus: Tus, filename: str) -> int:
    return tus.post({**OCTETS, **named(filename), "Upload-Length": "5"}, b"a,b\n1").status


def test_the_end_of_a_record_frees_its_quota_and_leaves_the_file(tmp_path: Path) -> None:
    root = tmp_path / "jobs"
    root.mkdir()
    limits: dict[str, Any] = {"quota_uploads": 1, "retain_finished": "1s", "sweep_interval": "0.2s"}
    with serving(tmp_path / "uploads", destination_root=root, **limits) as tus:
        assert sent(tus, "a.csv") == 201
        assert sent(tus, "b.csv") == 413
        eventually(lambda: sent(tus, "b.csv") == 201)
    assert {path.name for path in root.rglob("*.csv")} == {"a.csv", "b.csv"}


def access_list(user: int) -> bytes:
    """What `setfacl -m u:USER:rwx` makes of a folder of mode 0770, as Linux keeps it: tag,
    permissions and id of the owner, the user, the group, the mask and the others.
    """
    nobody = 2**32 - 1
    entries = ((1, 7, nobody), (2, 7, user), (4, 7, nobody), (16, 7, nobody), (32, 0, nobody))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_new_folders_take_over_the_access_list_of_their_user(tmp_path: Path) -> None:
    """As the manual has it for users with accounts."""
    owned = tmp_path / "jobs" / "anonymous"
    owned.mkdir(parents=True)
    os.setxattr(owned, "system.posix_acl_default", access_list(2000))
    perms: dict[str, Any] = {"destination_file_perms": 0o644, "destination_dir_perms": 0o2770}
    template = "{owner}/job-1/in/{filename}"
    with serving(
        tmp_path / "uploads",
        destination_root=tmp_path / "jobs",
        destination_template=template,
        **perms,
    ) as tus:
        assert sent(tus, "a.csv") == 201
    placed = owned / "job-1" / "in" / "a.csv"
    for folder in (placed.parents[1], placed.parent):
        assert os.getxattr(folder, "system.posix_acl_access") == access_list(2000)
        assert folder.stat().st_mode & 0o7777 == 0o2770
    assert placed.stat().st_mode & 0o7777 == 0o644


# What is written about it.

NOT_SETTINGS = {"clamav-daemon", "upload-admin"}
KEYS = {item.name.replace("_", "-") for item in fields(Settings)}


def test_each_setting_that_the_manual_names_exists() -> None:
    prose = re.sub(r"^```.*?^```", "", MANUAL, flags=re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)(?: = [^`]+)?`", prose))
    assert len(named) > 25
    assert named - KEYS - NOT_SETTINGS == set()


def test_the_manual_speaks_of_each_setting_that_is_shipped() -> None:
    shipped = tomllib.loads((SHIPPED / "tusserver.toml").read_text())
    assert shipped.keys() <= KEYS
    obvious = {"host", "port", "base-path", "disable-cors", "log-format"}
    missing = [key for key in shipped.keys() - obvious if f"`{key}" not in MANUAL]
    assert missing == []


@pytest.mark.parametrize("page", ["hpc-portal.md", "access.md", "protocol.md"])
def test_each_error_code_in_the_manual_exists(page: str) -> None:
    code = "".join(path.read_text() for path in (ROOT / "tusserver").rglob("*.py"))
    named = set(re.findall(r"ERR_[A-Z_]+", (ROOT / "docs" / page).read_text()))
    assert named - set(re.findall(r"ERR_[A-Z_]+", code)) == set()


def test_the_limits_of_clamd_are_not_below_those_of_the_settings() -> None:
    settings = tomllib.loads((SHIPPED / "tusserver.toml").read_text())
    largest = parse_size(settings["scan-max-size"])
    assert largest is not None
    lines = shipped_limits()
    for name in ("MaxFileSize", "MaxScanSize", "StreamMaxLength"):
        assert int(lines[name].removesuffix("M")) * MEBI >= largest
    timeout = parse_duration(settings["scan-timeout"])
    assert timeout is not None
    assert int(lines["MaxScanTime"]) / 1000 < timeout.total_seconds()
    assert lines["AlertExceedsMax"] == "yes"
    assert settings["scan"] == f"unix:{lines['LocalSocket']}"


def test_the_unit_allows_what_the_settings_need() -> None:
    settings = tomllib.loads((SHIPPED / "tusserver.toml").read_text())
    unit = (SHIPPED / "tusserver.service.conf").read_text()
    [groups] = re.findall(r"^SupplementaryGroups=(.+)$", unit, re.MULTILINE)
    assert settings["destination-group"] in groups.split()
    assert shipped_limits()["LocalSocketGroup"] in groups.split()
    [writable] = re.findall(r"^ReadWritePaths=(.+)$", unit, re.MULTILINE)
    for key in ("upload-dir", "quarantine-dir", "destination-root"):
        assert settings[key].startswith(f"{writable}/")
        assert f" {settings[key]}\n" in MANUAL, "it is made by a command"


def check_blocks() -> list[tuple[str, str]]:
    """The commands that check an installation, each with what they print."""
    section = MANUAL.split("\n## Check that it works\n")[1].split("\n## ")[0]
    found = re.findall(r"^```(sh|text)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    blocks: list[tuple[str, str]] = []
    for kind, text in found:
        if kind == "sh":
            blocks.append((text, ""))
        else:
            blocks[-1] = (blocks[-1][0], text)
    return blocks


def test_the_commands_of_the_manual_print_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with portal(tmp_path) as here:
        believe(here, monkeypatch)
        script = "\necho =====\n".join(commands for commands, _ in check_blocks())
        script = replaced(script, f"URL={PLACEHOLDER}", f"URL={here.origin}")
        script = replaced(script, "/etc/tusserver/jwt-secret", str(tmp_path / "secret"))
        script = replaced(script, "/opt/tusserver/bin/python", sys.executable)
        script = script.replace("/srv/portal/", f"{tmp_path}/srv/")
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=50)
    assert done.stderr == ""
    printed = done.stdout.split("=====\n")
    assert len(printed) == len(check_blocks()) >= 7
    for (commands, expected), found in zip(check_blocks(), printed, strict=True):
        for line in expected.splitlines():
            pattern = re.escape(line).replace("…", ".+")
            assert re.search(rf"^{pattern}$", found, re.MULTILINE), f"{commands}\n{line}\n{found}"


def test_the_token_of_the_manual_is_taken(here: Portal) -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", MANUAL, re.MULTILINE | re.DOTALL)
    scope: dict[str, Any] = {}
    exec(compile(code, "hpc-portal.md", "exec"), scope)
    secret = (here.directory / "secret").read_bytes().rstrip()
    tokens = [scope["upload_token"]("kim", secret, is_admin=admin) for admin in (False, True)]
    kim, admin = ({"Authorization": f"Bearer {token}"} for token in tokens)
    url = here.created(LEE, "a.csv", 5)
    assert here.create(kim, "a.csv", "job-1", 5).status_code == 201
    assert requests.head(url, headers={**VERSION, **kim}, timeout=20).status_code == 403
    assert requests.head(url, headers={**VERSION, **admin}, timeout=20).status_code == 200


def test_the_check_of_the_page_about_access_works(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "access.md").read_text()
    [code] = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    scope: dict[str, Any] = {}
    code = code.replace("/data", str(tmp_path / "made"))
    exec(compile(code, "access.md", "exec"), scope)
    with serving(tmp_path, check=scope["by_session"]) as tus:
        url = tus.mk(5, {"Cookie": "session=123"})
        assert tus.request("HEAD", url, {**VERSION, "Cookie": "session=123"}).status == 200
        assert tus.request("HEAD", url, VERSION).status == 401
        refused = tus.request("HEAD", url, {**VERSION, "Cookie": "session=666"})
        assert refused.status == 403
