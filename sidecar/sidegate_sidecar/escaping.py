"""Strings from outside, made safe to show: in a terminal, in a log line, in a table."""

# What a terminal obeys rather than shows, and what can make a line say what it does not: C0, DEL and C1; the line and
# paragraph separators; the marks, embeddings, overrides and isolates that turn the direction of text (CVE-2021-42574).
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    code: f"\\u{code:04x}"
    for code in (0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


def escaped(text: str) -> str:
    r"""The text on one line, with everything escaped that does not merely show: `\x1b`, `\u202e`."""
    return text.translate(_ESCAPES)
