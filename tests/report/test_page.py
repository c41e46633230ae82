"""The page of a run: complete, well-formed, harmless, and there when half of the run is not."""

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from run_files import METRICS, eval_row, ppo_row, sample, sft_row, write_lines, write_run

from stepcoder_jax.report import ReportError, write_report

VOID = {"meta", "br", "link", "img", "input", "hr"}
HOSTILE = (
    "</pre></script><script>alert(1)</script><img src=x onerror=alert(1)>\x00\x1b[2J\ud800\u202e"
)


class Page(HTMLParser):
    """Elements, attributes and text of a page; raises where a tag closes what is not open."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def report(run):
    page = write_report(run)
    assert page == run / "report.html"
    return page.read_text(encoding="utf-8")


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "quickstart")


def test_a_whole_run_has_every_part_and_no_gap(run):
    page = Page(report(run))
    for words in (
        "quickstart",
        "20 supervised steps",
        "3 PPO iterations",
        "3 min 48 s time in PPO",
        "25.0 % → 37.5 %",
        "+12.5 points",
        "run_dir: runs/quickstart",
        "Iteration 2",
    ):
        assert words in page.words
    assert "does not have" not in page.words
    assert page.tags.count("svg") == 18


def test_the_table_of_verdicts_has_the_papers_columns(run):
    page = Page(report(run))
    assert "compile errors runtime errors failures passes" in page.words
    # A time limit is a runtime error.
    assert "heldout after SFT 200 12.5 % 12.5 % 25.0 % 50.0 % pass@1 25.0 %" in page.words


def test_the_page_refers_to_nothing_outside(run):
    html = report(run)
    page = Page(html)
    assert not re.search(r"https?:|//\w|@import|url\(", html)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not {"src", "href"} & {name for name, _ in page.attributes}


def test_charts_are_well_formed_and_stay_in_their_frame(run):
    for svg in re.findall(r"<svg.*?</svg>", report(run), flags=re.DOTALL):
        tree = ElementTree.fromstring(svg)
        _, _, width, height = map(float, tree.get("viewBox").split())
        for path in tree.iter("path"):
            points = re.findall(r"([\d.-]+) ([\d.-]+)", path.get("d"))
            assert points
            assert all(0 <= float(x) <= width and 0 <= float(y) <= height for x, y in points)


@pytest.mark.parametrize(
    "field", ["question", "response", "prefix", "problem_id", "verdict", "reward", "executed"]
)
def test_untrusted_text_is_shown_and_harmless(tmp_path, field):
    run = write_run(tmp_path / "run", samples=[sample(1, **{"executed": [], field: HOSTILE})])
    page = Page(report(run))
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert not re.search("[\x00-\x08\x0e-\x1f\u202a-\u202e\ud800-\udfff]", "".join(page.text))
    if field not in ("reward", "executed"):
        assert "</script><script>alert(1)</script>" in page.words


def test_names_of_problem_sets_and_the_recipe_are_escaped(tmp_path):
    rows = [eval_row("after_sft", "<b>set", 0.5), eval_row("<i>label", "<b>set", 0.5)]
    run = write_run(tmp_path / "<u>run", metrics=rows)
    (run / "config.yaml").write_text("<s>recipe", encoding="utf-8")
    page = Page(report(run))
    assert not {"i", "u", "s"} & set(page.tags)
    for name in ("<b>set", "<i>label", "<u>run", "<s>recipe"):
        assert name in page.words


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("config.yaml", "There is no config.yaml."),
        ("metrics.jsonl", "There is no metrics.jsonl."),
        ("samples.jsonl", "There is no samples.jsonl."),
        ("summary.json", "There is no summary.json."),
    ],
)
def test_a_missing_file_is_a_sentence_and_the_rest_is_there(run, file, sentence):
    (run / file).unlink()
    page = Page(report(run))
    assert sentence in page.words
    assert ("Recipe" in page.words) == (file != "config.yaml")
    assert ("Pass rate" in page.words) == (file != "metrics.jsonl")
    assert ("Iteration 2" in page.words) == (file != "samples.jsonl")
    assert "25.0 % → 37.5 %" in page.words


def test_a_phase_that_has_not_begun_is_a_sentence(tmp_path):
    page = Page(report(write_run(tmp_path / "run", metrics=[sft_row(1)])))
    assert "No PPO iteration has been logged." in page.words
    assert "No evaluation has been logged." in page.words
    assert "Supervised fine-tuning" in page.words


def test_half_a_line_is_left_out_and_said(run):
    with (run / "metrics.jsonl").open("a") as log:
        log.write('{"phase": "ppo", "st')
    page = Page(report(run))
    assert f"1 lines are not JSON objects (first: line {len(METRICS) + 1})" in page.words
    assert "3 PPO iterations" in page.words


def test_numbers_that_were_not_measured_leave_their_chart_out(tmp_path):
    rows = [{**ppo_row(step), "kl": float("nan"), "seconds": None} for step in (1, 2)]
    page = Page(report(write_run(tmp_path / "run", metrics=rows)))
    assert "The PPO iterations have no numbers for: kl to the reference, time." in page.words
    assert page.tags.count("svg") == 14


def test_one_iteration_is_enough_for_every_chart(tmp_path):
    row = {**ppo_row(1), "stage0_pass_rate": 0.0, "stage0_reward_mean": 0.0}
    page = Page(report(write_run(tmp_path / "run", metrics=[row])))
    assert page.tags.count("svg") == 16


def test_a_step_that_was_taken_again_counts_once(tmp_path):
    first, again = {**ppo_row(1), "pass_rate": 0.9}, {**ppo_row(1), "pass_rate": 0.1}
    html = report(write_run(tmp_path / "run", metrics=[first, again]))
    assert "all stages: 0.1 at 1" in html
    assert "all stages: 0.9 at 1" not in html


def test_of_many_iterations_an_even_choice_is_shown(tmp_path):
    samples = [sample(step) for step in range(1, 101)]
    page = Page(report(write_run(tmp_path / "run", samples=samples)))
    shown = [int(n) for n in re.findall(r"Iteration (\d+)", page.words)]
    assert len(shown) == 24
    assert (shown[0], shown[-1]) == (1, 100)
    assert "76 more iterations are in samples.jsonl" in page.words


def test_an_evaluation_without_a_set_has_its_line(tmp_path):
    row = eval_row("after_ppo", "x", 0.5)
    del row["set"], row["by_difficulty"], row["verdicts"]
    run = write_run(tmp_path / "run", metrics=[row])
    (run / "summary.json").write_text(json.dumps({}))
    assert "problems – → 50.0 %" in Page(report(run)).words


def test_a_path_that_is_no_run_directory_is_one_clear_error(tmp_path):
    with pytest.raises(ReportError, match=r"nowhere is not a run directory: there is no such"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(ReportError, match=r"is not a run directory: it has none of config.yaml"):
        write_report(tmp_path)
    file = tmp_path / "file"
    write_lines(file, [])
    with pytest.raises(ReportError, match="file is not a run directory"):
        write_report(file)
