"""No form in which a password is sent is shown when the server repeats it."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, strategies as st

from gateway.connectors.imap_parse import quoted
from gateway.connectors.veil import Veil


@given(st.text(min_size=4, max_size=40).filter(str.strip), st.text(max_size=8))
def test_no_form_of_a_password_is_left(password: str, user: str) -> None:
    password = password.encode("utf-8", "replace").decode()
    veil = Veil(password)
    plain = base64.b64encode(f"\0{user}\0{password}".encode("utf-8", "replace")).decode()
    login = (quoted(password) or password.encode()).decode()
    for said in (f"no user {password}!", f"LOGIN {user} {login}", f"AUTH PLAIN {plain}"):
        assert "***" in veil(said), (said, veil(said))
    assert password not in veil(f"it is {password}, is it not")


@pytest.mark.parametrize("password", ["", "abc"])
def test_a_short_password_is_not_seen_everywhere(password: str) -> None:
    assert Veil(password)("abc and no more") == "abc and no more"
