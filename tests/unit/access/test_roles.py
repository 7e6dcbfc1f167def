"""The table of roles: it knows every RPC of the admin plane and no other, and the documentation says the same."""

import re
from pathlib import Path

import pytest
from google.protobuf import message_factory
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection
from sidegate.v1 import feed_pb2, revocation_pb2
from sidegate_sidecar.access import OPEN_METHODS, ROLES_FOR, Role
from sidegate_sidecar.rpc.reaches import EVERYTHING, reaches_of

PAGE = (Path(__file__).resolve().parents[3] / "docs/admin-access.md").read_text(encoding="utf-8")
SERVICES = [
    *revocation_pb2.DESCRIPTOR.services_by_name.values(),
    *feed_pb2.DESCRIPTOR.services_by_name.values(),
]
METHODS = {
    f"/{method.containing_service.full_name}/{method.name}": method
    for service in SERVICES
    for method in service.methods
}


def documented_roles() -> dict[str, set[str]]:
    table = PAGE.partition("| RPC | roles |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE)
    return {method: set(re.findall(r"`([\w-]+)`", roles)) for method, roles in rows}


def test_every_method_of_the_admin_plane_has_its_roles() -> None:
    assert ROLES_FOR.keys() == METHODS.keys() | {f"/{reflection.SERVICE_NAME}/ServerReflectionInfo"}


def test_what_is_open_to_all_is_health_and_nothing_else() -> None:
    [health] = health_pb2.DESCRIPTOR.services_by_name.values()
    assert {f"/{health.full_name}/{method.name}" for method in health.methods} == OPEN_METHODS


def test_the_documentation_has_the_same_table() -> None:
    in_code = {method.rpartition("/")[2]: {str(role) for role in roles} for method, roles in ROLES_FOR.items()}
    del in_code["ServerReflectionInfo"]  # any role, in words
    documented = documented_roles()
    del documented["ServerReflectionInfo"]

    assert documented == in_code


def test_who_ends_tenants_and_keys_has_a_role_of_its_own() -> None:
    assert {method for method, roles in ROLES_FOR.items() if Role.BREAKER in roles and len(roles) == 1} == {
        "/sidegate.v1.RevocationService/RevokeTenantSessions",
        "/sidegate.v1.RevocationService/RevokeSigningKey",
    }


def test_who_signs_users_out_can_do_nothing_else() -> None:
    plain = {method for method, roles in ROLES_FOR.items() if Role.SELF_SIGN_OUT in roles and len(roles) < len(Role)}
    assert plain == {
        "/sidegate.v1.RevocationService/RevokeSession",
        "/sidegate.v1.RevocationService/RevokeUserSessions",
    }


@pytest.mark.parametrize("method", METHODS)
def test_what_a_request_touches_is_known_of_each(method: str) -> None:
    """An empty request of whatever kind touches no tenant by name; a batch of nothing touches nothing."""
    request = message_factory.GetMessageClass(METHODS[method].input_type)()
    reaches = reaches_of(request, "https://only.example")

    if method.rpartition("/")[2] in ("WatchRevocations", "ListRevocations"):
        assert reaches == [EVERYTHING]
    else:
        assert all(reach.issuer == "https://only.example" and not reach.tenant_id for reach in reaches)
