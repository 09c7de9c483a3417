import json
import re

from jup2kub import certify
from jup2kub.model.run import CellError, CellOutcome


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def shown(**data):
    bundle = {mime.replace("_", "/"): value for mime, value in data.items()}
    return {"output_type": "display_data", "data": bundle, "metadata": {}}


def cell(*outputs, index=0, **more):
    return CellOutcome(index, outputs=outputs, **more)


def execution(*outcomes, **more):
    return certify.Execution({outcome.index: outcome for outcome in outcomes}, **more)


def compare(first, second, planned, **more):
    runs = [run if isinstance(run, certify.Execution) else execution(run) for run in (first, second, planned)]
    return certify.compare(*runs, **more)


def verdicts(certificate):
    return {(one.kind, one.name): one.verdict for one in certificate.comparisons}


def test_equal_executions_are_equal_however_streams_were_cut():
    one = cell(stream("a\n"), stream("w", "stderr"), stream("b\n"))
    other = cell(stream("w", "stderr"), stream("a\nb\n"))
    certificate = compare(one, one, other)
    assert certificate.equal
    assert set(verdicts(certificate).values()) == {"equal"}


def test_text_on_the_other_side_of_a_display_is_a_difference():
    one, other = cell(stream("a"), shown(text_plain="d")), cell(shown(text_plain="d"), stream("a"))
    assert not compare(one, one, other).equal


def test_a_difference_is_told_with_both_sides():
    certificate = compare(cell(stream("x 1")), cell(stream("x 1")), cell(stream("x 2")))
    assert not certificate.equal
    (one,) = [one for one in certificate.comparisons if one.verdict == "different"]
    assert (one.kind, one.name, one.first, one.planned) == ("stream", "stdout", "x 1", "x 2")


def test_what_differs_between_sequential_runs_is_not_held_against_the_plan():
    runs = [
        cell(stream(f"t {i}"), shown(image_png=f"png{i}"), digests={"x": f"d{i}", "y": "same"})
        for i in range(3)
    ]
    certificate = compare(*runs)
    assert certificate.equal
    assert verdicts(certificate) == {
        ("status", ""): "equal",
        ("stream", "stdout"): "nondeterministic",
        ("display", "image/png"): "nondeterministic",
        ("variable", "x"): "nondeterministic",
        ("variable", "y"): "equal",
    }


def test_images_are_compared_by_their_bytes():
    assert not compare(
        cell(shown(image_png="a")), cell(shown(image_png="a")), cell(shown(image_png="b"))
    ).equal


def test_an_output_that_is_missing_is_a_difference():
    one = cell(shown(text_plain="a"), shown(text_plain="b"))
    assert not compare(one, one, cell(shown(text_plain="a"))).equal
    assert not compare(one, one, execution()).equal
    random = [cell(shown(image_png=str(i))) for i in range(2)]
    assert not compare(*random, cell(shown(text_plain="a"))).equal


def test_files_whose_names_every_execution_makes_anew_are_matched():
    def run(folder, **more):
        return cell(files={f"/tmp/{folder}": "removed", f"/tmp/{folder}/0.npy": "a", "out.csv": "f", **more})

    def found(*three):
        return verdicts(compare(*map(execution, three)))

    same = found(run("tmp1x"), run("tmp2y"), run("tmp3z"))
    assert same["file", "/tmp/*/0.npy"] == "equal"
    assert same["file", "/tmp/*"] == "equal"
    other = run("tmp3z", **{"/tmp/tmp3z/0.npy": "b"})
    assert found(run("tmp1x"), run("tmp2y"), other)["file", "/tmp/*/0.npy"] == "different"
    more = run("tmp3z", **{"/tmp/tmp3z/1.npy": "b"})
    assert "different" in found(run("tmp1x"), run("tmp2y"), more).values()
    for planned in (cell(files={"out.csv": "f"}), cell(files={"out.csv": "f", "extra": "a"})):
        assert "different" in found(run("tmp1x"), run("tmp1x"), planned).values()


