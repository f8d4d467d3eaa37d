"""`report.html`: complete, self-contained, escaped, honest about what is missing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest

from faultload.judge import Expectation, PhaseResult, Recovery, Verdict
from faultload.record import PhaseName
from faultload.report.facts import recovery_text
from faultload.report.formats import THIN

SECTIONS = {
    "expectations",
    "slos",
    "findings",
    "recovery",
    "paging",
    "plots",
    "tokens",
    "hit",
    "timeline",
    "server",
    "client",
    "run",
    "evidence",
}
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        ids, tags: as found, in order.
        links: every value of href, src and their kin.
        words: the text outside <style>.
    """

    def __init__(self, html: str) -> None:
        """Parse at once; tags that are not closed in order are an error."""
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []
        self.words = " ".join(" ".join(self.texts).replace(THIN, " ").split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect a tag."""
        given = dict(attrs)
        self.tags.append(tag)
        self.ids += [given["id"]] if given.get("id") else []
        for name in ("href", "src", "xlink:href", "srcset", "action", "data", "poster"):
            self.links += [given[name] or ""] if name in given else []
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect a tag that closes itself, as SVG has them."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        """Check the nesting."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect text."""
        if self._open[-1:] != ["style"]:
            self.texts.append(data)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_section_is_there_for_every_verdict(
    judged: Callable[[Verdict], Any], verdict: Verdict
) -> None:
    """The page has every section, and says the verdict in a word, not by colour alone."""
    run = judged(verdict)
    page = Page(run.write()["report.html"])

    assert set(page.ids) >= SECTIONS
    assert len(page.ids) == len(set(page.ids))
    assert page.words.startswith(f"{verdict.upper()}: ")
    for text in (run.manifest.title, run.judgement.reason, run.manifest.repeat, "1 of 4 replicas"):
        assert text in page.words


def test_the_page_asks_nothing_of_the_network(killed: Any) -> None:
    """No script, no outside address, no import: the page is one file, and its policy says so."""
    html = killed.write()["report.html"]
    page = Page(html)

    assert {"script", "iframe", "img", "object", "embed"}.isdisjoint(page.tags)
    assert all(link.startswith("#") or link == "data:," for link in page.links)
    assert re.findall(r"https?://|@import|url\((?!#)", html) == []
    assert "default-src 'none'" in html


def test_every_link_inside_the_page_has_its_end(killed: Any) -> None:
    """Evidence ids and the table of contents lead somewhere."""
    page = Page(killed.write()["report.html"])

    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_every_drawing_has_words_for_those_who_cannot_see_it(killed: Any) -> None:
    """Each plot is an image with a title and a description that exist."""
    html = killed.write()["report.html"]
    ids = set(Page(html).ids)
    named = re.findall(r'<svg class="(?:chart|interval)[^>]*aria-labelledby="([^"]+)"', html)

    assert len(named) > 10
    assert all(part in ids for names in named for part in names.split())
    assert html.count("<svg") == len(named) + html.count('<svg class="icon"')


def test_text_from_outside_is_escaped_everywhere(killed: Any) -> None:
    """A title, a tier, a label or an event with markup in it is shown, not obeyed."""
    evil = '<script>alert("x")</script>'
    killed.manifest = killed.manifest.model_copy(update={"title": evil, "versions": {evil: evil}})
    killed.judgement = replace(killed.judgement, reason=evil)
    killed.requests["tier"] = killed.requests["tier"].replace("fast", evil)
    killed.series["labels"] = killed.series["labels"].str.replace("engine-0", "</svg><script>")
    killed.events.append({"t_s": 1.0, "source": evil, "kind": "x", "text": evil, "data": {}})
    html = killed.write()["report.html"]

    assert "<script" not in html
    assert Page(html).words.count(evil) >= 5


def test_control_characters_do_not_reach_the_page(killed: Any) -> None:
    """A terminal escape or a lone surrogate in a reason is replaced, and the page is written."""
    killed.judgement = replace(killed.judgement, reason="a\x1b[31m\x00 \ud800 b")
    html = killed.write()["report.html"]

    assert "a�[31m� � b" in html


def test_missing_values_are_said_to_be_missing(killed: Any) -> None:
    """None, NaN and infinity never show as nan, None or 0."""
    nothing = PhaseResult(
        "fast-ttft", "s", PhaseName.RECOVERY, 0, 0, None, 0.05, None, None, None, None, Verdict.FAIL
    )
    killed.judgement = replace(
        killed.judgement,
        phases=[nothing],
        recoveries=[Recovery("fast-ttft", None, None, None, None, math.nan)],
        budgets=[replace(killed.judgement.budgets[0], budget_percent=math.nan, burn_rate_max=None)],
        expectations=[Expectation("recovery_s_max", 20, None, Verdict.INCONCLUSIVE, "unknown")],
    )
    killed.manifest = killed.manifest.model_copy(update={"load": None, "steady_state_met": None})
    killed.events.append({"source": "platform"})
    html = killed.write()["report.html"]
    words = Page(html).words

    assert re.search(r"\b(nan|None|inf|Infinity|NaN)\b", html) is None
    assert "no data" in words
    assert "not measured" in words
    assert "never judged" in words


def test_no_requests_at_all_still_makes_a_page_that_says_so(empty: Any) -> None:
    """A record without rows is reported as such, with nothing drawn and nothing counted."""
    html = empty.write()["report.html"]
    page = Page(html)

    assert set(page.ids) >= SECTIONS
    assert "No data: no request rows were recorded." in page.words
    assert "Nothing was hit" in page.words
    assert 'class="chart' not in html
    assert re.search(r"\b(nan|None|inf)\b", html) is None


def test_a_run_in_which_nothing_failed_says_so(killed: Any) -> None:
    """No failure is told apart from no data."""
    killed.requests = killed.requests[killed.requests["status"] == "ok"].reset_index(drop=True)

    assert "Not one request failed." in Page(killed.write()["report.html"]).words


def test_the_undo_token_is_not_shown(killed: Any) -> None:
    """What proves the right to undo stays in the journal."""
    assert "never-to-be-shown" not in "".join(killed.write().values())


def test_who_agreed_to_it_is_shown(killed: Any) -> None:
    """A run on production names the game day that it was part of."""
    said = {"confirmed": "prod", "game_day": "GD-2026-11"}
    killed.manifest = killed.manifest.model_copy(update={"consent": said})
    words = Page(killed.write()["report.html"]).words
    assert "Game day" in words
    assert "GD-2026-11" in words


def test_the_limit_is_drawn_and_quantiles_without_value_are_marked(killed: Any) -> None:
    """The plot carries each SLO's limit, the fault's window, and crosses for no answer."""
    html = killed.write()["report.html"]
    hero = html[
        html.index('aria-labelledby="hero-wide') : html.index('aria-labelledby="hero-narrow')
    ]

    assert "fast ≤ 250" in hero
    assert "reasoning ≤ 1 s" in hero
    assert 'class="fault-band"' in hero
    assert 'class="cross' in hero
    assert "recovered after" in hero


def test_series_gaps_and_counter_resets_break_the_line(killed: Any) -> None:
    """A missing sample and a counter's reset are gaps, not a line across or a negative rate."""
    rows = [("jobs_total", "{}", float(t), float(t)) for t in (0, 1, 2, 3, 10, 11, 12)]
    rows += [("jobs_total", "{}", 13.0, 0.0), ("jobs_total", "{}", 14.0, 1.0)]
    killed.series = pd.DataFrame(rows, columns=["series", "labels", "t_s", "value"])
    html = killed.write()["report.html"]
    panel = html[html.index('id="server"') :]

    assert panel.count('class="line c0"') + panel.count('class="dot c0"') == 3
    assert "Jobs, per second" in panel


def test_the_servers_view_leaves_out_what_is_no_picture(killed: Any) -> None:
    """Buckets are not drawn; labels are the fewest that tell lines apart; replicas are summed."""
    html = killed.write()["report.html"]
    server = html[html.index('id="server"') : html.index('id="run"')]
    ready = html[html.index('aria-labelledby="ready-wide') : html.index('id="tokens"')]

    assert "bucket" not in server
    assert ">engine-0<" in server
    assert "10.0.0." not in server
    assert "Tokens generated, per second" in server
    assert ready.count('class="line c0"') == 2  # one line, drawn wide and narrow


def test_more_label_sets_than_can_be_told_apart(killed: Any) -> None:
    """The highest lines are drawn and the rest are counted in words."""
    rows = [
        ("inference_router_inflight", f'{{"replica":"r{i}"}}', float(t), float(i > 3))
        for i in range(9)
        for t in range(5)
    ]
    killed.series = pd.DataFrame(rows, columns=["series", "labels", "t_s", "value"])

    assert "3 more, all zero and not drawn." in Page(killed.write()["report.html"]).words


def test_requests_still_open_at_the_end_did_not_fail(killed: Any) -> None:
    """A stream cut short by the end of the load is counted apart from failures."""
    killed.requests["status"] = killed.requests["status"].replace("cut", "unfinished")
    texts = killed.write()

    assert "8 still open at the end" in Page(texts["report.html"]).words
    assert "8 were still open when the load was stopped" in texts["postmortem.md"]
    assert "cut (8)" not in texts["report.html"]


def test_a_long_timeline_is_cut_and_says_so(killed: Any) -> None:
    """A busy platform's thousands of events do not drown the page."""
    line = {"t_s": 1.0, "source": "platform", "kind": "k", "text": "again", "data": {}}
    killed.events += [line] * 1000

    assert "later rows are not shown" in Page(killed.write()["report.html"]).words


@pytest.mark.parametrize(
    ("recovery", "expected"),
    [
        (None, "no data"),
        (Recovery("s", 0.1, 0.2, 13.84, None, 3.66), "13.8 s ± 3.7 s"),
        (Recovery("s", 0.1, None, None, 29.8, 3.7), "not within 29.8 s"),
        (Recovery("s", None, None, 0.0, None, 3.7), "0 s: no effect was seen"),
        (Recovery("s", 0.1, None, None, None, 3.7), "no data"),
    ],
)
def test_recovery_in_words(recovery: Recovery | None, expected: str) -> None:
    """A recovery that never came says how long was watched, and none seen is not "fast"."""
    assert recovery_text(recovery).replace(THIN, " ") == expected
