"""The addresses of workflows."""

from django.urls import path

from workflows import actions, builder_views, bulk_views, lists, new_views, repair_views, views

app_name = "workflows"
urlpatterns = [
    path("", lists.workflow_list, name="list"),
    path("bulk/<slug:verb>/", bulk_views.bulk_confirm, name="bulk"),
    path("new/", new_views.workflow_new, name="new"),
    path("new/builder/", builder_views.builder, name="builder"),
    path("new/yaml/", builder_views.builder_yaml, name="builder-yaml"),
    path("new/run/", builder_views.builder_run, name="builder-run"),
    path("new/export/", builder_views.template_export, name="template-export"),
    path("new/own/<int:pk>/delete/", builder_views.template_delete, name="template-delete"),
    path("<int:pk>/", views.workflow_detail, name="detail"),
    path("<int:pk>/delete/", bulk_views.workflow_delete, name="delete"),
    path("<int:pk>/why/", views.workflow_why, name="why"),
    path("<int:pk>/state/", views.workflow_state, name="state"),
    path("<int:pk>/duplicate/", builder_views.workflow_duplicate, name="duplicate"),
    path("<int:pk>/export/", builder_views.workflow_export, name="export"),
    path("<int:pk>/settings/", actions.workflow_settings, name="settings"),
    *(path(f"<int:pk>/{verb}/", actions.workflow_verb, {"verb": verb}, name=verb) for verb in actions.VERBS),
    path("<int:pk>/cut/retry/", repair_views.cut_steps, {"verb": "retry"}, name="cut-retry"),
    path("<int:pk>/cut/accept/", repair_views.cut_steps, {"verb": "accept"}, name="cut-accept"),
    path("<int:pk>/steps/<int:step_pk>/", views.step, name="step"),
    path("<int:pk>/steps/<int:step_pk>/rerun/", repair_views.step_rerun, name="step-rerun"),
    path("<int:pk>/steps/<int:step_pk>/text/", views.step_text, name="step-text"),
    path("<int:pk>/steps/<int:step_pk>/retry/", actions.step_retry, name="step-retry"),
    path("<int:pk>/steps/<int:step_pk>/continue/", actions.step_continue, name="step-continue"),
    path("<int:pk>/steps/<int:step_pk>/accept/", actions.step_accept, name="step-accept"),
    path("<int:pk>/steps/<int:step_pk>/skip/", actions.step_skip, name="step-skip"),
    path("<int:pk>/steps/<int:step_pk>/approve/", actions.step_approve, name="step-approve"),
    path("<int:pk>/steps/<int:step_pk>/send-back/", actions.step_send_back, name="step-send-back"),
]
