"""Makes the bucket of the cluster if it is not there yet, and waits for the service until then.

    python make_bucket.py ENDPOINT BUCKET

with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment. Needs tusserver[s3].
"""

from __future__ import annotations

import sys
import time

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session

PATIENCE = 120.0


def main(endpoint: str, bucket: str) -> None:
    client = get_session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=10),
    )
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            client.create_bucket(Bucket=bucket)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                break
            if time.monotonic() > deadline or not code.startswith(("5", "Internal", "SlowDown")):
                sys.exit(f"bucket {bucket}: {error}")
        except BotoCoreError as error:
            if time.monotonic() > deadline:
                sys.exit(f"{endpoint} does not answer: {error}")
        else:
            break
        time.sleep(0.5)
    sys.stdout.write(f"bucket {bucket} is there\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
