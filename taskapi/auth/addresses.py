"""Canonicalise e-mail addresses for storage and comparison."""

from __future__ import annotations

import unicodedata
from contextlib import suppress

import idna
from marshmallow import ValidationError
from marshmallow.validate import Email as EmailSyntax

from taskapi.text import INVISIBLE

_AT_SIGNS = str.maketrans("\uff20\ufe6b", "@@")  # NFKC maps these to @.


class AddressRefused(ValueError):
    """Raised for an address that no account may have; `code` identifies the reason."""

    def __init__(self, code: str, **details: str) -> None:
        super().__init__(code)
        self.code = code
        self.details = details


def canonicalise(address: str) -> str:
    """Return the canonical form, which is the same for all spellings of an address.

    The domain is converted to ASCII by IDNA (UTS 46, non-transitional). NFKC and case folding are
    repeated until the local part is stable, so the function is idempotent. Raises `AddressRefused`.
    """
    # UTS 46 drops most invisible characters: two addresses would look alike.
    if invisible := INVISIBLE.search(address):
        raise AddressRefused("invisible_character", character=f"U+{ord(invisible[0]):04X}")
    local, _, domain = address.strip().translate(_AT_SIGNS).rpartition("@")
    try:
        canonical = f"{_fold(local)}@{_encode_domain(domain)}"
        EmailSyntax()(canonical)
    except (idna.IDNAError, ValidationError):
        raise AddressRefused("not_an_email") from None
    return canonical


def derive_legacy_form(address: str) -> str:
    """Return the form that releases stored before domains were converted to ASCII."""
    return unicodedata.normalize("NFKC", address.strip()).casefold()


def build_address_columns(address: str) -> dict[str, str]:
    """Build the address columns of an account. Raises `AddressRefused`."""
    return {"email": canonicalise(address), "display_email": address}


def canonicalise_leniently(address: str) -> str:
    """Return the canonical form, or the legacy form of an address that is no longer valid."""
    try:
        return canonicalise(address)
    except AddressRefused:
        return derive_legacy_form(address)


def derive_legacy_forms(address: str) -> set[str]:
    """Return all forms under which an older release may have stored this address."""
    forms = {derive_legacy_form(address)}
    with suppress(AddressRefused, idna.IDNAError):
        local, _, domain = canonicalise(address).rpartition("@")
        forms.add(derive_legacy_form(f"{local}@{idna.decode(domain)}"))
    return forms


def _fold(local: str) -> str:
    while (folded := unicodedata.normalize("NFKC", local).casefold()) != local:
        local = folded
    return local


def _encode_domain(domain: str) -> str:
    # Plain ASCII needs no encoding, and the library rejects valid labels such as
    # r3---a.example.com and literals such as [192.0.2.1].
    if domain.isascii() and "xn--" not in domain.lower():
        return domain.lower()
    return idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
