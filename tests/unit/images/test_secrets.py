"""Secrets as values: normal forms, recovery keys as people type them."""

from __future__ import annotations

import io

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from rescue.errors import CredentialError, UsageError
from rescue.images.secrets import NO_SECRETS, Secrets, hash_key_file, new_recovery_key, passphrase_bytes, recovery_bytes

RANDOM = bytes(range(50, 67))
TEXT = "68SK-8D9P-6WW3-JEHV-7GYK-WFT0-8511-VGE8"  # made with the standard library's Base32


def test_a_passphrase_has_one_form() -> None:
    assert passphrase_bytes("Zo\u0065\u0308") == passphrase_bytes("Zo\u00eb") == b"Zo\xc3\xab"


@pytest.mark.parametrize("bad", ["", "x" * 1025, "\udc80"])
def test_what_cannot_be_a_passphrase(bad: str) -> None:
    with pytest.raises(UsageError):
        passphrase_bytes(bad)


def test_recovery_key_known_answer() -> None:
    assert new_recovery_key(lambda length: RANDOM[:length]) == TEXT
    assert recovery_bytes(TEXT) == RANDOM


@given(st.binary(min_size=17, max_size=17))
def test_recovery_key_round_trip(secret: bytes) -> None:
    assert recovery_bytes(new_recovery_key(lambda _: secret)) == secret


def test_recovery_key_as_people_type_it() -> None:
    assert recovery_bytes(TEXT.lower()) == RANDOM
    assert recovery_bytes(f"  {TEXT.replace('-', ' ')}\n") == RANDOM
    assert recovery_bytes(TEXT.replace("-", "").replace("1", "l").replace("0", "O")) == RANDOM
    assert recovery_bytes(TEXT.replace("1", "I").replace("0", "o")) == RANDOM


def test_every_single_typo_is_found() -> None:
    letters = TEXT.replace("-", "")
    for at, right in enumerate(letters):
        for wrong in "0123456789ABCDEFGHJKMNPQRSTVWXYZ":
            if wrong != right:
                with pytest.raises(CredentialError, match="mistyped"):
                    recovery_bytes(letters[:at] + wrong + letters[at + 1 :])


def test_every_swap_of_neighbours_is_found() -> None:
    letters = TEXT.replace("-", "")
    for at in range(len(letters) - 1):
        if letters[at] != letters[at + 1]:
            with pytest.raises(CredentialError, match="mistyped"):
                recovery_bytes(letters[:at] + letters[at + 1] + letters[at] + letters[at + 2 :])


@pytest.mark.parametrize(
    "bad", ["", TEXT[:-1], TEXT + "0", TEXT.replace("6", "U", 1), TEXT.replace("6", "é", 1), "ß" * 32, "x" * 10_000]
)
def test_what_is_no_recovery_key(bad: str) -> None:
    with pytest.raises(CredentialError, match="mistyped"):
        recovery_bytes(bad)


def test_key_files() -> None:
    content = bytes(range(256)) * 9000
    assert hash_key_file(io.BytesIO(content)) == blake3(content).digest()
    with pytest.raises(UsageError, match="31 bytes"):
        hash_key_file(io.BytesIO(bytes(31)))


def test_secrets_do_not_show_themselves() -> None:
    secrets = Secrets("hunter2", b"k" * 32, TEXT)
    assert "hunter2" not in f"{secrets} {secrets!r}"
    assert "kkk" not in repr(secrets)
    assert TEXT not in repr(secrets)
    assert pretty_repr(secrets) == "Secrets()"


def test_truth() -> None:
    assert not NO_SECRETS
    assert Secrets(passphrase="")
    assert Secrets(key_file=b"")
    assert Secrets(recovery="")
