"""The pages of the builder: a definition is made, changed, tried, kept and handed on. Nothing here starts a run.

Each page is one form that posts the whole draft; `do` says what is wanted. Everything works by whole pages too;
with htmx the live check and the preview come as fragments.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from nyxcore import llm
from nyxcore.access import signed_in
from nyxcore.llm import models as registry
from workflows import catalog, services, specs, templates_service
from workflows.builder import Draft, outlook
from workflows.builder.controls import Page
from workflows.builder.files import read_upload
from workflows.forms import PREFIX
from workflows.kinds import KINDS
from workflows.models import WorkflowTemplate
from workflows.new_views import fill_in
from workflows.problems import Problem, SpecError
from workflows.specs import WorkflowSpec
from workflows.views import get_workflow

FORM_STEPS = 150  # more steps are edited as YAML: a form of some thousand fields is of no use to anybody
COPIES = "Copy of "


def _is_htmx(request: HttpRequest) -> bool:
    return bool(request.htmx)  # type: ignore[attr-defined]


# --- the form -------------------------------------------------------------------------------------------------


@signed_in
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def builder(request: HttpRequest) -> HttpResponseBase:
    """Edit a definition step by step; GET opens a template, a run's definition, or something to begin with."""
    if request.method != "POST":
        return _show(request, _opened(request))
    draft = Draft.from_post(request.POST)
    do, _, about = _wanted(request).partition(":")
    if do == "preview":
        return _preview(request, draft, about)
    if do in (
        "add-step",
        "add-input",
        "up-step",
        "down-step",
        "up-input",
        "down-input",
        "remove-step",
        "remove-input",
    ):
        _change(draft, do, about)
        return _show(request, draft)
    if do == "yaml":
        return _show_yaml(request, draft.as_yaml())
    if do in ("save", "use"):
        return _finish(request, do, draft)
    if _is_htmx(request):
        return render(request, "workflows/builder/_checked.html", _checked(draft))
    return _show(request, draft)


def _wanted(request: HttpRequest) -> str:
    """What is to be done. htmx names the button clicked last also when it only looks at what was typed."""
    htmx: Any = request.htmx  # type: ignore[attr-defined]
    return "check" if htmx and htmx.target == "checked" else request.POST.get("do", "check")


def _opened(request: HttpRequest) -> Draft:
    """The draft that the address names."""
    chosen, run = request.GET.get("template", ""), request.GET.get("from", "")
    if chosen:
        template = templates_service.own_template(request.user, chosen)
        if template is not None:
            return Draft.from_data(template.spec)
        spec = catalog.get(chosen)
        if spec is None:
            raise Http404("No such template.")
        return _as_own(request, spec)
    if run:
        number = int(run) if run.isascii() and run.isdecimal() and len(run) < 19 else 0
        return _as_own(request, templates_service.definition_of(get_workflow(request, number)))
    return Draft.from_scratch()


def _as_own(request: HttpRequest, spec: WorkflowSpec) -> Draft:
    """A definition of somebody else's as the beginning of an own one."""
    draft = Draft.from_spec(spec)
    draft.texts |= {"slug": templates_service.free_slug(request.user, spec.slug), "version": "1"}
    return draft


def _change(draft: Draft, do: str, about: str) -> None:
    """Add, remove or move a row, for pages without a script."""
    verb, _, group = do.partition("-")
    number = int(about) if about.isascii() and about.isdecimal() and len(about) < 9 else 0
    if verb == "add":
        draft.add(group, about if about in KINDS else "llm")
    elif verb == "remove":
        draft.remove(group, number)
    else:
        draft.move(group, number, -1 if verb == "up" else 1)


def _show(
    request: HttpRequest,
    draft: Draft,
    *,
    problems: list[Problem] | None = None,
    status: int = 200,
    **more: Any,
) -> HttpResponse:
    """The page with everything that was typed. A draft with mistakes that was to be saved is 422."""
    if len(draft.steps) > FORM_STEPS:
        return _show_yaml(
            request, draft.as_yaml(), problems=problems, status=status, too_many=len(draft.steps)
        )
    checked = _checked(draft, problems)
    page = Page(draft, checked["problems"])
    blank = Page(Draft())
    context = checked | {
        "head": page.head(), "inputs": list(page.inputs()), "steps": list(page.steps()), "section": "workflows",
        "blank_input": blank.input(_blank("input")), "kinds": [(name, kind) for name, kind in KINDS.items()],
        "blank_steps": [blank.step(_blank("step", name)) for name in KINDS],
        "models": registry.choices(), "posted": request.method == "POST",
    } | _kept_as(request) | more  # fmt: skip
    return render(request, "workflows/builder/builder.html", context, status=status)


