"""tusserver: a resumable upload server (tus 1.0), by itself or mounted into an ASGI application."""

from tusserver.compose import TusApp, create_app
from tusserver.settings import Settings, SettingsError

__version__ = "0.1.0"

__all__ = ["Settings", "SettingsError", "TusApp", "__version__", "create_app"]
