from django.apps import AppConfig


class NyxcoreConfig(AppConfig):
    name = "nyxcore"
