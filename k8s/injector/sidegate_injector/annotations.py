"""What a pod's annotations ask for. They come from tenants: a short list is read, each by a strict rule. Pure.

None of them changes the sidecar's image, command, privileges or, but for the log level, environment.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sidegate_injector.errors import Refused

PREFIX = "sidegate.dev/"
INJECT = f"{PREFIX}inject"
CPU = f"{PREFIX}cpu"
MEMORY = f"{PREFIX}memory"
LOG_LEVEL = f"{PREFIX}log-level"
CONFIG = f"{PREFIX}config"
INJECTED = f"{PREFIX}injected"  # not read as a wish: the injector's own account of what it did

MAX_CONFIG_CHARACTERS = 253  # RFC 1123 names, as Kubernetes bounds those of its objects

# Of Kubernetes' quantities the two spellings that people use, so that 1e9, 5Ei and -1 are not ours to interpret.
_CPU = re.compile(r"[1-9][0-9]{0,4}m|[1-9][0-9]?")
_MEMORY = re.compile(r"[1-9][0-9]{0,4}(Mi|Gi)")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_CONFIG = re.compile(rf"{_LABEL}(\.{_LABEL})*")

_RULES: Mapping[str, tuple[re.Pattern[str], str]] = {
    INJECT: (re.compile("true|false"), 'must be "true" or "false"'),
    CPU: (_CPU, "must be a number of millicores or cores, such as 100m or 2"),
    MEMORY: (_MEMORY, "must be a number of mebibytes or gibibytes, such as 256Mi or 1Gi"),
    LOG_LEVEL: (re.compile("debug|info|warning|error"), "must be debug, info, warning or error"),
    CONFIG: (_CONFIG, "must be the name of a ConfigMap in the pod's namespace"),
}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the annotations ask for; None: nothing.

    Attributes:
        wanted: Whether the pod is to have a sidecar.
        cpu: As Kubernetes writes quantities.
        memory: Likewise.
        config: The name of the ConfigMap with the sidecar's settings.
        unknown: Annotations under our prefix that nothing reads, in order.
    """

    wanted: bool = True
    cpu: str | None = None
    memory: str | None = None
    log_level: str | None = None
    config: str | None = None
    unknown: tuple[str, ...] = ()


def wishes_in(annotations: Mapping[str, object]) -> Wishes:
    """Read them.

    Raises:
        Refused: With every value that its rule does not allow.
    """
    ours = {name: value for name, value in annotations.items() if name.startswith(PREFIX) and name != INJECTED}
    mistakes = [
        f"annotation {name} {_RULES[name][1]}"
        for name, value in ours.items()
        if name in _RULES and not (isinstance(value, str) and _allows(name, value))
    ]
    if mistakes:
        raise Refused("; ".join(mistakes))

    def wish(name: str) -> str | None:
        return str(ours[name]) if name in ours else None

    return Wishes(
        wanted=wish(INJECT) != "false",
        cpu=wish(CPU),
        memory=wish(MEMORY),
        log_level=wish(LOG_LEVEL),
        config=wish(CONFIG),
        unknown=tuple(sorted(ours.keys() - _RULES.keys())),
    )


def _allows(name: str, value: str) -> bool:
    return len(value) <= MAX_CONFIG_CHARACTERS and _RULES[name][0].fullmatch(value) is not None
