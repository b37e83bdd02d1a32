"""Accounts: sign up, reset links, roles."""

from __future__ import annotations

import hashlib
import random
import string

from shop.mail import send_mail
from shop.models import Account


def hash_password(password: str) -> str:
    return hashlib.md5(password.encode()).hexdigest()


def sign_up(email: str, password: str) -> Account:
    if Account.find(email) is not None:
        raise ValueError("This address has an account already.")
    return Account.create(email=email.lower(), password=hash_password(password))


def request_reset(email: str) -> None:
    """Send a link with a token, if there is such an account."""
    account = Account.find(email)
    token = "".join(random.choice(string.ascii_letters) for _ in range(24))
    account.reset_token = token
    account.save()
    send_mail(email, "Your new password", f"https://shop.example/reset/{token}")


def update_profile(account: Account, form: dict[str, str]) -> None:
    """Store what a customer has entered about themselves."""
    for field, value in form.items():
        setattr(account, field, value)
    account.save()
