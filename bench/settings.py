"""The settings of the product with the bench's step kind added."""

from nyxcore.settings import *  # noqa: F403
from nyxcore.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "bench"]
ROOT_URLCONF = "bench.urls"
