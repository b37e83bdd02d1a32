"""The addresses of the whole site. `/events/` is not among them: it is served beside Django, see nyxcore/asgi.py."""

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path
from django.views.generic import RedirectView

from nyxcore import live_views, views

handler400 = views.bad_request

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="workflows:list"), name="home"),
    path("workflows/", include("workflows.urls")),
    path("events/token/", live_views.token, name="events-token"),
    path("accounts/login/", auth.LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("accounts/logout/", auth.LogoutView.as_view(), name="logout"),
    path("accounts/password/", auth.PasswordChangeView.as_view(), name="password_change"),
    path("accounts/password/done/", auth.PasswordChangeDoneView.as_view(), name="password_change_done"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", views.metrics, name="metrics"),
    path("admin/", admin.site.urls),
]
