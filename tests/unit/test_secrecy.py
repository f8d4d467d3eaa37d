"""What is hidden, in every disguise, and what is let be."""

from __future__ import annotations

import base64
import html
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultload import secrecy
from faultload.record import InjectionEntry, InjectionJournal, InjectionStep
from faultload.run.events import EventLog, read_events
from faultload.secrecy import (
    copy_redacted,
    guarded_output,
    in_clear_text,
    keep_environment,
    keep_password_of,
    keep_secret,
    names_secret,
    private_files,
    redact_files,
    redacted,
    redacted_data,
    redacted_pieces,
)

SECRET = 'p&w "Zürich"/1+2'


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin each test without a registered value, and put back what there was."""
    monkeypatch.setattr(secrecy, "_REGISTRY", secrecy._Registry())


@pytest.mark.parametrize(
    "disguised",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        html.escape(SECRET),
        repr(SECRET)[1:-1],
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
    ],
)
def test_a_kept_value_is_hidden_in_every_disguise(disguised: str) -> None:
    """As clients, servers and writers of JSON, HTML and URLs put it down."""
    keep_secret(SECRET)
    assert redacted(f"before {disguised} after") == "before *** after"


@given(st.binary(max_size=5), st.binary(max_size=5))
def test_a_kept_value_is_hidden_inside_something_encoded(before: bytes, after: bytes) -> None:
    """Basic authentication encodes more than the password: what is left tells nothing of it."""
    keep_secret("correct-horse-42")
    shown = redacted(base64.b64encode(before + b"correct-horse-42" + after).decode())
    assert "***" in shown
    assert len(shown) <= 24


@pytest.mark.parametrize(
    ("shown", "hidden"),
    [
        ("left='k3y-of...nobody', right=1", "left='***...***', right=1"),
        ("Run('401 for k3y-of-nob...on='')", "Run('401 for ***...on='')"),
        ("whole k3y-of-nobody ... here", "whole *** ... here"),
        ("k3y and so on ... body", "k3y and so on ... body"),
    ],
)
def test_what_a_cut_leaves_of_a_kept_value_is_hidden(shown: str, hidden: str) -> None:
    """Pytest shortens what it shows: the middle of a secret is gone, head and tail are not."""
    keep_secret("k3y-of-nobody")
    assert redacted_pieces(shown) == hidden


def test_each_line_of_a_kept_value_is_hidden() -> None:
    """Logs and YAML break a private key into its lines, and indent them."""
    keep_secret("first-line-of-it\nsecond-line-of-it\n")
    assert redacted("  second-line-of-it,") == "  ***,"


@pytest.mark.parametrize("value", [None, "", "EMPTY", "***"])
def test_what_is_no_secret_hides_nothing(value: str | None) -> None:
    """A key of five letters is a word that people write."""
    keep_secret(value)
    assert redacted("EMPTY *** None") == "EMPTY *** None"


def test_the_environment_is_kept_by_name(tmp_path: Path) -> None:
    """Names that say it, and passwords in URLs; not numbers, files, or words to sort by."""
    keep_environment(
        {
            "OPENAI_API_KEY": "0penai-key-of-us",
            "AWS_SECRET_ACCESS_KEY": "aws/secret+of1us",
            "DB_PASSWORD": "postgres-pass",
            "HTTP_PROXY": "http://eva:pr0xy%2Bpass@proxy:3128",
            "SORT_KEY": "replica",
            "MAX_TOKEN": "100000",
            "TLS_SECRET": str(tmp_path),
            "PWD": "/somewhere",
        }
    )
    hidden = "0penai-key-of-us aws/secret+of1us postgres-pass pr0xy+pass pr0xy%2Bpass"
    shown = f"replica 100000 {tmp_path} /somewhere"
    assert redacted(f"{hidden} {shown}") == f"*** *** *** *** *** {shown}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://eva:hunter2@host/x", "at http://***@host/x"),
        ("GET /?q=up&access_token=abc1 503", "GET /?q=up&access_token=*** 503"),
        ("Authorization: Bearer abcDEF-1.x", "Authorization: Bearer ***"),
        ("{'Authorization': b'Basic ZXZhOnB3'}", "{'Authorization': b'Basic ***'}"),
        ('"password": "hunter2", "a": 1', '"password": "***", "a": 1'),
        ("HF_TOKEN=hf_short DEBUG=1", "HF_TOKEN=*** DEBUG=1"),
        ("vllm serve m --api-key abcdef --port 1", "vllm serve m --api-key *** --port 1"),
        ("api_key=['abcd'], port=1", "api_key=['***'], port=1"),
        ("the key sk-abcdefghijklmnop1234 is", "the key *** is"),
        ("AKIAIOSFODNN7EXAMPLE", "***"),
        ("jwt eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl!", "jwt ***!"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----",
        ),
        ("set-cookie: sid=abc123; Path=/", "set-cookie: ***; Path=/"),
    ],
)
def test_forms_of_credentials_are_hidden(text: str, shown: str) -> None:
    """Nobody told us these values: where they stand says what they are."""
    assert redacted(text) == shown
    assert redacted(shown) == shown
    long = "a line of a log\n" * 1000
    assert redacted(long + text + "\n" + long) == long + shown + "\n" + long


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=512 eos_token=</s> time_per_output_token: 12.55 ms prefill_per_token_s=5e-05",
        "a basic understanding of bearer tokens",
        "api_key=None, ssl_keyfile=None, hf_token=None, password=null",
        'secret "hf-token" not found; key: engine',
        "http://127.0.0.1:8000/v1/metrics?match=up, mail eva@example.com",
        "Authorization: Bearer ${token}",
        "evict llm/engine-0: 429 Too Many Requests",
    ],
)
def test_words_of_the_trade_are_let_be(text: str) -> None:
    """A language model has tokens and keys that are no secrets."""
    assert redacted(text) == text


def test_data_is_hidden_by_key_too_and_stays_data() -> None:
    """Keys, numbers and shape stay; what is no plain data becomes its text, redacted."""
    data = {
        "apiKey": "x",
        "client-secret": "y",
        "token": "kill_replica-1",
        "output_tokens": 5,
        "none": None,
        "list": [1.5, True, ("http://a:b@h", Path("/x"))],
        "error": ValueError("password=hunter2"),
        "password": {"type": "env", "key": "NAME"},
    }
    assert redacted_data(data) == {
        "apiKey": "***",
        "client-secret": "***",
        "token": "kill_replica-1",
        "output_tokens": 5,
        "none": None,
        "list": [1.5, True, ["http://***@h", "/x"]],
        "error": "password=***",
        "password": {"type": "env", "key": "NAME"},
    }


def test_names_that_say_secret() -> None:
    """Whatever the style; `token` alone says nothing."""
    assert all(map(names_secret, "password dbPassword API-KEY hf_token clientSecret".split()))
    assert not any(map(names_secret, "token tokens eos_token key password_env secrets".split()))


def test_clear_text_is_found_by_key_form_and_value() -> None:
    """References are none; nor is what was hidden before."""
    keep_secret("a-long-known-secret")
    keep_secret("postgres")
    document = {
        "a": [{"url": "http://u:p@h"}, {"token": "t"}],
        "b": {"text": "x a-long-known-secret y", "db": "postgres"},
        "c": {"password": "${pw}", "api_key": "***", "url": "http://***@h?token=***"},
    }
    assert [key for key, _ in in_clear_text(document)] == ["a[0].url", "a[1].token", "b.text"]


@pytest.mark.parametrize(
    ("data", "form"),
    [
        ({"x": "redis://:pass@h"}, "a URL with a password"),
        ({"x": "https://h/?key=5ecr3t"}, "a URL with a credential in its query"),
        ({"x": "Authorization: Bearer abcDEF-1"}, "an Authorization header"),
        ({"x": "with password: hunter2"}, "a value of password"),
        ({"x": '{"api-key": "hunter"}'}, "a value of api-key"),
        ({"x": "MY_KEY=abc1234 serve"}, "a variable MY_KEY"),
        ({"x": ["./oncall", "--token", "s3cr3tvalue1"]}, "a value of the flag --token"),
        ({"x": ["./oncall", "--password", 123456]}, "a value of the flag --password"),
        ({"x": "the key AKIAIOSFODNN7EXAMPLE"}, "a token of a well-known service"),
        ({"x": "-----BEGIN PRIVATE KEY-----\nMIIE"}, "a private key"),
        ({"apiKey": "x"}, "a key named apiKey"),
        ({"password": ["x"]}, "a key named password"),
        ({"X-Secret": "hunter2"}, "a key named X-Secret"),
        ({"prometheus_sign_in": "hunter"}, "a key named prometheus_sign_in"),
    ],
)
def test_clear_text_says_what_it_was_taken_for(data: dict[str, object], form: str) -> None:
    """A person has to see why, and never the value; what a command is given stands in its list."""
    key = next(iter(data))
    assert list(in_clear_text({"at": data})) == [(f"at.{key}", form)]
    assert redacted(f"is written out here ({form}), and") == f"is written out here ({form}), and"


@pytest.mark.parametrize(
    "data",
    [
        {"title": "Basic Kubernetes resilience holds"},
        {"title": "Authorization: Bearer tokens are checked; password: see the wiki"},
        {"repository": "ssh://git@github.com/acme/infra"},
        {"link": "https://wiki/x?pageKey=77"},
        {"query": 'kube_secret_info{secret="vllm-tls"} > 0'},
        {"query": 'sum by (secret) (up{job="a", api_key="team-a", password=\'of-1\'})'},
        {"secret": "vllm-tls", "session_cookie": "x"},
        {"command": ["serve", "--token", "$TOKEN", "--api-key", "${key}", "--max-token", "5000"]},
        {"command": ["serve", "--token", "--verbose"]},
        {"command": "HF_TOKEN=$HF_TOKEN SORT_KEY=replica MAX_TOKEN=100000 serve"},
        {"url": "http://${user}:${password}@h"},
    ],
)
def test_what_people_write_is_not_refused(data: dict[str, object]) -> None:
    """Less is refused than is hidden: prose, queries, names of Secrets, references."""
    assert list(in_clear_text(data)) == []


@pytest.mark.parametrize(
    "text",
    [
        "load.api_key: unknown key 'api_key'; did you mean 'api_key_env'?",
        "configuration.api_key: expected a value or type: env, found a list",
        "--set api_key: expected no credential here",
        "client.secret: required and missing",
    ],
)
def test_our_own_messages_are_let_be(text: str) -> None:
    """What stands behind the name of a key is the remedy; a value in its place is hidden."""
    assert redacted(text) == text
    assert (
        redacted(f"{text.partition(': ')[0]}: expected-1")
        != f"{text.partition(': ')[0]}: expected-1"
    )


def test_output_is_guarded_and_given_back() -> None:
    """Whatever writes: print, a traceback, a log that was set up inside."""
    keep_password_of("http://eva:hunter-two@host")
    before, sys.stdout = sys.stdout, io.StringIO()
    try:
        with guarded_output():
            sys.stdout.write("it is hunter-two")
            sys.stdout.writelines(["\n", "hunter-two"])
        assert sys.stdout.getvalue() == "it is ***\n***"
    finally:
        sys.stdout = before


def test_files_are_private_and_redacted(tmp_path: Path) -> None:
    """Whatever the umask was; what is no text stays byte for byte."""
    keep_secret("hunter-two")
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "a.log").write_bytes(b"\xff hunter-two\r\n\x00")
    before = os.umask(0)
    try:
        with private_files():
            copy_redacted(source, tmp_path / "to")
            redact_files(source)
    finally:
        assert os.umask(before) == 0
    for folder in (source, tmp_path / "to"):
        assert (folder / "deep" / "a.log").read_bytes() == b"\xff ***\r\n\x00"
    assert (tmp_path / "to" / "deep").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "to" / "deep" / "a.log").stat().st_mode & 0o777 == 0o600


def test_what_machines_read_is_never_masked(tmp_path: Path) -> None:
    """A fault, step or kind may be called like somebody's secret: what people read is hidden."""
    for word in ("kill_replica", "verified", "harness", "injection-1"):
        keep_secret(word)
    said = "harness: kill_replica verified"
    journal = InjectionJournal(tmp_path / "injections.jsonl")
    entry = InjectionEntry("injection-1", InjectionStep.VERIFIED, "kill_replica", 5.0)
    journal.append(replace(entry, evidence={"text": said}, problem=said))
    journal.copy_redacted(tmp_path / "copy.jsonl")
    EventLog(tmp_path / "events.jsonl").add(1.0, "harness", "verified", said, words=[said])

    shown = replace(entry, evidence={"text": "***: *** ***"}, problem="***: *** ***")
    assert journal.entries() == [shown]
    assert InjectionJournal(tmp_path / "copy.jsonl").entries() == [shown]
    [event] = read_events(tmp_path / "events.jsonl")
    assert (event["source"], event["kind"]) == ("harness", "verified")
    assert (event["text"], event["data"]) == ("***: *** ***", {"words": ["***: *** ***"]})


def test_the_chaos_child_is_understood_whatever_is_secret() -> None:
    """Its lines' kind is what the supervisor waits for."""
    program = (
        "from faultload.run.chaos_child import say; from faultload.secrecy import keep_secret;"
        " keep_secret('started'); say('started', problem='not started')"
    )
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == {"kind": "started", "problem": "not ***"}
