"""Lines as programs write them by the million: logs, tables, JSON, mail. Structures repeat, counters and a few fields vary."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Final

_Writer = Callable[[int, random.Random], str]

_LOG: Final = (
    "systemd[1]: Starting logrotate.service - Rotate log files, session {a}...",
    "systemd[1]: logrotate.service: Deactivated successfully, consumed {a}ms CPU time, peak memory 2.4M.",
    "kernel: [UFW BLOCK] IN=enp3s0 OUT= MAC=3c:7c:3f:1e:a2:07:e8:df:70:41:1b:c2:08:00 SRC=192.168.1.{b} DST=224.0.0.251 LEN=32 "
    "TOS=0x00 PREC=0x00 TTL=1 ID={a} PROTO=2",
    "sshd[{a}]: pam_unix(sshd:session): session opened for user backup(uid=1004) by (uid=0)",
    "nginx: 192.168.1.{b} \"GET /api/v2/measurements/latest?format=json&limit=100 HTTP/1.1\" 200 {a} \"-\" "
    '"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"',
)  # fmt: skip
_STATES: Final = ("ok", "ok", "ok", "ok", "ok", "late", "missing")
_SENTENCES: Final = (
    "the files for the next meeting are in the shared folder as always, please look at them before Thursday.",
    "the order has left our house today and will reach you within three working days.",
    "your invoice is attached; you can also find it in your account at any time.",
    "somebody has answered in a discussion that you follow. Answer this mail to take part in it.",
    "the backup of last night is complete. No action is needed.",
)


def _clock(number: int) -> str:
    """The time of day of a numbered event, seven a minute or so."""
    second = number * 9
    return f"{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


def _log(number: int, rng: random.Random) -> str:
    message = _LOG[int(rng.random() ** 2 * len(_LOG))].format(a=rng.randrange(1000, 9999), b=2 + number // 50 % 40)
    return f"2026-03-{1 + number // 9600 % 28:02d}T{_clock(number)}.{rng.randrange(1000):03d}+01:00 homeserver {message}\n"


def _table(number: int, rng: random.Random) -> str:
    state = _STATES[int(rng.random() * len(_STATES))]
    return (
        f"{number};2026-03-{1 + number // 9600 % 28:02d} {_clock(number)};greenhouse/north/sensor-{number % 4};"
        f"52.520008;13.404954;temperature;degree Celsius;{18 + rng.randrange(40) / 10:.1f};"
        f"humidity;percent;{50 + number // 16 % 20}.0;pressure;hPa;{9800 + rng.randrange(400)};{state}\n"
    )


def _json(number: int, rng: random.Random) -> str:
    return (
        f'{{"id": {number}, "created_at": "2026-03-{1 + number // 9600 % 28:02d}T{_clock(number)}Z", "type": "PushEvent", '
        '"actor": {"id": 4711, "login": "gardener", "display_login": "gardener", '
        '"avatar_url": "https://avatars.example.org/u/4711?"}, '
        f'"payload": {{"size": 1, "distinct_size": 1, "ref": "refs/heads/main", "head": "{rng.getrandbits(160):040x}"}}, '
        '"public": true, "org": null, "labels": [], "milestone": null, "locked": false}\n'
    )


def _mail(number: int, rng: random.Random) -> str:
    key = f"{rng.getrandbits(128):032x}"
    body = "\n".join(_SENTENCES[(number + step) % len(_SENTENCES)] for step in range(rng.randint(1, 3)))
    return (
        f"From notices@example.org Tue Mar  3 {_clock(number)} 2026\n"
        "Return-Path: <notices@example.org>\nDelivered-To: gardener@example.net\n"
        f"Received: from mx3.example.org (mx3.example.org [203.0.113.25])\n\tby mail.example.net (Postfix) with ESMTPS id {key}\n"
        f"\tfor <gardener@example.net>; Tue,  3 Mar 2026 {_clock(number)} +0100 (CET)\n"
        f"Message-ID: <{key}.{number}@mx3.example.org>\nDate: Tue, 3 Mar 2026 {_clock(number)} +0100\n"
        "From: Notices <notices@example.org>\nTo: gardener@example.net\nSubject: News for you\nMIME-Version: 1.0\n"
        "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
        f"Hello,\n\n{body}\n\nhttps://example.org/notices/{rng.getrandbits(192):048x}\n\nKind regards\n\n"
    )


_WRITERS: Final[tuple[_Writer, ...]] = (_log, _table, _json, _mail)


def records(size: int, block: int, rng: random.Random) -> Iterator[bytes]:
    """``size`` bytes of records of one sort, numbered from somewhere, in blocks; the last record may be cut off."""
    write = rng.choice(_WRITERS)
    number = rng.randrange(10_000_000)
    rest = b""
    for start in range(0, size, block):
        length = min(block, size - start)
        lines, have = [rest], len(rest)
        while have < length:
            line = write(number, rng).encode("ascii")
            lines.append(line)
            have += len(line)
            number += 1
        plain = b"".join(lines)
        yield plain[:length]
        rest = plain[length:]
