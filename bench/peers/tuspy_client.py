"""tuspy, as its documentation shows it."""

from __future__ import annotations

import sys

from tusclient.client import TusClient

url, path, *chunk = sys.argv[1:]
uploader = TusClient(url).uploader(path, chunk_size=int(chunk[0]) if chunk else sys.maxsize)
uploader.upload()
