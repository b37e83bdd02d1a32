"""Where the drawing of a run puts lines: as few as tell the same."""

from workflows.drawing import CHIP, NODE, layout


def fan(count, *after):
    return (("a", ()), *((f"f{n}", ("a",)) for n in range(count)), *after)


def test_wide_fan_out_is_framed_and_has_one_line_in_and_one_out():
    made = layout(fan(60, ("z", tuple(f"f{n}" for n in range(60)))), CHIP)
    (frame,) = made.frames
    assert frame.keys == {f"f{n}" for n in range(60)}
    assert len(set(made.edges.values())) == 2
    for key in frame.keys:
        x, y = made.spots[key]
        assert frame.x < x
        assert frame.y < y
        assert x + CHIP.width < frame.x + frame.width
        assert y + CHIP.height < frame.y + frame.height


def test_frame_that_is_followed_in_part_keeps_the_lines_of_those_steps():
    made = layout(fan(8, ("y", ("f1",)), ("z", ("f1", "f2"))), NODE)
    assert len(made.frames) == 1
    assert len({path for (_need, key), path in made.edges.items() if key in ("y", "z")}) == 3


def test_layer_with_different_needs_has_no_frame():
    steps = (("a", ()), ("b", ()), *((f"f{n}", ("a", "b")[: 1 + n % 2]) for n in range(60)))
    assert layout(steps, CHIP).frames == []


def test_chain_has_no_frame():
    assert layout(tuple((f"s{n}", (f"s{n - 1}",) if n else ()) for n in range(100)), CHIP).frames == []
