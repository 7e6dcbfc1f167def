"""Which filesystem a path is on, as far as the kernel tells for nothing."""

from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset({"afs", "ceph", "cifs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"})
_NETWORK_FUSE = frozenset({"fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs"})


def network_file_system(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """The type of the network filesystem that `path` is on, or would be. None: on none known, or nobody can tell.

    Source: proc_pid_mountinfo(5): the fifth field is the mount point, and the type follows a lone hyphen.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None  # no Linux
    kinds: dict[Path, str] = {}
    for line in lines:
        fields, _, source = line.partition(" - ")
        # Of several mounts on one point the last is the one in sight.
        kinds[Path(_unescaped(fields.split()[4]))] = source.split()[0]
    place = path.resolve()
    kind = next((kinds[point] for point in (place, *place.parents) if point in kinds), None)
    return kind if kind in _NETWORK | _NETWORK_FUSE else None


def _unescaped(point: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, character)
    return point
