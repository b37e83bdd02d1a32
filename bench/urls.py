"""The addresses of the product, and that of the baseline of the page."""

from django.urls import path

from bench.page import bare_page
from nyxcore.urls import urlpatterns as ours

urlpatterns = [*ours, path("bare/<int:pk>/", bare_page)]
