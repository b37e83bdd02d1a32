"""The addresses of analyses."""

from django.urls import path

from analysis import (
    actions,
    bulk_views,
    coverage_views,
    document_views,
    export_views,
    finding_views,
    lists,
    new_views,
    unit_views,
    views,
)

app_name = "analysis"
urlpatterns = [
    path("", lists.analysis_list, name="list"),
    path("bulk/<slug:verb>/", bulk_views.bulk_confirm, name="bulk"),
    path("new/", new_views.analysis_new, name="new"),
    path("<int:pk>/", views.analysis_detail, name="detail"),
    path("<int:pk>/why/", views.analysis_why, name="why"),
    path("<int:pk>/state/", views.analysis_state, name="state"),
    *(path(f"<int:pk>/{verb}/", actions.analysis_verb, {"verb": verb}, name=verb) for verb in actions.VERBS),
    path("<int:pk>/confirm/", coverage_views.confirm, name="confirm"),
    path("<int:pk>/files/", coverage_views.files, name="files"),
    path("<int:pk>/source/", coverage_views.source_lines, name="source"),
    path("<int:pk>/budget/", actions.budget, name="budget"),
    path("<int:pk>/again/", new_views.analysis_again, name="again"),
    path("<int:pk>/delete/", actions.analysis_delete, name="delete"),
    path("<int:pk>/findings/<int:finding_pk>/", finding_views.finding, name="finding"),
    *(
        path(
            f"<int:pk>/findings/<int:finding_pk>/{verb}/",
            finding_views.triage,
            {"verb": verb},
            name=f"finding-{verb}",
        )
        for verb in finding_views.VERBS
    ),
    path("<int:pk>/units/<int:unit_pk>/", unit_views.unit, name="unit"),
    path("<int:pk>/units/<int:unit_pk>/text/", unit_views.unit_text, name="unit-text"),
    path("<int:pk>/documents/<slug:slug>/", document_views.document, name="document"),
    path("<int:pk>/documents/<slug:slug>/download/", document_views.download, name="document-download"),
    path("<int:pk>/export/<slug:form>/", export_views.export, name="export"),
]
