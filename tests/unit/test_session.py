"""Who a command says it is."""

import os

import pytest

from argosy.cli.session import user


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers run as users that no file knows, OpenShift's at least."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 1234567)
    assert user() == "1234567"