def _blank(group: str, kind: str = "llm") -> Any:
    """The row that a script copies for a new one; 0 stands for its number."""
    row = Draft().add(group, kind)
    row.number = 0
    return row


def _kept_as(request: HttpRequest) -> dict[str, Any]:
    """The saved template that is being changed, and the version the person saw."""
    chosen = request.POST.get("template") or request.GET.get("template", "")
    template = templates_service.own_template(request.user, chosen)
    if template is None:
        return {"template": None, "seen": ""}
    return {"template": template, "seen": request.POST.get("seen") or str(template.version)}


def _checked(draft: Draft, problems: list[Problem] | None = None) -> dict[str, Any]:
    """What the page tells of a draft: problems, else warnings and an estimate; the drawing in any case."""
    spec, found = draft.check()
    found = found if problems is None else problems
    listed = [(draft.field_of(problem), problem) for problem in found]
    context: dict[str, Any] = {
        "problems": found, "listed": listed, "drawing": outlook.draw(draft), "described": outlook.describe(draft),
        "counts": (len(draft.steps), len(draft.inputs)), "practice": llm.is_practice(),
    }  # fmt: skip
    if spec is not None:
        context["warnings"] = [(draft.field_of(problem), problem) for problem in specs.warnings(spec)]
        context["estimate"] = outlook.estimate(spec, draft.examples())
    return context


def _preview(request: HttpRequest, draft: Draft, about: str) -> HttpResponse:
    """The filled prompt of one step."""
    index = next((at for at, row in enumerate(draft.steps) if str(row.number) == about), None)
    if index is None:
        raise Http404("No such step.")
    spec, problems = draft.check(check_models=False)
    own = [problem for problem in problems if problem.path[:2] == ("steps", index)]
    context: dict[str, Any] = {"row": draft.steps[index], "problems": own or problems[:3]}
    if spec is not None:
        context["places"] = outlook.preview(spec, index, draft.examples())
    if _is_htmx(request):
        return render(request, "workflows/builder/_preview.html", context)
    return _show(request, draft, previewed=draft.steps[index].number, preview=context)


# --- save and use ---------------------------------------------------------------------------------------------


def _finish(request: HttpRequest, do: str, draft: Draft) -> HttpResponseBase:
    spec, problems = draft.check()
    if spec is None:
        return _show(request, draft, problems=problems, status=422)
    if do == "use":
        return _fill_in(request, spec, bound=False)
    try:
        return _save(request, spec)
    except SpecError as error:
        return _show(request, draft, problems=error.problems, status=422)
    except services.Refused as error:
        return _show(request, draft, refused=str(error), status=409)


def _save(request: HttpRequest, spec: WorkflowSpec) -> HttpResponseBase:
    """Keep the definition: as a new template, or as the next version of the one that was opened."""
    template, seen = None, request.POST.get("seen", "")
    if request.POST.get("as") != "new":
        template = templates_service.own_template(request.user, request.POST.get("template", ""))
    saved = templates_service.save_template(
        spec, by=request.user, template=template,
        seen_version=int(seen) if seen.isascii() and seen.isdecimal() and len(seen) < 9 else None,
    )  # fmt: skip
    messages.success(request, f"Saved: {saved.name}, version {saved.version}.")
    return redirect(f"{reverse('workflows:builder')}?{urlencode({'template': saved.chosen_as})}")


@signed_in
@require_POST
def builder_run(request: HttpRequest) -> HttpResponseBase:
    """Make a workflow of a definition that is kept nowhere: it travels in the form."""
    try:
        spec = specs.parse_yaml(request.POST.get("spec", ""))
    except SpecError as error:
        return _show_yaml(request, request.POST.get("spec", ""), problems=error.problems, status=422)
    return _fill_in(request, spec, bound="then" in request.POST)


