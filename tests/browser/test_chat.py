"""What a person sees and can do in the chat, in a real browser, on a platform that breaks."""

from __future__ import annotations

import json
from typing import Any

KEY = "sk-no-browser-may-have-this"
MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def test_an_answer_comes_word_by_word(page: Any) -> None:
    """Text is there before the answer is complete, and grows."""
    page.ask("Tell me something")
    first = page.words_come()
    assert page.words_come(more_than=first) > first
    page.becomes("complete")
    assert len(page.answer()) > first
    assert page.do("return page.getByRole('status').textContent()")
    assert page.do(
        "return page.getByLabel('Message').evaluate((e) => e === document.activeElement)"
    )


def test_stopping_ends_the_request_down_to_the_engine(page: Any, platform: Any) -> None:
    """What came stays, and no engine works on for nobody."""
    for how in (
        "await page.getByRole('button', {name: 'Stop'}).click()",
        "await page.keyboard.press('Escape')",
    ):
        platform.left.clear()
        page.ask("endless", model="chat-scripted")
        page.words_come()
        page.do(how)
        page.becomes("incomplete")
        assert "again" in page.answer()
        assert page.do("return page.getByText('You stopped it.').last().isVisible()")
        assert platform.left.wait(timeout=10)


def test_an_engine_that_dies_leaves_an_incomplete_answer(page: Any, platform: Any) -> None:
    """What came is kept and marked; once there is an engine again, so is an answer."""
    page.ask("Tell me something long")
    page.words_come()
    platform.kill_engine()
    try:
        page.becomes("incomplete")
        assert len(page.answer()) > 1
        assert page.do("return page.getByText('Incomplete.').isVisible()")
    finally:
        platform.start_engine()
    page.do(
        "for (let left = 20; left > 0; left--) {"
        "  await page.getByRole('button', {name: 'Try again'}).click();"
        "  const end = page.locator('article [data-state]:not([data-state=streaming])');"
        "  await end.waitFor();"
        "  if (await end.getAttribute('data-state') === 'complete') return;"
        "  await page.waitForTimeout(250);"
        "}"
        "throw new Error('no complete answer after 20 tries')"
    )
    assert page.do("return page.locator('article').count()") == 1


def test_text_is_text(page: Any) -> None:
    """Whatever a user or a model writes is shown as it is, and runs nothing."""
    page.ask(MARKUP, model="chat-scripted")
    page.becomes("complete")
    assert page.answer() == MARKUP
    assert page.do("return page.locator('.text').first().textContent()") == MARKUP
    assert page.do("return page.locator('main img, main script').count()") == 0
    assert page.do("return page.title()") == "Chat"


def test_no_browser_has_the_key(page: Any) -> None:
    """It is in no reply, header, page, cookie or store, and the session is hidden from scripts."""
    page.ask("Tell me something")
    page.becomes("complete")
    replies = page.do("return seen.replies")
    assert {"/", "/api/models", "/api/chat"} <= {
        "/" + reply["url"].split("/", 3)[3] for reply in replies
    }
    assert any("choices" in reply["body"] for reply in replies)
    stored = page.do(
        "return [await page.content(), await context.storageState(),"
        " await page.evaluate(() => JSON.stringify([{...sessionStorage}, {...localStorage}]))]"
    )
    assert KEY not in json.dumps([replies, stored])
    (cookie,) = page.do("return context.cookies()")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert page.do("return page.evaluate(() => document.cookie)") == ""


def test_policy_breaks_nothing(page: Any) -> None:
    """Under the strict policy the browser has nothing to complain of, and asks no other site."""
    page.ask("Tell me something")
    page.becomes("complete")
    assert page.do("return seen.complaints") == []
    hosts = {reply["url"].split("/")[2] for reply in page.do("return seen.replies")}
    assert len(hosts) == 1
    refused = "return page.evaluate(() => document.body.innerHTML = '<b>no</b>').catch(String)"
    assert "TrustedHTML" in page.do(refused)


def test_conversation_lasts_as_long_as_the_tab(page: Any) -> None:
    """A reload keeps it; another tab has its own; a new one begins empty."""
    page.ask("Tell me something")
    page.becomes("complete")
    answer = page.answer()
    page.do("await page.reload()")
    assert page.answer() == answer
    page.do("await page.getByRole('button', {name: 'New conversation'}).click()")
    assert page.do("return page.locator('article').count()") == 0


def test_a_page_left_in_an_answer_keeps_what_came(page: Any) -> None:
    """And says that it is not all."""
    page.ask("endless", model="chat-scripted")
    page.words_come()
    page.do("await page.reload()")
    page.becomes("incomplete")
    assert "again" in page.answer()


def test_no_engine_is_said_in_words(page: Any) -> None:
    """With the time after which to try again, and a button to do so."""
    page.ask("Tell me something", model="chat-absent")
    page.becomes("incomplete")
    said = page.do("return page.locator('.note').textContent()")
    assert "The platform has no room at the moment. Try again in 1 s." in said
    assert page.do("return page.getByRole('button', {name: 'Try again'}).isVisible()")


def test_everything_is_reached_by_keyboard_and_has_a_name(page: Any) -> None:
    """A reader of screens hears what each control is for."""
    unnamed = (
        "return page.evaluate(() => [...document.querySelectorAll('select, textarea, button')]"
        ".filter((e) => !(e.labels?.length || e.textContent.trim())).length)"
    )
    assert page.do(unnamed) == 0
    page.do("await page.getByLabel('Message').fill('one')")
    page.do("await page.getByLabel('Message').press('Shift+Enter')")
    assert page.do("return page.getByLabel('Message').inputValue()") == "one\n"
    page.do("await page.keyboard.press('Tab')")
    focused = page.do("return page.evaluate(() => document.activeElement.textContent)")
    assert focused == "Send"
    page.do("await page.keyboard.press('Enter')")
    page.becomes("complete")
