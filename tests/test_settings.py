"""Settings: how values are written, what does not go together, and that the manual has all."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tusserver.compose import build_uploads, create_app
from tusserver.lock.redis import RedisLocker
from tusserver.settings import (
    Settings,
    SettingsError,
    format_duration,
    objects,
    parse_duration,
    parse_list,
    parse_mode,
    parse_path,
    parse_size,
)
from tusserver.store import azure_options, object_parts
from tusserver.store.azure_bucket import AzureBucket
from tusserver.store.azure_options import AzureOptions, azure_rules
from tusserver.store.object_options import ObjectOptions
from tusserver.store.object_parts import MIB, PartRules
from tusserver.store.objects import ObjectStore
from tusserver.store.s3_bucket import S3Bucket
from tusserver.store.s3_options import PartChecksum, S3Options

MANUAL = Path(__file__).parents[1] / "docs" / "settings.md"


@pytest.mark.parametrize(
    ("text", "size"),
    [("10GiB", 10 * 2**30), ("1.5 MiB", 3 * 2**19), ("500MB", 500_000_000), ("7", 7), ("7B", 7),
     ("2k", 2000), ("1tib", 2**40), ("9007199254740993", 2**53 + 1),
     ("off", None), ("0", None), (42, 42), (0, None)],
)  # fmt: skip
def test_sizes(text: str | int, size: int | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "-1", "10 G i B", "1e3", "GiB", "１"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(SettingsError, match="is no size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("24h", 86400), ("90s", 90), ("90", 90), ("7d", 604800), ("1.5m", 90), ("0.3s", 0.3), (5, 5),
     (0.5, 0.5), ("off", None), ("0", None), (0, None)],
)  # fmt: skip
def test_time_spans(text: str | float, seconds: float | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1w", "1h30m"])
def test_no_time_spans(text: str) -> None:
    with pytest.raises(SettingsError, match="is no time span"):
        parse_duration(text)


@pytest.mark.parametrize(
    "value", ["9" * 20 + "d", "9" * 400, "36501d", 1e300, -1, -0.5, math.inf, math.nan]
)
def test_time_spans_that_nobody_can_mean(value: str | float) -> None:
    with pytest.raises(SettingsError, match="is no time span from 0 to 36500d"):
        parse_duration(value)


@pytest.mark.parametrize("text", ["1d", "36h", "90s", "5m", "0.3s", "36500d", "3153599999s"])
def test_time_spans_are_shown_as_they_are_written(text: str) -> None:
    span = parse_duration(text)
    assert span is not None
    assert format_duration(span) == text


def test_permissions_are_octal() -> None:
    assert [parse_mode(text) for text in ("0664", "664", "0o664", "1777")] == [0o664] * 3 + [0o1777]
    for text in ("rw-", "0999", "7", ""):
        with pytest.raises(SettingsError, match="permissions"):
            parse_mode(text)


def test_lists() -> None:
    assert parse_list(" a, b ,,") == parse_list(["a", "b", ""]) == ("a", "b")
    assert parse_list("") == ()


@pytest.mark.parametrize(
    "address",
    ["redis://h", "redis://h:1/15", "redis://:p%2Fw@h:1/0", "redis://u:p@[::1]:1/0", "rediss://h/",
     "rediss://h/0?ssl_ca_certs=/ca.pem", "unix:///run/r.sock", "unix://u:p@/run/r.sock?db=3"],
)  # fmt: skip
def test_locks_in_redis(address: str) -> None:
    settings = Settings.of(lock=address, workers=2)
    assert settings.lock == address
    assert settings.locks_in_redis
    assert isinstance(build_uploads(settings).locker, RedisLocker)


@pytest.mark.parametrize(
    "address",
    ["http://:hunter2@h", "redis://:hun/ter2@h", "redis://:hunter2@", "redis://:hunter2@h:x/0",
     "redis://:hunter2@h:0/0", "redis://:hunter2@h/zero", "redis://:hunter2@h/0?socket_timeout=9",
     "redis://:hunter2@h/0#x", "unix://:hunter2@", "unix://:hunter2@h/r.sock", "redis://h?db=x",
     "redis://:hunter2@h/0?db", "redis://[:hunter2", "hunter2"],
)  # fmt: skip
def test_no_address_of_a_redis_is_repeated_in_the_complaint(address: str) -> None:
    with pytest.raises(SettingsError, match=r"^lock") as caught:
        Settings(lock=address)
    assert "hun" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_password_is_not_among_the_shown_settings() -> None:
    assert "hunter2" not in repr(Settings(lock="redis://:hunter2@h"))


def test_locks_in_redis_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sys.modules]:
        if name == "redis" or name.startswith(("redis.", "tusserver.lock.redis")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(SettingsError, match=r"pip install 'tusserver\[redis\]'"):
        build_uploads(Settings(lock="redis://h"))


def test_locks_of_one_host_do_not_need_redis() -> None:
    code = "import sys, tusserver.compose; print('redis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("store", "bucket", "prefix"),
    [("s3://uploads", "uploads", ""), ("s3://uploads/", "uploads", ""),
     ("s3://my.bucket-1/a", "my.bucket-1", "a/"), ("s3://abc/a/b/", "abc", "a/b/"),
     ("s3://abc/Prüf +ling", "abc", "Prüf +ling/"), ("azure://abc", "abc", ""),
     ("azure://a-1-b/x/Prüf +ling", "a-1-b", "x/Prüf +ling/"),
     ("azure://" + "a" * 63, "a" * 63, "")],
)  # fmt: skip
def test_uploads_in_a_bucket(store: str, bucket: str, prefix: str) -> None:
    made = build_uploads(Settings(store=store)).store
    assert isinstance(made, ObjectStore)
    storage = made.bucket.storage("key")
    assert (storage.bucket or storage.container, made.options.prefix) == (bucket, prefix)
    assert storage.type == ("s3store" if store.startswith("s3") else "azurestore")


@pytest.mark.parametrize(
    "store",
    ["uploads", "s3://", "s3://ab", "s3://Uploads", "s3://a_b_c", "s3://-abc", "s3://abc//",
     "s3://abc//x", "s3://abc/../x", "s3://abc/./x", "s3://abc/a\nb", "S3://abc", "gs://abc",
     "s3://key:secret@abc", "azure://", "azure://ab", "azure://Abc", "azure://a--b", "azure://-ab",
     "azure://ab-", "azure://a.b.c", "azure://abc/../x", "azure://" + "a" * 64],
)  # fmt: skip
def test_no_buckets(store: str) -> None:
    with pytest.raises(SettingsError, match=r"^store: .* write it as s3://bucket"):
        Settings(store=store)


def test_what_a_service_needs_comes_from_its_preset_and_the_settings_of_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    aws = s3_options()
    assert (aws.endpoint, aws.path_style, aws.checksum) == (None, False, PartChecksum.CRC32)
    assert (aws.region, s3_options(s3_region="here").region) == ("eu-west-3", "here")
    monkeypatch.delenv("AWS_REGION")
    assert s3_options().region is None  # The files of AWS may say it.
    other = s3_options(s3_endpoint="http://minio:9000", s3_checksum="crc32")
    assert (other.endpoint, other.path_style) == ("http://minio:9000", True)
    assert (other.region, other.checksum) == ("us-east-1", PartChecksum.CRC32)
    r2: dict[str, Any] = {"s3_endpoint": "https://x.example", "s3_preset": "r2"}
    rules = object_options("s3", **r2, object_part_size="20MiB").rules
    assert rules == PartRules(usual=20 * MIB, are_equal=True)
    assert s3_options(**r2).region == "auto"


@pytest.mark.parametrize("service", ["s3", "azure"])
def test_the_settings_of_the_store_reach_it(service: str, tmp_path: Path) -> None:
    options = object_options(
        service, object_memory="64MiB", object_flush="3s", upload_dir=tmp_path, check_content=True
    )
    assert (options.memory, options.flush, options.spool_dir) == (64 * MIB, 3.0, str(tmp_path))
    assert options.keep_first == 8192
    assert object_options(service, object_memory="off").memory == 0
    assert object_options(service, object_flush="off").flush > 3600


def object_options(service: str, **values: Any) -> ObjectOptions:
    store = build_uploads(Settings.of(store=f"{service}://abc", **values)).store
    assert isinstance(store, ObjectStore)
    return store.options


def s3_options(**values: Any) -> S3Options:
    store = build_uploads(Settings.of(store="s3://abc", **values)).store
    assert isinstance(store, ObjectStore)
    assert isinstance(store.bucket, S3Bucket)
    return store.bucket.options


def azure_options_of(**values: Any) -> AzureOptions:
    store = build_uploads(Settings.of(store="azure://abc", **values)).store
    assert isinstance(store, ObjectStore)
    assert isinstance(store.bucket, AzureBucket)
    return store.bucket.options


def test_how_to_get_into_azure_is_told_by_its_own_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ACCOUNT", "KEY", "SAS_TOKEN", "CONNECTION_STRING"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    assert azure_options_of() == AzureOptions("abc")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "me")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "a-key")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "a-token")
    url = "https://me.blob.core.windows.net"
    assert azure_options_of() == AzureOptions("abc", url, "", "me", "a-key", "a-token")
    assert azure_options_of(azure_endpoint="http://here/me").url == "http://here/me"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountKey=a-string")
    assert azure_options_of().connection_string == "AccountKey=a-string"
    with pytest.raises(SettingsError, match="give one of them"):
        azure_options_of(azure_endpoint="http://here/me")
    assert not re.search("a-key|a-token|a-string", repr(azure_options_of()))


def test_an_object_bounds_the_longest_upload() -> None:
    longest = {"s3": object_parts.MAX_OBJECT, "azure": azure_options.MAX_OBJECT}
    for service, size in longest.items():
        store = f"{service}://abc"
        assert build_uploads(Settings(store=store)).options.max_size == size
        assert build_uploads(Settings(store=store, max_size=7)).options.max_size == 7
    assert build_uploads(Settings()).options.max_size is None


def test_the_bounds_of_parts_are_those_of_the_store() -> None:
    assert PartRules().least == azure_rules(0).least == objects.MIN_PART
    for service, rules in (("s3", PartRules()), ("azure", azure_rules(0))):
        part, size, shown = objects.BOUNDS[service]
        assert (part, size) == tuple(map(parse_size, shown))
        assert part == rules.most
        assert size <= rules.most * rules.count


@pytest.mark.parametrize(
    ("service", "package"), [("s3", "aiobotocore"), ("azure", "azure.storage.blob")]
)
def test_a_bucket_needs_its_package(
    monkeypatch: pytest.MonkeyPatch, service: str, package: str
) -> None:
    for name in [*sys.modules]:
        if name.startswith((package, f"tusserver.store.{service}")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SettingsError, match=rf"pip install 'tusserver\[{service}\]'") as caught:
        build_uploads(Settings(store=f"{service}://abc"))
    assert "\n" not in str(caught.value)


def test_uploads_in_a_directory_do_not_need_the_packages_for_a_bucket() -> None:
    packages = {"aiobotocore", "botocore", "azure"}
    code = f"import sys, tusserver.compose; print({packages} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_defaults_are_the_documented_ones() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.base_path) == ("127.0.0.1", 8080, "/files/")
    assert settings.upload_dir == Path("uploads")
    assert (settings.expire_after, settings.sweep_interval) == (
        timedelta(hours=24),
        timedelta(hours=1),
    )
    assert settings.sync == "finish"


def test_values_may_be_written_as_on_the_command_line() -> None:
    settings = Settings.of(max_size="10GiB", upload_dir="x", expire_after="7d", port=1)
    assert settings == Settings(
        max_size=10 * 2**30, upload_dir=Path("x"), expire_after=timedelta(days=7), port=1
    )
    with pytest.raises(SettingsError, match="no setting colour"):
        Settings.of(colour="red")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base_path": "files"}, "begins with a slash"),
        ({"base_path": "//"}, "base-path is the path"),
        ({"base_path": "/a//b/"}, "base-path is the path"),
        ({"base_path": "/a/../b"}, "base-path is the path"),
        ({"base_path": "/a?b"}, "base-path is the path"),
        ({"base_path": "/a%20b"}, "base-path is the path"),
        ({"base_path": "/a\nb"}, "base-path is the path"),
        ({"cors_allow_origin": ("app.example",)}, "'app.example' is no origin"),
        ({"cors_allow_origin": ("https://app.example/path",)}, "is no origin"),
        ({"workers": 0}, "at least 1"),
        ({"port": 65536}, "from 0 to 65535"),
        ({"fan_out": -1}, "from 0 to 2"),
        ({"fan_out": 3}, "from 0 to 2"),
        ({"max_size": -1}, "at least 1 byte"),
        ({"max_size": 2**63}, "below 8192PiB"),
        ({"upload_dir": parse_path("")}, "upload-dir is empty"),
        ({"expire_after": timedelta(days=9999999)}, "expire-after is more than 0 and at most"),
        ({"network_timeout": timedelta(seconds=-1)}, "network-timeout is more than 0"),
        ({"tls_key": Path("x")}, "given together"),
        ({"workers": 2, "lock": "memory"}, "use --lock file"),
        ({"store": "s3://abc", "destination_root": "/x"}, "destination-root is for uploads in a"),
        ({"store": "s3://abc", "quarantine_dir": "/x"}, "quarantine-dir is for uploads in a"),
        ({"store": "s3://abc", "min_free_space": 1}, "min-free-space is for uploads in a"),
        ({"store": "s3://abc", "direct_io": "on"}, "direct-io is for uploads in a"),
        ({"store": "s3://abc", "s3_endpoint": "minio:9000"}, "s3-endpoint is a URL"),
        ({"store": "s3://abc", "s3_endpoint": "http://"}, "s3-endpoint is a URL"),
        ({"store": "s3://abc", "s3_endpoint": "http://me:key@x"}, "s3-endpoint is a URL"),
        ({"store": "s3://abc", "object_part_size": 5 * MIB - 1}, "at least 5MiB"),
        ({"store": "s3://abc", "object_part_size": None}, "at least 5MiB"),
        ({"store": "s3://abc", "object_part_size": 5 * 1024 * MIB + 1}, "at most 5GiB"),
        ({"store": "s3://abc", "max_size": 5 * MIB * MIB + 1}, "at most 5TiB"),
        ({"store": "azure://abc", "destination_root": "/x"}, "destination-root is for uploads in"),
        ({"store": "azure://abc", "azure_endpoint": "abc"}, "azure-endpoint is a URL"),
        ({"store": "azure://abc", "azure_endpoint": "http://x/?sig=y"}, "azure-endpoint is a URL"),
        ({"store": "azure://abc", "object_part_size": 5 * MIB - 1}, "at least 5MiB"),
        ({"store": "azure://abc", "object_part_size": 4000 * MIB + 1}, "at most 4000MiB"),
        ({"store": "azure://abc", "max_size": 100 * MIB * MIB + 1}, "at most 100TiB"),
        ({"cors_allow_credentials": True}, "name the origins"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_does_not_go_together_is_one_clear_sentence(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings(**values)


@pytest.mark.parametrize("path", ["/", "/files", "/a/b/", "/dépôt/", "/a b/", "/{x}/"])
def test_base_paths_are_written_as_people_read_them(path: str) -> None:
    assert Settings(base_path=path).base_path == path


def test_origins_may_have_any_scheme() -> None:
    origins = ("http://localhost:3000", "capacitor://localhost", "https://A.example/", "null")
    assert Settings(cors_allow_origin=origins).cors_allow_origin == origins


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trusted_proxies": "nonsense"}, "trusted-proxies: 'nonsense'"),
        ({"cors_allow_origin": "~["}, "cors-allow-origin: .* regular expression"),
    ],
)
def test_values_that_only_their_users_can_judge(
    values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message):
        create_app(upload_dir=tmp_path, **values)


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ({}, set()),
        ({"disable_termination": True}, {"termination"}),
        ({"disable_concatenation": True}, {"concatenation", "concatenation-unfinished"}),
        ({"expire_after": None}, {"expiration"}),
    ],
    ids=["all", "termination", "concatenation", "expiration"],
)
def test_what_is_switched_off_is_not_offered(
    values: dict[str, Any], missing: set[str], tmp_path: Path
) -> None:
    every = build_uploads(Settings(upload_dir=tmp_path)).capabilities.extensions
    found = build_uploads(Settings(upload_dir=tmp_path, **values)).capabilities.extensions
    assert every - found == missing


def test_every_setting_is_in_the_manual_with_its_default() -> None:
    manual = MANUAL.read_text()
    for item in fields(Settings):
        name = item.name.replace("_", "-")
        row = re.search(rf"^\| `{name}` \| `?([^|`]*)`? \|", manual, re.MULTILINE)
        assert row, f"{name} is not in {MANUAL.name}"
        shown = item.metadata["shown"]
        wanted = (
            {True: "on", False: "off"}.get(shown, str(shown))
            if isinstance(shown, bool)
            else str(shown)
        )
        assert row[1].strip() == (wanted or "–"), name


def test_the_manual_names_no_setting_that_does_not_exist() -> None:
    named = set(re.findall(r"^\| `([a-z0-9-]+)` \|", MANUAL.read_text(), re.MULTILINE))
    assert named == {item.name.replace("_", "-") for item in fields(Settings)}
