"""The checker finds what is wrong in small histories, each wrong in one way, and nothing in those that are right."""

from dataclasses import replace

import pytest
from sidegate import Revision

from tests.history.checker import Rule, violations
from tests.history.operations import (
    Answer,
    Downtime,
    History,
    LogRecord,
    Outage,
    Outcome,
    Registration,
    Revocation,
    Verification,
)


def at(sequence: int) -> Revision:
    return Revision("store", sequence)


REGISTERED = Registration(sidecar="a", began=1, ended=2, handle="phone", user_id="alice", outcome=Outcome.ACKNOWLEDGED)
REVOKED = Revocation(sidecar="a", began=10, ended=11, handle="phone", outcome=Outcome.ACKNOWLEDGED, revision=at(1))
USER_REVOKED = Revocation(
    sidecar="a", began=10, ended=11, user_id="alice", outcome=Outcome.ACKNOWLEDGED, revision=at(2)
)
ACCEPTED = Verification(
    sidecar="b", began=20, ended=20.1, handle="phone", user_id="alice", answer=Answer.VALID, revision=at(0)
)
REFUSED = replace(ACCEPTED, answer=Answer.REVOKED)
UNAVAILABLE = replace(ACCEPTED, answer=Answer.UNAVAILABLE, revision=None)
OUTAGE = Outage(began=15, ended=25)
LOGGED = LogRecord(revision=at(1), handle="phone")
USER_LOGGED = (LogRecord(revision=at(1), user_id="alice"), LogRecord(revision=at(2), handle="phone", cause=1))


def broken(history: History) -> set[Rule]:
    return {violation.rule for violation in violations(history)}


WRONG: dict[str, tuple[Rule, History]] = {
    "check_database accepts what was revoked before": (
        Rule.DATABASE_CHECK,
        History([replace(ACCEPTED, check_database=True)], [REVOKED]),
    ),
    "check_database accepts a session of a user who was revoked before": (
        Rule.DATABASE_CHECK,
        History([replace(ACCEPTED, check_database=True)], [USER_REVOKED], [REGISTERED]),
    ),
    "check_database accepts an unregistered session of a user who was revoked before": (
        Rule.DATABASE_CHECK,
        History([replace(ACCEPTED, check_database=True)], [USER_REVOKED]),
    ),
    "an acceptance names a revision that includes the revocation": (
        Rule.OWN_REVISION,
        History([replace(ACCEPTED, revision=at(1))], [REVOKED]),
    ),
    "so it does, before the revocation is acknowledged": (
        Rule.OWN_REVISION,
        History([replace(ACCEPTED, revision=at(1), began=10.1, ended=10.2)], [REVOKED]),
    ),
    "so it does, of a revocation that was never acknowledged and is in the log": (
        Rule.OWN_REVISION,
        History(
            [replace(ACCEPTED, revision=at(1))],
            [replace(REVOKED, outcome=Outcome.UNKNOWN, revision=None)],
            log=[LOGGED],
        ),
    ),
    "the sidecar that took it accepts": (
        Rule.WHERE_IT_WAS_TAKEN,
        History([replace(ACCEPTED, sidecar="a")], [REVOKED]),
    ),
    "accepted in spite of at_least_as_fresh": (
        Rule.READ_YOUR_REVOCATION,
        History([replace(ACCEPTED, at_least_as_fresh=at(1))], [REVOKED]),
    ),
    "an acknowledged revocation is not in the log": (Rule.DURABILITY, History([], [REVOKED], log=[])),
    "it is in the log only later": (
        Rule.DURABILITY,
        History([], [REVOKED], log=[LogRecord(revision=at(1), handle="other"), replace(LOGGED, revision=at(2))]),
    ),
    "a user's acknowledged revocation is not in the log": (
        Rule.DURABILITY,
        History([], [replace(USER_REVOKED, revision=at(1))], log=[LOGGED]),
    ),
    "a session of the user is not in the log": (
        Rule.DURABILITY,
        History([], [USER_REVOKED], [REGISTERED], log=[USER_LOGGED[0], LogRecord(revision=at(2), handle="other")]),
    ),
    "the log has a gap": (Rule.LOG_ORDER, History(log=[LOGGED, LogRecord(revision=at(3), handle="other")])),
    "the log has an entry twice": (Rule.LOG_ORDER, History(log=[LOGGED, replace(LOGGED, handle="other")])),
    "half of a user's revocation is in the log": (Rule.LOG_ORDER, History(log=[replace(LOGGED, cause=7)])),
    "the cause of an entry is no user's": (
        Rule.LOG_ORDER,
        History(log=[replace(LOGGED, user_id="alice"), replace(USER_LOGGED[1], handle="laptop")]),
    ),
    "another user's revocation is in the log in place of a user's": (
        Rule.DURABILITY,
        History([], [USER_REVOKED], log=[replace(USER_LOGGED[0], user_id="bob"), USER_LOGGED[1]]),
    ),
    "a revoked handle is registered": (
        Rule.REVIVAL,
        History([], [REVOKED], [replace(REGISTERED, began=12, ended=13)]),
    ),
    "refused, and nobody revoked it": (Rule.INVENTION, History([REFUSED])),
    "refused before it was revoked": (Rule.INVENTION, History([replace(REFUSED, began=5, ended=6)], [REVOKED])),
    "refused for a revocation that was declined": (
        Rule.INVENTION,
        History([REFUSED], [replace(REVOKED, outcome=Outcome.DECLINED)]),
    ),
    "the spared session is refused": (
        Rule.INVENTION,
        History([REFUSED], [replace(USER_REVOKED, spared="phone")], [REGISTERED]),
    ),
    "a session begun after its user was revoked is refused": (
        Rule.INVENTION,
        History([REFUSED], [USER_REVOKED], [replace(REGISTERED, began=12, ended=13)]),
    ),
    "a revoked session is refused for another reason": (
        Rule.INVENTION,
        History([replace(REFUSED, answer=Answer.REFUSED)], [REVOKED]),
    ),
    "an outage stops a stateless verification": (Rule.STATELESS, History([UNAVAILABLE], outages=[OUTAGE])),
    "a stateless verification has no verdict, and another sidecar is down": (
        Rule.STATELESS,
        History([UNAVAILABLE], downtimes=[Downtime(sidecar="a", began=15, ended=25)]),
    ),
    "so it has none, after its sidecar has come back": (
        Rule.STATELESS,
        History([UNAVAILABLE], downtimes=[Downtime(sidecar="b", began=15, ended=19)]),
    ),
    "check_database accepts during an outage": (
        Rule.OUTAGE_DATABASE_CHECK,
        History([replace(ACCEPTED, check_database=True)], outages=[OUTAGE]),
    ),
    "check_database hangs during an outage": (
        Rule.OUTAGE_PATIENCE,
        History([replace(UNAVAILABLE, check_database=True, ended=20.4)], outages=[OUTAGE]),
    ),
    "revisions of two stores": (
        Rule.ONE_STORE,
        History([replace(ACCEPTED, revision=Revision("other", 1))], log=[replace(LOGGED, handle="another")]),
    ),
}

