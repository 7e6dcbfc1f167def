"""Which paths are known to be on a network filesystem."""

from pathlib import Path

import pytest
from sidegate_sidecar.store.mounts import network_file_system

MOUNTS = r"""
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:20 / /proc rw,nosuid - proc proc rw
30 21 0:40 /export /srv/shared rw shared:7 master:2 - nfs4 server:/export rw,vers=4.2
31 30 8:2 / /srv/shared/local rw - xfs /dev/sdb1 rw
32 21 0:41 / /srv/with\040space rw - cifs //server/share rw
33 21 0:42 / /srv/covered rw - nfs server:/old rw
34 33 8:3 / /srv/covered rw - ext4 /dev/sdc1 rw
35 21 0:43 / /srv/home rw - fuse.sshfs host: rw
36 21 0:44 / /srv/bucket rw - fuse.portal portal rw
""".lstrip()


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/var/lib/sidegate/sessions.db", None),
        ("/srv/shared/sessions.db", "nfs4"),
        ("/srv/shared/deep/down/sessions.db", "nfs4"),
        ("/srv/shared/../local.db", None),
        ("/srv/shared-not/sessions.db", None),
        ("/srv/shared/local/sessions.db", None),
        ("/srv/with space/sessions.db", "cifs"),
        ("/srv/covered/sessions.db", None),
        ("/srv/home/sessions.db", "fuse.sshfs"),
        ("/srv/bucket/sessions.db", None),
    ],
)
def test_a_path_is_judged_by_the_mount_in_sight(tmp_path: Path, place: str, kind: str | None) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)

    assert network_file_system(Path(place), mounts) == kind


def test_where_nothing_tells_of_mounts_nothing_is_refused(tmp_path: Path) -> None:
    assert network_file_system(Path("/srv/shared/sessions.db"), tmp_path / "absent") is None
