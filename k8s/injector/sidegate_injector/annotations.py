"""What a pod's annotations ask for. They come from tenants: a short list is read, each by a strict rule. Pure.

None of them changes the sidecar's image, command, privileges or, but for the log level, environment.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from sidegate_injector.errors import Refused

PREFIX = "sidegate.dev/"
INJECT = f"{PREFIX}inject"
CPU = f"{PREFIX}cpu"
MEMORY = f"{PREFIX}memory"
LOG_LEVEL = f"{PREFIX}log-level"
CONFIG = f"{PREFIX}config"
INJECTED = f"{PREFIX}injected"  # not read as a wish: the injector's own account of what it did; and a label, "true"

MAX_CHARACTERS = 253  # of a value; RFC 1123 names, as Kubernetes bounds those of its objects

# The grammar of quantities is that of https://pkg.go.dev/k8s.io/apimachinery/pkg/api/resource#Quantity. Here none is
# negative, and an exponent has two digits at most: past that nothing is within the bounds, and arithmetic costs.
_QUANTITY = re.compile(
    r"\+?(?P<number>[0-9]+(\.[0-9]*)?|\.[0-9]+)"
    r"((?P<binary>[KMGTPE])i|(?P<decimal>[numkMGTPE])|[eE](?P<exponent>[-+]?[0-9]{1,2}))?"
)
_BINARY = {unit: Decimal(1024**power) for power, unit in enumerate("KMGTPE", start=1)}
_DECIMAL = {
    unit: Decimal(10) ** power for unit, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
}
LEAST_CPU = Decimal("0.001")  # cores. Kubernetes knows no less
LEAST_MEMORY = Decimal(1024**2)  # bytes. `m` in place of `Mi` is thousandths of one, and no container starts in those
MOST = Decimal(2**63 - 1)  # what is more counts as this to Kubernetes

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def _matching(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda value: compiled.fullmatch(value) is not None


def _at_least(least: Decimal) -> Callable[[str], bool]:
    def allows(value: str) -> bool:
        quantity = _QUANTITY.fullmatch(value)
        return quantity is not None and least <= _amount(quantity) <= MOST

    return allows


def _amount(quantity: re.Match[str]) -> Decimal:
    number = Decimal(quantity["number"])
    if quantity["exponent"]:
        return number.scaleb(int(quantity["exponent"]))
    return number * _BINARY.get(quantity["binary"], 1) * _DECIMAL.get(quantity["decimal"], 1)


_RULES: Mapping[str, tuple[Callable[[str], bool], str]] = {
    INJECT: (_matching("true|false"), 'must be "true" or "false"'),
    CPU: (_at_least(LEAST_CPU), "must be a quantity of Kubernetes', in cores, of 1m or more, such as 100m, 0.5 or 2"),
    MEMORY: (
        _at_least(LEAST_MEMORY),
        "must be a quantity of Kubernetes', in bytes, of 1Mi or more, such as 256Mi, 1.5Gi or 500M",
    ),
    LOG_LEVEL: (_matching("debug|info|warning|error"), "must be debug, info, warning or error"),
    CONFIG: (_matching(rf"{_LABEL}(\.{_LABEL})*"), "must be the name of a ConfigMap in the pod's namespace"),
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
        f"annotation {name} {mistake}"
        for name, value in ours.items()
        if name in _RULES and (mistake := _mistake(name, value))
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


def _mistake(name: str, value: object) -> str:
    """What is wrong with a value. Empty: nothing."""
    allows, rule = _RULES[name]
    if not isinstance(value, str):
        return f"must be text, in quotes; it {rule}"
    return "" if len(value) <= MAX_CHARACTERS and allows(value) else rule
