"""E-mail addresses: the canonical form that is stored and compared."""

from __future__ import annotations

import unicodedata
from contextlib import suppress

import idna
from marshmallow import ValidationError
from marshmallow.validate import Email as EmailSyntax

from taskapi.text import INVISIBLE

_AT_SIGNS = str.maketrans("\uff20\ufe6b", "@@")  # NFKC makes an @ of these.


class AddressRefused(ValueError):
    """This is no e-mail address that an account may have. `code` says why."""

    def __init__(self, code: str, **details: str) -> None:
        super().__init__(code)
        self.code = code
        self.details = details


def canonicalise(address: str) -> str:
    """Return the form in which all spellings of an address are the same.

    The domain is in the ASCII form of IDNA (UTS 46, non-transitional). The local part is folded
    until folding changes nothing, so that a canonical address stays as it is. Raises
    `AddressRefused`.
    """
    # UTS 46 drops most of them: an address with one looks like another address.
    if invisible := INVISIBLE.search(address):
        raise AddressRefused("invisible_character", character=f"U+{ord(invisible[0]):04X}")
    local, _, domain = address.strip().translate(_AT_SIGNS).rpartition("@")
    try:
        canonical = f"{_fold(local)}@{_encode_domain(domain)}"
        EmailSyntax()(canonical)
    except (idna.IDNAError, ValidationError):
        raise AddressRefused("not_an_email") from None
    return canonical


def former_form(address: str) -> str:
    """Return the form in which addresses were stored before domains were kept in ASCII."""
    return unicodedata.normalize("NFKC", address.strip()).casefold()


def stored_values(address: str) -> dict[str, str]:
    """Return the columns of an account with this address. Raises `AddressRefused`."""
    return {"email": canonicalise(address), "display_email": address}


def canonicalise_leniently(address: str) -> str:
    """Return the canonical form, or the former one of an address that would be refused now."""
    try:
        return canonicalise(address)
    except AddressRefused:
        return former_form(address)


def former_forms(address: str) -> set[str]:
    """Return the forms in which an older release may have stored this address."""
    forms = {former_form(address)}
    with suppress(AddressRefused, idna.IDNAError):
        local, _, domain = canonicalise(address).rpartition("@")
        forms.add(former_form(f"{local}@{idna.decode(domain)}"))
    return forms


def _fold(local: str) -> str:
    while (folded := unicodedata.normalize("NFKC", local).casefold()) != local:
        local = folded
    return local


def _encode_domain(domain: str) -> str:
    # Plain ASCII is encoded already. The library would refuse labels such as r3---a.example.com,
    # which exist, and literals such as [192.0.2.1].
    if domain.isascii() and "xn--" not in domain.lower():
        return domain.lower()
    return idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
