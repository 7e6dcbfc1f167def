"""Annotations come from tenants: what is read, and by which rule."""

import pytest
from sidegate_injector.annotations import Wishes, wishes_in
from sidegate_injector.errors import Refused

GOOD = [
    ("inject", "true", Wishes()),
    ("inject", "false", Wishes(wanted=False)),
    ("cpu", "1m", Wishes(cpu="1m")),
    ("cpu", "99999m", Wishes(cpu="99999m")),
    ("cpu", "2", Wishes(cpu="2")),
    ("memory", "64Mi", Wishes(memory="64Mi")),
    ("memory", "4Gi", Wishes(memory="4Gi")),
    ("log-level", "debug", Wishes(log_level="debug")),
    ("config", "sidegate", Wishes(config="sidegate")),
    ("config", "a.b-c.0", Wishes(config="a.b-c.0")),
]
BAD: list[tuple[str, object]] = [
    *(("inject", value) for value in ("", "yes", "True", "FALSE", "false ", "false\n", "0", True, None)),
    *(("cpu", value) for value in ("", "0", "0m", "-1", "1.5", "100M", "1e3", "1Ei", "\u0661", "1m\n", 1)),
    *(("memory", value) for value in ("", "0Mi", "1", "1M", "1Ki", "-1Gi", "1Ti", "1e9", "999999Gi", "1Gi;", None)),
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
