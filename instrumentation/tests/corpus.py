"""300 planted secrets in every place a record has, and 300 look-alikes that must stay: deterministic, made from parts."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

PLACES = (
    "body",
    "attribute text",
    "attribute name",
    "nested",
    "list",
    "json",
    "exception",
    "span attribute",
    "span name",
    "span event",
    "span link",
    "span status",
    "span exception",
    "url",
    "header",
    "sql",
    "arguments",
    "resource",
)

# Named secrets: a name, and how texts put name and value together.
NAMES = (
    "password", "passwd", "db_password", "userPassword", "PGPASSWORD", "client_secret", "clientSecret", "api_key", "apiKey",
    "X-Api-Key", "access_token", "refreshToken", "auth_token", "authorization", "secret_key", "aws_secret_access_key",
    "private_key", "csrf_token", "session_token", "passphrase", "credentials", "pin", "otp", "cvv",
)  # fmt: skip
FORMS = (
    "{n}={s}", "failed with {n}={s} for bob", "{n}: {s}", '{{"id": 1, "{n}": "{s}", "x": 2}}', "{{'{n}': '{s}'}}",
    "GET /x?page=1&{n}={s}&y=2", "level=info {n}={s} user=bob", 'msg="login {n}={s}" a=1', "conn Server=db;{n}={s};T=1",
    '{{\\"{n}\\": \\"{s}\\"}}', "cfg {n} => '{s}'", '{n} = "{s}"',
)  # fmt: skip


def noise(seed: str, length: int, alphabet: str = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789") -> str:
    """Return letters and digits that look random and are always the same."""
    out = ""
    counter = 0
    while len(out) < length:
        digest = hashlib.sha256(f"{seed}{counter}".encode()).digest()
        out += "".join(alphabet[b % len(alphabet)] for b in digest)
        counter += 1
    return out[:length]


def card(seed: str, prefix: str = "4", length: int = 16) -> str:
    """Return a number with a right check digit."""
    digits = prefix + noise(seed, length - len(prefix) - 1, "0123456789")
    total = sum(d if i % 2 else (d * 2 - 9 * (d > 4)) for i, d in enumerate(int(c) for c in reversed(digits)))
    return digits + str(-total % 10)


def by_value(index: int) -> tuple[str, str]:
    """Return a secret that its form gives away, and a text that holds it; no name stands beside it."""
    seed = f"value{index}"
    jwt = ".".join(
        base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode()
        for part in ('{"alg":"HS256"}', f'{{"sub":"{noise(seed, 8)}"}}', noise(seed, 24))
    )
    plain = card(seed)
    amex = card(seed, "37", 15)
    mail = noise(seed, 12) + "1"
    kinds = [
        ("ghp_" + noise(seed, 36), "clone with {} failed"),
        ("glpat-" + noise(seed, 19) + "7", "job {} rejected"),
        ("xoxb-" + noise(seed, 22, "0123456789"), "posting as {}"),
        ("sk_live_" + noise(seed, 20) + "3", "charged by {}"),
        ("sk-proj-" + noise(seed, 28) + "4", "model call with {}"),
        ("AKIA" + noise(seed, 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), "signed by {}"),
        ("AIza" + noise(seed, 35), "maps with {}"),
        ("npm_" + noise(seed, 36), "publish by {}"),
        ("hvs." + noise(seed, 28), "vault says {}"),
        (jwt, "user came with {} today"),
        (mail, "called with Bearer {} upstream"),
        (mail, "connecting to postgresql://bob:{}@db:5432/app"),
        (mail, "curl -u bob:{} https://example.org"),
        (mail, "mysql --user bob --password {} --port 1"),
        (mail, "<login><password>{}</password></login>"),
        (mail, "ALTER USER bob WITH PASSWORD '{}'"),
        (plain, "paid with {} today"),
        (" ".join(plain[i : i + 4] for i in range(0, 16, 4)), "card {} ok"),
        ("-".join(plain[i : i + 4] for i in range(0, 16, 4)), "card {}."),
        (f"{amex[:4]} {amex[4:10]} {amex[10:]}", "amex {} ok"),
        (noise(seed, 40), "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----"),
    ]
    secret, text = kinds[index % len(kinds)]
    return secret, text.format(secret)


@dataclass(frozen=True, slots=True)
class Planted:
    """A text for a place; ``secret`` must not leave, or (look-alikes) the whole text must."""

    place: str
    text: str
    secret: str
    name: str = ""


def secrets() -> list[Planted]:
    """Return 300 secrets: every form and name at least once, spread over the places."""
    out = []
    for index in range(300):
        place = PLACES[index % len(PLACES)]
        name = NAMES[(index // 2) % len(NAMES)]
        secret = noise(f"named{index}", 10 + index % 9) + "#9"[index % 2 :]
        text = FORMS[(index // len(PLACES)) % len(FORMS)].format(n=name, s=secret)
        by_name = place in ("attribute name", "nested", "header", "arguments", "json")
        if not by_name and place != "sql" and (index // len(PLACES)) % 2:
            secret, text = by_value(index)
        out.append(Planted(place, text, secret, name))
    return out


WORDS = (
    "password reset requested for user {}", "token expired after {} s", "token_count={}", "max_tokens={}", "the secret of page {}",
    "order {} shipped", "author=bob{}", "cookie_consent=true page {}", "primary key: id{}", "unexpected token: string at {}",
    "monkey=banana{}", "GET /items/{}?page=2&sort=name 200", "cache key shop:item:{} missed", "retry {} of 5", "sha256:{h}",
    "trace {t}", "uuid {u}", "ts 17639999991234567{}", "https://example.org:8080/a/{}", "git@github.com:a/b{}.git",
    "basic authentication failed {} times", "password={} is what a form says".format("%s") + " {}", "api_key={{api_key}} template {}",
    "auth=ok for {}", "passenger=bob{} keyboard=de", "version v1.2.{}-rc.4", "10:02:{} started", "SELECT * FROM items LIMIT {}",
    "file /var/log/app-{}.log rotated", "bypass: on {}",
)  # fmt: skip


def look_alikes() -> list[Planted]:
    """Return 300 texts that resemble secrets and are none."""
    out = []
    for index in range(300):
        digest = hashlib.sha256(f"clean{index}".encode()).hexdigest()
        number = 10 + index % 50
        uuid = f"{digest[:8]}-a{digest[9:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"
        text = (
            WORDS[index % len(WORDS)]
            .replace("{h}", digest)
            .replace("{t}", digest[:32])
            .replace("{u}", uuid)
            .format(number)
        )
        place = PLACES[index % len(PLACES)]
        if place in ("sql", "header", "arguments", "attribute name"):
            place = "attribute text"
        out.append(Planted(place, f"{text} [{index}]", ""))
    return out


def all_of_it() -> Iterator[Planted]:
    """Yield both."""
    yield from secrets()
    yield from look_alikes()
