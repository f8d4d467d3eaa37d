"""What credentials look like: the forms that are hidden, and the surer ones that are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping

MASK = "***"

_SURE_WORDS = (
    "password|passwd|passphrase|api_?key|access_?key|secret_?key|private_?key|client_?key"
    "|client_?key_?data|client_?secret|authorization"
    "|(?:access|api|auth|bearer|bot|gh|github|gitlab|hf|hub|id|refresh|registry|security|session"
    "|vault)_?token"
)
_WORDS = f"{_SURE_WORDS}|secret|credentials?|cookie"
NAME = re.compile(rf"(?:^|[_.])(?:{_WORDS})$", re.IGNORECASE)
SURE_NAME = re.compile(rf"(?:^token|(?:^|[_.])(?:{_SURE_WORDS}|sign_in))$", re.IGNORECASE)
_NO_VALUE = (
    r"(?!(?:none|null|true|false|bearer|basic)\b"
    # What our own messages say behind the name of a key.
    r"|(?:expected|unknown|required|found|cannot|given|have|this|keep|write|must|names?|never) )"
)

PEM = re.compile(r"(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END|\Z)")
_TOKEN = (
    r"\b(?:sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{20,}"
    r"|nvapi-[\w-]{20,}|xox[abprs]-[\w-]{10,}|A(?:KIA|SIA)[0-9A-Z]{16}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+)"
)

# What credentials look like. The strings beside a form are what its text must hold, in lower case:
# most lines hold none of them, and are done.
FORMS: tuple[tuple[re.Pattern[str], str, tuple[str, ...]], ...] = (
    (re.compile(r"(?<=://)[^/\s'\"<>?#\\]+(?=@)"), MASK, ("@",)),
    (
        re.compile(
            r"(?i)([?&;][\w.-]*(?:token|secret|password|passwd|pwd|key|auth|credential|signature"
            r"|sig)=)[^&\s'\"<>#;\\]+"
        ),
        rf"\1{MASK}",
        ("=",),
    ),
    (
        re.compile(r"(?i)\b(bearer|basic)(\s+|%20)(?-i:(?=\S*[0-9A-Z]))[\w.~+/=%-]{6,}"),
        rf"\1\2{MASK}",
        ("bearer", "basic"),
    ),
    (
        re.compile(
            r"(?i)(?<![a-z])((?:"
            + _WORDS.replace("_?", "[_-]?")
            + rf")[\"']?\s*[=:]\s*(?:b(?=[\"']))?[\[(\"']*){_NO_VALUE}"
            r"[^\s\"',;&)\]}<>\\$*]{4,}"
        ),
        rf"\1{MASK}",
        (
            *("passw", "passph", "secret", "credential", "authorization", "cookie"),
            *("_key", "-key", "ikey", "skey", "ekey", "tkey"),
            *("_token", "-token", "itoken", "stoken", "htoken", "rtoken", "dtoken", "ntoken"),
        ),
    ),
    (
        re.compile(r"\b([A-Z][A-Z0-9_]*_(?:TOKEN|KEY|SECRET|PASS|PWD)=[\"']?)[^\s\"',;*]{4,}"),
        rf"\1{MASK}",
        ("token=", "key=", "secret=", "pass=", "pwd="),
    ),
    (
        re.compile(r"(--(?:[\w-]+-)?(?:api-key|token|password|secret)[ =])[^\s\"'*-][^\s\"']{3,}"),
        rf"\1{MASK}",
        ("--",),
    ),
    (
        re.compile(_TOKEN),
        MASK,
        ("sk-", "gh", "glpat-", "hf_", "nvapi-", "xox", "akia", "asia", "eyj"),
    ),
    (PEM, rf"\1{MASK}", ("private key-----",)),
)

# What is refused in a file that people write: less than is hidden, since prose and queries stand
# there too. References (`${name}`, `$NAME`) and what is masked are none.
_GIVEN = r"(?-i:(?!\$\{|\$[A-Z_][A-Z0-9_]*\b|\*\*\*))"
_DIGIT_IN_IT = r"(?=[^\s\"']*[0-9])"
SURE_FORMS: Mapping[str, str] = {
    "a URL with a password": rf"://[^/\s:@]*:{_GIVEN}[^/\s'\"<>?#\\@]+@",
    "a URL with a credential in its query": (
        r"(?i)[?&;](?:[\w.-]*(?:token|secret|password|passwd|credential|signature"
        r"|(?:api|access|secret|private|client)[_-]?key)="
        rf"|(?:key|auth|pwd|sig)={_DIGIT_IN_IT}){_GIVEN}[^&\s'\"<>#;\\]{{4,}}"
    ),
    "an Authorization header": (
        r"(?i)authorization[\"']?\s*[=:]\s*[\"']?(?:bearer|basic)\s+(?-i:(?=\S*[0-9A-Z]))"
        r"[\w.~+/=%-]{6,}"
    ),
    "a value of {name}": (
        rf"(?i)(?<![a-z])(?P<name>{_SURE_WORDS.replace('_?', '[_-]?')})"
        rf"(?:=[\"']?|[\"']\s*[=:]\s*[\"']|\s*[=:]\s*[\[(\"']*{_DIGIT_IN_IT})"
        rf"{_GIVEN}{_NO_VALUE}[^\s\"',;&)\]}}<>\\]{{4,}}"
    ),
    "a variable {name}": (
        r"\b(?P<name>[A-Z][A-Z0-9_]*_(?:TOKEN|KEY|SECRET|PASS|PWD))=[\"']?"
        rf"{_DIGIT_IN_IT}(?=\S*[A-Za-z]){_GIVEN}[^\s\"',;]{{6,}}"
    ),
    "a value of the flag {name}": (
        r"(?P<name>--(?:[\w-]+-)?(?:api-key|token(?!.\d+(?!\S))|password"
        rf"|secret(?=.{_DIGIT_IN_IT})))[ =][\"']?(?!-){_GIVEN}[^\s\"']{{4,}}"
    ),
    "a token of a well-known service": _TOKEN,
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?!\*)",
}
MATCHER = re.compile(r"[{,]\s*\w+\s*=\s*(?:\"[^\"]*\"|'[^']*')(?=\s*[,}])")
"""One of PromQL's, such as `{secret="vllm-tls"}`: its label may be named like a credential."""