def test_variables_and_files_that_are_missing_or_other_are_differences():
    one = cell(digests={"x": "1"}, files={"out.csv": "f"})
    for planned in (cell(digests={"x": "2"}, files={"out.csv": "f"}), cell(digests={}, files={"out.csv": "f"}),
                    cell(digests={"x": "1"}), cell(digests={"x": "1"}, files={"out.csv": None})):  # fmt: skip
        assert not compare(one, one, planned).equal
    left = [execution(one, files={"out.csv": digest}) for digest in ("f", "f", "g")]
    assert verdicts(compare(*left))["file", "out.csv"] == "different"


def test_a_cell_that_makes_no_version_of_a_variable_leaves_it_as_it_was():
    made = cell(digests={"x": "1", "y": "1"})
    presumed, unchanged = cell(index=1, digests={"x": "1"}), cell(index=1, digests={"y": "2"})
    wrong, gone = (
        cell(index=1, digests={"x": "2", "y": "2"}),
        cell(index=1, digests={"x": "absent", "y": "2"}),
    )

    def equal(one, planned):
        return compare(execution(made, one), execution(made, one), execution(made, planned)).equal

    assert equal(
        cell(index=1, digests={"x": "1", "y": "2"}), unchanged
    )  # one plan presumes that x may change
    assert not equal(presumed, unchanged)
    assert not equal(wrong, unchanged)
    assert not equal(gone, unchanged)
    assert not equal(unchanged, wrong)


def test_a_variable_without_a_digest_is_not_compared_and_says_so():
    one = cell(digests={"x": None})
    certificate = compare(one, one, one)
    assert verdicts(certificate)["variable", "x"] == "not compared"
    assert certificate.counts["not compared"] == 1


def warning(line, message="old", path="/lib/pandas/core.py"):
    return stream(f"{path}:{line}: FutureWarning: {message}\n  frame = f()\n", "stderr")


def test_a_library_warning_may_be_shown_by_another_cell_but_not_be_lost():
    sequential = execution(cell(warning(3), warning(3)), cell(index=1))
    later = execution(cell(warning(3)), cell(warning(3), index=1))
    assert compare(sequential, sequential, later).equal
    assert compare(later, later, sequential).equal
    never = execution(cell(), cell(index=1))
    assert not compare(sequential, sequential, never).equal
    other = execution(cell(warning(3), warning(3, "new")), cell(index=1))
    assert not compare(sequential, sequential, other).equal


def test_text_beside_warnings_is_compared():
    one, other = cell(warning(3), stream("log a", "stderr")), cell(warning(3), stream("log b", "stderr"))
    assert not compare(one, one, other).equal


def failing(value, line="x = f()", status="error"):
    traceback = (f"\x1b[31mValueError\x1b[39m at 0x7f{value}", line)
    return cell(status=status, error=CellError("ValueError", "no", traceback))


def test_tracebacks_are_compared_without_colours_and_addresses():
    assert compare(failing(1), failing(2), failing(3)).equal
    assert not compare(failing(1), failing(1), failing(1, "y = g()")).equal
    assert not compare(failing(1), failing(1), cell()).equal


def test_a_cell_that_only_fails_by_plan_is_different_even_if_the_others_disagree():
    assert not compare(cell(), failing(1), failing(1, status="aborted")).equal


def test_the_certificate_is_plain_json_and_carries_what_it_was_given():
    certificate = compare(
        cell(),
        cell(),
        cell(),
        name="a.ipynb",
        plan={"steps": 2},
        versions={"python": "3.11"},
        timings={"save": 0.5},
    )
    data = json.loads(json.dumps(certificate.to_json()))
    assert data["equal"] is True
    assert data["counts"]["equal"] == 1
    assert (data["notebook"], data["plan"], data["versions"]) == ("a.ipynb", {"steps": 2}, {"python": "3.11"})
    assert data["timings"] == {"seconds": {"first": 0.0, "second": 0.0, "planned": 0.0}, "save": 0.5}


def test_the_page_stands_alone_and_escapes_what_it_shows():
    one, other = cell(stream("<script>a</script>")), cell(stream("<script>b</script>"))
    page = certify.html(compare(one, one, other, name="<a>.ipynb", versions={"<v>": "<w>"}))
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=['\"]?(?:https?:)?//", page)
    assert "something else in cell 0" in page
    assert "different" in page