def _fill_in(request: HttpRequest, spec: WorkflowSpec, *, bound: bool) -> HttpResponseBase:
    return fill_in(
        request, spec, bound=bound, action=reverse("workflows:builder-run"), definition=specs.dump_yaml(spec)
    )


# --- YAML -----------------------------------------------------------------------------------------------------


@signed_in
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def builder_yaml(request: HttpRequest) -> HttpResponseBase:
    """Paste, upload or edit a definition as YAML."""
    if request.method != "POST":
        draft = _opened(request) if request.GET.get("template") or request.GET.get("from") else None
        return _show_yaml(request, draft.as_yaml() if draft else "")
    text = request.POST.get("yaml", "").replace("\r\n", "\n")
    problems: list[Problem] = []
    file = request.FILES.get("file")
    if isinstance(file, UploadedFile):
        text, problems = read_upload(file, text)
    do = request.POST.get("do", "check")
    if problems:
        return _show_yaml(request, text, problems=problems, status=422)
    try:
        spec = specs.parse_yaml(text)
        if do == "save":
            return _save(request, spec)
    except SpecError as error:
        draft = _with_mistakes(text) if do == "form" else None
        if draft is not None:
            return _show(request, draft)
        return _show_yaml(request, text, problems=error.problems, status=422)
    except services.Refused as error:
        return _show_yaml(request, text, refused=str(error), status=409)
    if do == "use":
        return _fill_in(request, spec, bound=False)
    if do == "form":
        return _show(request, Draft.from_spec(spec))
    return _show_yaml(request, text, valid=spec)


def _with_mistakes(text: str) -> Draft | None:
    """The draft of a file that has mistakes, where the form can hold everything that is in it."""
    from workflows import yamlfile

    try:
        return Draft.from_spec(WorkflowSpec.model_validate(yamlfile.read(text).data))
    except ValueError:  # pydantic's error and SpecError are such
        return None


def _show_yaml(
    request: HttpRequest, text: str, *, problems: list[Problem] | None = None, status: int = 200, **more: Any
) -> HttpResponse:
    context = {
        "text": text, "problems": problems or [], "section": "workflows",
        "rows": min(max(text.count("\n") + 3, 16), 40),
    } | _kept_as(request) | more  # fmt: skip
    return render(request, "workflows/builder/yaml.html", context, status=status)


def _download(spec: WorkflowSpec) -> HttpResponse:
    answer = HttpResponse(specs.dump_yaml(spec), content_type="application/yaml; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{spec.slug}.yaml"'
    return answer


@signed_in
@require_GET
def template_export(request: HttpRequest) -> HttpResponse:
    """A template as a file."""
    try:
        spec = templates_service.find_spec(request.user, request.GET.get("template", ""))
    except SpecError:  # it can still be handed out as it was saved
        template = templates_service.own_template(request.user, request.GET["template"])
        spec = WorkflowSpec.model_validate(template.spec) if template else None
    if spec is None:
        raise Http404("No such template.")
    return _download(spec)


@signed_in
@require_GET
def workflow_export(request: HttpRequest, pk: int) -> HttpResponse:
    """The definition of a run as a file; its input is not in it."""
    return _download(templates_service.definition_of(get_workflow(request, pk)))


# --- own templates, duplicates --------------------------------------------------------------------------------


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def template_delete(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Ask, then delete a template. Runs made of it have their own copy."""
    template = get_object_or_404(WorkflowTemplate.objects.visible_to(request.user), pk=pk)
    if request.method == "POST":
        template.delete()
        messages.success(request, f"Deleted: {template.name}.")
        return redirect("workflows:new")
    return render(request, "workflows/builder/delete.html", {"template": template, "section": "workflows"})


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def workflow_duplicate(request: HttpRequest, pk: int) -> HttpResponseBase:
    """A copy of a run; its input can be changed before it is made."""
    workflow = get_workflow(request, pk)
    spec = templates_service.definition_of(workflow)
    initial = {PREFIX + name: value for name, value in workflow.input.items()}
    return fill_in(
        request, spec, bound=request.method == "POST", copied_from=workflow, copied=workflow,
        initial=initial | {"name": (COPIES + workflow.name.removeprefix(COPIES))[:200]},
    )  # fmt: skip
