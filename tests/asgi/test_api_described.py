"""The OpenAPI description of the status API holds, as schemathesis finds out by trying."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation, BaseSchema

from tests.servers import serving
from tests.status.site import ADMIN, KIM, SECRET

SIGNING = b"another secret of thirty-two bytes at the least"
CREATED = {**ADMIN, "Upload-Length": "5", "Upload-Metadata": "filename YS5oNQ=="}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    """The description of a real server with an upload in it."""
    directory: Path = tmp_path_factory.mktemp("described")
    (directory / "secret").write_bytes(SECRET)
    (directory / "signing").write_bytes(SIGNING)
    with serving(
        directory / "up",
        jwt_secret_file=directory / "secret",
        jwt_admin_claim="roles",
        signing_secret_file=directory / "signing",
    ) as tus:
        assert tus.post(CREATED).status == 201
        assert not isinstance(tus.address, str)
        host, port = tus.address
        yield schemathesis.openapi.from_url(f"http://{host}:{port}/api/openapi.json")


Operation = APIOperation[Any, Any, Any, Any]


def operations(described: BaseSchema) -> Iterator[Operation]:
    """All but the streams, which have no end that one could wait for; test_api is about them."""
    for found in described.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if not operation.path.endswith("events"):
            yield operation


@pytest.mark.parametrize("caller", [ADMIN, KIM, {}], ids=["admin", "user", "nobody"])
def test_the_api_keeps_its_description(described: BaseSchema, caller: dict[str, str]) -> None:
    tried = []
    for operation in operations(described):
        answer_to(operation, caller)
        tried.append(operation.label)
    assert len(tried) == 5, tried


def answer_to(operation: Operation, caller: dict[str, str]) -> None:
    """Raises if an answer is not as it is described."""

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def try_it(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(headers=caller)

    try_it()
