"""Payloads of the largest size that are made to be dear to read. The tests and the benchmark run the same."""

from collections.abc import Callable, Mapping

from sidegate_sidecar.tokens.strict_json import MAX_VALUES

PAYLOAD_BYTES = 11_800  # what fits beside a header and an RSA signature


def _filled(start: str, unit: str, end: str) -> bytes:
    return (start + unit * ((PAYLOAD_BYTES - len(start) - len(end)) // len(unit)) + end).encode()


HOSTILE: Mapping[str, Callable[[], bytes]] = {
    "objects, as many as allowed": lambda: f'{{"x":[{"{}," * (MAX_VALUES // 2 - 4)}{{}}]}}'.encode(),
    "members, as many as allowed": lambda: ("{" + ",".join(f'"{n}":1' for n in range(1300)) + "}").encode(),
    "integers, as many as allowed": lambda: f'{{"x":[{"1234," * (MAX_VALUES - 4)}1]}}'.encode(),
    "reals, as many as allowed": lambda: f'{{"x":[{"1e-9," * (MAX_VALUES - 4)}1]}}'.encode(),
    "long integers": lambda: _filled('{"x":[', "9" * 309 + ",", "1]}"),
    "long reals": lambda: _filled('{"x":[', "0." + "9" * 300 + "e-300,", "1]}"),
    "too many objects": lambda: _filled('{"x":[', "{},", "{}]}"),
    "too many integers": lambda: _filled('{"x":[', "1,", "1]}"),
    "nothing but opening brackets": lambda: _filled("", "[", ""),
    "nothing but closing brackets": lambda: _filled("[" * 40, "]", ""),
    "pairs of brackets": lambda: _filled("[", "[],", "[]]"),
    "nothing but quotes": lambda: _filled("[" * 40, '"', ""),
    "escaped quotes in a string that never ends": lambda: _filled("[" * 40 + '"', '\\"', "\\"),
    "escaped backslashes": lambda: _filled('{"x":"\\u0001', "\\\\", '"}'),
    "escaped control characters": lambda: _filled('{"x":"', "\\u0001", '"}'),
    "escaped pairs of surrogates": lambda: _filled('{"x":"', "\\ud83d\\ude00", '"}'),
    "letters of four bytes": lambda: _filled('{"x":"', "\U0001f600", '"}')[: PAYLOAD_BYTES // 4],
    "escaped names": lambda: ("{" + ",".join(f'"\\u{n:04x}":0' for n in range(32, 900)) + "}").encode(),
    "spaces": lambda: _filled("{", " ", "}"),
    "not UTF-8 at the very end": lambda: _filled('{"x":"', "x", '"}')[:-2] + b'\xff"}',
}
