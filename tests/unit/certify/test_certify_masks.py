import time

import pytest

from jup2kub.certify.masks import agrees, plain


@pytest.mark.parametrize(
    ("first", "second", "third", "verdict"),
    [
        ("a 1", "a 1", "a 1", "equal"),
        ("a 1", "a 1", "a 2", "different"),
        ("loss 0.31 done", "loss 0.35 done", "loss 0.4 done", "nondeterministic"),
        ("loss 0.31 done", "loss 0.35 done", "loss 0.4 failed", "different"),
        ("loss 0.31 done", "loss 0.35 done", "loss nan done", "different"),
        ("loss 0.31 done", "loss 0.35 done", "loss -1e-9 done", "nondeterministic"),
        ("a 1 b 5", "a 2 b 5", "a 3 b 6", "different"),
        ("n=1\nA\nn=2", "n=1\nn=2", "n=1\nB C\nn=2", "nondeterministic"),
        ("n=1\nA\nn=2", "n=1\nn=2", "n=1\nn=3", "different"),
        ("took 0.1 s, of it 0.1 s", "took 0.2 s, of it 0.1 s", "took 0.3 s, of it 0.2 s", "nondeterministic"),
        ("took 0.1 s, x 0.1", "took 0.2 s, x 0.1", "took 0.3 s, x 0.2", "different"),
        ("took 990 ms", "took 1.02 s", "took 3 min", "nondeterministic"),
        ("at 12:30:01", "at 12:30:02", "at 12:31:00", "nondeterministic"),
        ("id 1b4e28ba-2fa1-11d2-883f-0016d3cca427", "id 1b4e28ba-2fa1-11d2-883f-0016d3cca428",
         "id 9b4e28ba-2fa1-11d2-883f-0016d3cca428", "nondeterministic"),
        ("tmp 3fa9c01", "tmp 9ac0f3b", "tmp 1234567", "nondeterministic"),
        ("x  y\n1  2.5", "x   y\n1  12.5", "x    y\n1  122.5", "nondeterministic"),
        ("----\n0.5", "-----\n10.5", "------\n100.5", "nondeterministic"),
        ("{'a', 'b'}", "{'b', 'a'}", "{'a', 'b'}", "nondeterministic"),
        ("", "x", "x", "nondeterministic"),
        ("x", "x", "", "different"),
    ],
)  # fmt: skip
def test_tokens_that_differ_by_themselves_are_masked_and_no_others(first, second, third, verdict):
    assert agrees(first, second, third)[0] == verdict


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("<f at 0x7f01>", "<f at 0x55aa>"),
        ("/tmp/ipykernel_12/345.py:1: x", "/tmp/ipykernel_99/345.py:1: x"),
        ("  0%|   | 0/9 [00:00<?, ?it/s]\r100%|###| 9/9 [00:01<00:00, 9.1it/s]\n", "100%|###| 9/9 [00:07<00:00, 1.2it/s]\n"),
        ("7it [00:00, 12.3it/s]", "7it [00:02, 2.3it/s]"),
        ("abc\rxy", "xyc"),
        ("a\r\nb", "a\nb"),
        ("CPU times: user 3 ms, sys: 0 ns, total: 3 ms\nWall time: 3.1 ms", "CPU times: user 5 µs, total: 5 µs\nWall time: 8 s"),
        ("1.2 µs ± 3 ns per loop (mean ± std. dev. of 7 runs, 10 loops each)",
         "9 ns ± 1 ns per loop (mean ± std. dev. of 7 runs, 1,000 loops each)"),
    ],
)  # fmt: skip
def test_what_never_counts_is_taken_away(one, other):
    assert plain(one) == plain(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("100%|###| 9/9 [00:01<00:00, 9.1it/s]", "100%|###| 8/8 [00:01<00:00, 9.1it/s]"),
        ("100%|###| 9/9 [00:01<00:00, 9.1it/s, loss=1]", "100%|###| 9/9 [00:01<00:00, 9.1it/s, loss=2]"),
        ("fit: 100%|###| 9/9 [00:01<00:00, 9.1it/s]", "load: 100%|###| 9/9 [00:01<00:00, 9.1it/s]"),
        ("0x10", "0x11"),
        ("in 3 s", "in 4 s"),
    ],
)
def test_results_are_kept(one, other):
    assert plain(one) != plain(other)


def test_long_outputs_take_no_square_of_time():
    first = "\n".join(f"row {i} value {i / 7:.4f}" for i in range(20_000))
    second = first.replace(".5", ".6") + "\nlast line of the second"
    assert agrees(first, second, first)[0] in ("nondeterministic", "different")


def test_long_lines_take_time_in_proportion() -> None:
    began = time.process_time()
    for line in ("x" * 1_000_000, "7" * 1_000_000, "7%|" * 300_000):
        assert plain(line) == line
    assert time.process_time() - began < 2.0
