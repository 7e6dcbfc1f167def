"""Annotations come from tenants: what is read, and by which rule."""

import pytest
from sidegate_injector.annotations import Wishes, wishes_in
from sidegate_injector.errors import Refused

from tests.unit.k8s.quantities import CPU, MEMORY

GOOD = [
    ("inject", "true", Wishes()),
    ("inject", "false", Wishes(wanted=False)),
    *(("cpu", value, Wishes(cpu=value)) for value in CPU),
    *(("memory", value, Wishes(memory=value)) for value in MEMORY),
    ("log-level", "debug", Wishes(log_level="debug")),
    ("config", "sidegate", Wishes(config="sidegate")),
    ("config", "a.b-c.0", Wishes(config="a.b-c.0")),
]
BAD: list[tuple[str, object]] = [
    *(("inject", value) for value in ("", "yes", "True", "FALSE", "false ", "false\n", "0", True, None)),
    *(("cpu", value) for value in ("", "0", "0m", "0.000", "-1", "+-1", ".", "1..", "1,5", "1_0", "\u0661", "1m\n", 1)),
    *(
        ("cpu", value)
        for value in ("0.5m", "999n", "1e", "1e-", "1e-4", "1e999", "1e99", "1ki", "1K", "0x1", "1 m", 0.5)
    ),
    *(("cpu", value) for value in ("inf", "nan", "10E", "1" * 254, "1e" + "9" * 250)),
    *(("memory", value) for value in ("", "0Mi", "1", "1Ki", "-1Gi", "512m", "1Gi;", "1GiB", "1g", None)),
    *(("memory", value) for value in ("1048575", "8Ei", "9223372036854775808", "1e19")),
    *(("log-level", value) for value in ("", "trace", "DEBUG", "debug,info", "info\nX=Y", 20)),
    *(("config", value) for value in ("", "A", "-a", "a-", "a..b", "../x", "a/b", "a b", "a" * 64, "a." * 127, "ä", 7)),
]


@pytest.mark.parametrize(("name", "value", "wishes"), GOOD, ids=[f"{name}={value}" for name, value, _ in GOOD])
def test_a_wish_is_read(name: str, value: str, wishes: Wishes) -> None:
    assert wishes_in({f"sidegate.dev/{name}": value, "other.dev/cpu": "lots"}) == wishes


@pytest.mark.parametrize(("name", "value"), BAD, ids=[f"{name}={value!r:.20}" for name, value in BAD])
def test_a_value_that_its_rule_does_not_allow_is_refused(name: str, value: object) -> None:
    with pytest.raises(Refused, match=rf"^annotation sidegate\.dev/{name} must "):
        wishes_in({f"sidegate.dev/{name}": value})


def test_every_mistake_is_told() -> None:
    with pytest.raises(Refused) as refusal:
        wishes_in({"sidegate.dev/cpu": "lots", "sidegate.dev/memory": "lots"})

    assert str(refusal.value).count("must be") == 2


@pytest.mark.parametrize("name", ["image", "command", "args", "env", "run-as-user", "privileged", "target", "Inject"])
def test_what_is_not_on_the_list_has_no_effect_and_is_told(name: str) -> None:
    assert wishes_in({f"sidegate.dev/{name}": "evil"}) == Wishes(unknown=(f"sidegate.dev/{name}",))


def test_the_injectors_own_account_is_no_wish() -> None:
    assert wishes_in({"sidegate.dev/injected": "{}"}) == Wishes()


def test_a_number_that_yaml_did_not_read_as_text_is_refused_for_that() -> None:
    with pytest.raises(Refused, match="must be text, in quotes"):
        wishes_in({"sidegate.dev/cpu": 2})
