import pytest

from jup2kub.errors import UsageError
from jup2kub.ipynb.data import FOREIGN_KEYS
from jup2kub.ipynb.options import read_options
from jup2kub.model.notebook import MapOption, Options


def options(source="", **metadata):
    return read_options(7, source, metadata)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("#| step: train", Options(step="train")),
        ("#| step: 'train' # the long one", Options(step="train")),
        ("#| step", Options(step="cell-7")),
        ("#|step: a.b-c", Options(step="a.b-c")),
        ("#| map", Options(map=MapOption())),
        ("#| map: true", Options(map=MapOption())),
        ("#| map: false", Options()),
        ("#| map: chunks=64 limit=32", Options(map=MapOption(64, 32))),
        ("#| map chunks=64, limit=32", Options(map=MapOption(64, 32))),
        ("#| resources: cpu=4 memory=8Gi gpu=1", Options(cpu=4.0, memory=8 * 2**30, gpu=1)),
        ("#| resources: cpu=500m", Options(cpu=0.5)),
        ("#| resources: memory=1.5GB", Options(memory=1_500_000_000)),
        ("#| retries: 3", Options(retries=3)),
        ("#| timeout: 2h", Options(timeout=7200.0)),
        ("#| timeout: 1h 30m 5s", Options(timeout=5405.0)),
        ("#| timeout: 90", Options(timeout=90.0)),
        ("#| barrier", Options(barrier=True)),
        ("#| barrier: false", Options()),
        ("#| skip: true", Options(skip=True)),
        ("#| cache: false", Options(cache=False)),
        ("#| cache", Options(cache=True)),
        ("#| volume: data:/mnt/data", Options(volume="data:/mnt/data")),
        ("#| secret: db-password", Options(secret="db-password")),
    ],
)
def test_every_option(line, expected):
    assert options(line + "\nx = 1") == expected


@pytest.mark.parametrize(
    "metadata",
    [
        {"jup2kub": {"step": "a", "timeout": 60, "resources": {"cpu": 2}, "barrier": True}},
        {"tags": ["jup2kub:step=a", "jup2kub-timeout:1m", "jup2kub:resources=cpu=2", "jup2kub:barrier", "other"]},
        {"jup2kub": {"where": "main", "step": "s3", "options": {"step": "a", "timeout": "1m"}},
         "tags": ["jup2kub:barrier", "jup2kub:resources:cpu=2"]},
    ],
)  # fmt: skip
def test_metadata_and_tags_say_the_same_as_comments(metadata):
    assert options(**metadata) == Options(step="a", timeout=60.0, cpu=2.0, barrier=True)


def test_the_record_of_an_earlier_run_is_no_option():
    assert options(jup2kub={"where": "step", "step": "s1", "worker": "w", "seconds": 3}) == Options()


def test_the_tag_of_jupyters_own_tools_skips():
    assert options(tags=["skip-execution"]).skip


def test_options_may_follow_a_cell_magic_blank_lines_and_remarks():
    assert options("%%time\n\n# a remark\n#| step: a\n\n#| retries: 1\nx = 1") == Options(step="a", retries=1)


@pytest.mark.parametrize("key", sorted(FOREIGN_KEYS - {"cache"}))
def test_keys_of_other_tools_are_let_through(key):
    assert options(f"#| {key}: value") == options(f"#|{key}") == Options()


@pytest.mark.parametrize(
    "line",
    [
        "#| fig-cap: |\n#|   step: not an option\n#|   more",
        "#| fig-subcap:\n#|   - one\n#|   - two",
        "#|export core",
        "#| a | b | c",
        "#|----|",
        "#| note to myself",
        "#|",
        "# step: a",
        '"""\n#| step: a\n"""',
    ],
)
def test_what_is_no_option_is_let_through(line):
    assert options(line + "\nx = 1") == Options()


@pytest.mark.parametrize(
    ("source", "code", "place", "hint"),
    [
        ("#| stpe: a", "J2K210", "cell 7, line 1", "`step`"),
        ("#| cpu: 4", "J2K210", "cell 7, line 1", "resources: cpu=4"),
        ("\n#| zzz: 4", "J2K210", "cell 7, line 2", "`timeout`"),
        ("#| barier", "J2K210", "cell 7, line 1", "`barrier`"),
        ("#| timeout: soon", "J2K211", "cell 7, line 1", "timeout: 2h 30m"),
        ("#| timeout: 1m 2h", "J2K211", "line 1", ""),
        ("#| timeout: 0", "J2K211", "line 1", ""),
        ("#| timeout", "J2K211", "line 1", ""),
        ("#| retries: -1", "J2K211", "line 1", ""),
        ("#| resources: cpus=4", "J2K211", "line 1", ""),
        ("#| resources: cpu=0", "J2K211", "line 1", ""),
        ("#| resources: memory=8gigs", "J2K211", "line 1", ""),
        ("#| resources: cpu=1 cpu=2", "J2K211", "line 1", ""),
        ("#| map: chunks=0", "J2K211", "line 1", ""),
        ("#| map: fast", "J2K211", "line 1", ""),
        ("#| barrier: perhaps", "J2K211", "line 1", ""),
        ("#| step: main", "J2K211", "line 1", ""),
        ("#| step: a b", "J2K211", "line 1", ""),
        ("#| volume: data", "J2K211", "line 1", "volume: data:/data"),
        ("#| secret: My Secret", "J2K211", "line 1", ""),
        ("#| step: a\n#| step: b", "J2K212", "line 2", "keep one"),
        ("x = 1\n#| step: a", "J2K213", "line 2", "top"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_place_and_with_a_way_out(source, code, place, hint):
    with pytest.raises(UsageError) as caught:
        options(source)
    assert caught.value.code == code
    assert place in caught.value.message
    assert hint in caught.value.hint


def test_a_comment_and_a_tag_may_not_contradict_each_other():
    with pytest.raises(UsageError, match="tag `jup2kub:step=b`"):
        options("#| step: a", tags=["jup2kub:step=b"])
    assert options("#| step: a", tags=["jup2kub:step=a"]) == Options(step="a")