RIGHT: dict[str, History] = {
    "nothing happened": History(),
    "refused after it was revoked": History([REFUSED], [REVOKED], [REGISTERED], log=[LOGGED]),
    "another sidecar has not heard of it yet": History([ACCEPTED], [REVOKED]),
    "another sidecar had not heard of it, as its revision says": History([ACCEPTED], [REVOKED], log=[LOGGED]),
    "a user's revocation of unknown outcome happened late": History(
        [REFUSED],
        [replace(USER_REVOKED, outcome=Outcome.UNKNOWN, revision=None)],
        [replace(REGISTERED, began=12, ended=13)],
    ),
    "check_database began before the acknowledgement": History(
        [replace(ACCEPTED, check_database=True, began=10.5, ended=12)], [REVOKED]
    ),
    "as fresh as an earlier revocation": History(
        [replace(ACCEPTED, at_least_as_fresh=at(1))], [replace(REVOKED, revision=at(2))]
    ),
    "the outcome is unknown and it did not happen": History(
        [replace(ACCEPTED, check_database=True)], [replace(REVOKED, outcome=Outcome.UNKNOWN, revision=None)], log=[]
    ),
    "the outcome is unknown and it did happen": History(
        [REFUSED], [replace(REVOKED, outcome=Outcome.UNKNOWN, revision=None)], log=[LOGGED]
    ),
    "it was declined and changed nothing": History(
        [replace(ACCEPTED, check_database=True)], [replace(REVOKED, outcome=Outcome.DECLINED, revision=None)], log=[]
    ),
    "refused while the revocation is under way": History([replace(REFUSED, began=10.1, ended=10.2)], [REVOKED]),
    "all of a user": History([REFUSED], [USER_REVOKED], [REGISTERED], log=[*USER_LOGGED]),
    "a session begun after its user was revoked": History(
        [replace(ACCEPTED, check_database=True, revision=at(2))],
        [USER_REVOKED],
        [replace(REGISTERED, began=12, ended=13)],
        log=[USER_LOGGED[0], LogRecord(revision=at(2), handle="laptop", cause=1)],
    ),
    "the spared session": History(
        [replace(ACCEPTED, check_database=True, revision=at(2))], [replace(USER_REVOKED, spared="phone")], [REGISTERED]
    ),
    "a session registered while its user is revoked may be refused": History(
        [REFUSED], [USER_REVOKED], [replace(REGISTERED, began=10.1, ended=10.2)]
    ),
    "or be accepted": History(
        [replace(ACCEPTED, check_database=True)], [USER_REVOKED], [replace(REGISTERED, began=10.1, ended=10.2)]
    ),
    "an outage": History(
        [
            replace(UNAVAILABLE, check_database=True, ended=20.29),
            replace(UNAVAILABLE, at_least_as_fresh=at(1)),
            ACCEPTED,
        ],
        outages=[OUTAGE],
    ),
    "an outage of another sidecar": History(
        [replace(ACCEPTED, check_database=True)], outages=[replace(OUTAGE, sidecar="a")]
    ),
    "the sidecar is down": History([UNAVAILABLE], downtimes=[Downtime(sidecar="b", began=20.05, ended=30)]),
    "asked before the outage and answered in it": History(
        [replace(ACCEPTED, check_database=True, began=14.9, ended=15.1)], outages=[OUTAGE]
    ),
    "the register is needed and there is none": History([UNAVAILABLE], [USER_REVOKED], outages=[OUTAGE]),
}


@pytest.mark.parametrize(("rule", "history"), WRONG.values(), ids=WRONG)
def test_a_broken_promise_is_found(rule: Rule, history: History) -> None:
    assert broken(history) == {rule}


@pytest.mark.parametrize("history", RIGHT.values(), ids=RIGHT)
def test_nothing_is_found_where_nothing_is_wrong(history: History) -> None:
    assert violations(history) == []


def test_every_rule_is_broken_by_some_history() -> None:
    assert {rule for rule, _ in WRONG.values()} == set(Rule)
