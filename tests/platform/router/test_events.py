"""The event gate: whole events, in order, unchanged, however the bytes were cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_platform.router.events import HELD_BYTES_MAX, EventGate

lines = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12).map(
    str.encode
)


@given(st.lists(lines, max_size=6), st.sampled_from([b"\n\n", b"\r\n\r\n"]), st.data())
def test_any_cut_gives_the_same_whole_events(
    texts: list[bytes], end: bytes, data: st.DataObject
) -> None:
    """What came out is always a run of whole events and, at the end, all that went in."""
    whole = [b"data: " + text + end for text in [*texts, b"[DONE]"]]
    stream = b"".join(whole)
    ends = {len(b"".join(whole[:count])) for count in range(len(whole) + 1)}
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    gate, passed = EventGate(), b""
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        passed += gate.feed(stream[start:stop])
        assert len(passed) in ends
        assert gate.done is (passed == stream and bool(passed))
    assert passed == stream


@pytest.mark.parametrize(
    ("left", "rest"), [(b"data: [DONE]\n", b"data: [DONE]\n"), (b"data: {", b"")]
)
def test_only_done_may_lack_its_blank_line(left: bytes, rest: bytes) -> None:
    """Half an event never reaches the client, except the one that says nothing more comes."""
    gate = EventGate()
    assert gate.feed(b"data: 1\n\n" + left) == b"data: 1\n\n"
    assert gate.rest() == rest
    assert gate.done is bool(rest)


def test_error_text_inside_a_token_is_no_error() -> None:
    """A model may write about errors; only an event that is one counts."""
    gate = EventGate()
    gate.feed(b'data: {"choices":[{"delta":{"content":"data: {\\"error\\""}}]}\n\n')
    assert not gate.failed
    gate.feed(b'data: {"error":{"code":500}}\n\n')
    assert gate.failed


def test_what_is_held_is_bounded() -> None:
    """An event without end is passed on in pieces instead of being piled up."""
    gate = EventGate()
    assert gate.feed(b"x" * HELD_BYTES_MAX) == b""
    assert len(gate.feed(b"x")) == HELD_BYTES_MAX + 1
