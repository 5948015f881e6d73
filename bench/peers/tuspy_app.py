"""tuspyserver in a FastAPI application, as its documentation shows it."""

import os

from fastapi import FastAPI
from tuspyserver import create_tus_router

app = FastAPI()
app.include_router(
    create_tus_router(prefix="files", files_dir=os.environ["TUSPYSERVER_DIR"], max_size=2**40)
)
