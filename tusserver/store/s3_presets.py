"""What is peculiar to the services that speak S3."""

from __future__ import annotations

from dataclasses import dataclass

from tusserver.store.s3_options import PartChecksum


@dataclass(frozen=True, slots=True)
class Preset:
    """How one service is to be spoken to. `path_style`: the bucket stands in the path of the URL
    and not in the host's name. `region` where nobody names one.
    """

    path_style: bool = True
    checksum: PartChecksum = PartChecksum.CRC32
    are_equal: bool = False
    region: str | None = "us-east-1"


PRESETS = {
    "aws": Preset(path_style=False, region=None),
    "minio": Preset(),
    "seaweedfs": Preset(),
    "versitygw": Preset(),
    # MD5 is what every release of them knows.
    "ceph": Preset(checksum=PartChecksum.MD5),
    "r2": Preset(checksum=PartChecksum.MD5, are_equal=True, region="auto"),
    "other": Preset(checksum=PartChecksum.MD5),
}


def preset_of(name: str, endpoint: str) -> Preset:
    """The preset of this name; for `auto` AWS where there is no endpoint, else `other`."""
    if name == "auto":
        name = "other" if endpoint else "aws"
    return PRESETS[name]
