"""The addresses of the whole site. `/events/` is not among them: it is served beside Django, see nyxcore/asgi.py."""

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path
from django.views.generic import RedirectView

from nyxcore import active_views, bulk_views, live_views, views, workers_views

handler400 = views.bad_request

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="workflows:list"), name="home"),
    path("workflows/", include("workflows.urls")),
    path("analysis/", include("analysis.urls")),
    path("active/", active_views.active_page, name="active"),
    path("active/count/", active_views.active_count, name="active-count"),
    path("workers/", workers_views.workers_page, name="workers"),
    path("bulk/<int:pk>/", bulk_views.bulk_page, name="bulk"),
    path("bulk/<int:pk>/abort/", bulk_views.bulk_abort, name="bulk-abort"),
    path("bulk/<int:pk>/undo/", bulk_views.bulk_undo, name="bulk-undo"),
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
