"""tusserver: a resumable upload server (tus 1.0), by itself or mounted into an ASGI application."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tusserver.compose import TusApp, create_app
    from tusserver.settings import Settings, SettingsError
else:
    # Not by __getattr__: some servers evaluate "tusserver:create_app()" in what is there already.
    def create_app(*args: Any, **fields: Any) -> Any:  # noqa: ANN401 - as in `tusserver.compose`
        """A whole server as a Starlette application; see `tusserver.compose.create_app`."""
        return import_module("tusserver.compose").create_app(*args, **fields)


__version__ = "0.1.0"

__all__ = ["Settings", "SettingsError", "TusApp", "__version__", "create_app"]

_HOMES = {
    "Settings": "tusserver.settings",
    "SettingsError": "tusserver.settings",
    "TusApp": "tusserver.compose",
}


def __getattr__(name: str) -> object:
    # The whole server takes half a second to import, which a script that calls `tusserver upload`
    # for each file would pay each time.
    if name not in _HOMES:
        raise AttributeError(f"module 'tusserver' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
