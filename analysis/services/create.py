"""Beginning an analysis, and another one on the same source."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction

from analysis import hosts
from analysis.errors import SourceError
from analysis.models import AnalysisRun, SourceFile, SourceKind, Upload
from analysis.plain import Options
from analysis.rows import as_json, digest, options_of
from analysis.services.base import UNCHANGED, Refused, check_budget, check_options
from nyxcore.calls import storable
from nyxcore.fencing import new_marker
from nyxcore.states import Status

MAX_UPLOAD = 100_000_000  # bytes
OPERATOR = "operator"


def source_key(kind: str, location: str, sub_path: str = "") -> str:
    """The same for everything that is one source: its spelling does not matter, branch and commit do not either."""
    if kind == SourceKind.GIT:
        parts = urlsplit(location.strip())
        path = parts.path.rstrip("/").removesuffix(".git").rstrip("/")
        port = "" if parts.port in (None, hosts.PORTS["https"]) else f":{parts.port}"
        location = f"{(parts.hostname or '').lower()}{port}{path}"
    return digest(kind, location.strip(), sub_path.strip("/"))


def store_upload(*, owner: Any, name: str, data: bytes) -> Upload:
    """Keep an archive until its analysis is confirmed."""
    if not data:
        raise Refused("The file is empty.")
    if len(data) > MAX_UPLOAD:
        raise Refused(
            f"The file has more than {MAX_UPLOAD // 1_000_000} MB, which is the most that is taken."
        )
    return Upload.objects.create(owner=owner, name=storable(name)[:255], data=data, size=len(data))


def create_analysis(
    *,
    owner: Any,
    source_kind: str,
    location: str = "",
    ref: str = "",
    sub_path: str = "",
    upload: Upload | None = None,
    options: Options | None = None,
    name: str = "",
    budget: Decimal | None = None,
    kind: str = "person",
    origin: str = "",
) -> AnalysisRun:
    """A pending analysis. Folders of the server are open to operators (commands) only, below NYXCORE_ANALYSIS_ROOT."""
    options = options or Options()
    check_options(options)
    check_budget(options, budget)
    location = storable(upload.name if upload else location).strip()
    _check_source(source_kind, location, upload, kind)
    if upload is not None and not Upload.objects.filter(pk=upload.pk, owner=owner).exists():
        raise Refused("There is no such archive. Upload it again.")
    key = source_key(source_kind, location, sub_path)
    earlier = AnalysisRun.objects.filter(owner=owner, source_key=key, status=Status.COMPLETED)
    return AnalysisRun.objects.create(
        owner=owner,
        name=(storable(name).strip() or _name(location))[:200],
        source_kind=source_kind,
        location=location,
        ref=storable(ref).strip()[:255],
        sub_path=storable(sub_path).strip().strip("/")[:1000],
        source_key=key,
        upload=upload,
        options=as_json(options),
        budget=budget,
        marker=new_marker(),
        origin=origin,
        previous=earlier.order_by("-pk").first(),
    )


def _check_source(source_kind: str, location: str, upload: Upload | None, kind: str) -> None:
    if source_kind not in SourceKind.values:
        raise Refused(f"There is no source of the kind {source_kind}.")
    if source_kind == SourceKind.UPLOAD and upload is None:
        raise Refused("No archive was uploaded. Choose a zip or tar file.")
    if not location:
        raise Refused("The source has no address.")
    if source_kind == SourceKind.GIT:
        try:
            hosts.check_form(location)
        except SourceError as error:
            raise Refused(error.message) from None
    if source_kind == SourceKind.PATH and kind != OPERATOR:
        raise Refused("Folders of the server can be analysed by command only.")
    if source_kind == SourceKind.PATH and not settings.NYXCORE_ANALYSIS_ROOT:
        raise Refused(
            "NYXCORE_ANALYSIS_ROOT is not set, so no folder may be analysed. Set it to a folder above."
        )


def _name(location: str) -> str:
    """The last part of an address, of a folder or of an archive's name."""
    last = location.rstrip("/").split("/")[-1]
    return last.removesuffix(".git") or location


def rescan_analysis(
    run: AnalysisRun,
    *,
    by: Any,
    options: Options | None = None,
    upload: Upload | None = None,
    budget: Decimal | None = UNCHANGED,
    kind: str = "person",
) -> AnalysisRun:
    """A new analysis of the same source, started; what has not changed costs nothing."""
    from analysis.services.runs import start_analysis

    if run.source_kind == SourceKind.UPLOAD and upload is None:
        raise Refused("The archive is not kept. Upload the new state of the source to analyse it again.")
    with transaction.atomic():
        if upload:
            upload.name = run.location  # the same source under another file name
            Upload.objects.filter(pk=upload.pk, owner=by).update(owner=run.owner)
        again = create_analysis(
            owner=run.owner,
            source_kind=run.source_kind,
            location=run.location,
            ref=run.ref,
            sub_path=run.sub_path,
            upload=upload,
            options=options or options_again(run),
            name=run.name,
            budget=run.budget if budget is UNCHANGED else budget,
            kind=OPERATOR if run.source_kind == SourceKind.PATH else kind,
        )
    start_analysis(again, by=by, kind=kind)
    return again


def options_again(run: AnalysisRun) -> Options:
    """The same options; but what was allowed holds for the very contents that a person has looked at.

    Were it for the path, a secret that comes into that file later would be sent unasked.
    """
    options = options_of(run)
    allowed = SourceFile.objects.filter(run=run, path__in=options.allow_secrets).values_list(
        "blob", flat=True
    )
    blobs = tuple(dict.fromkeys((*options.allow_blobs, *filter(None, allowed))))
    return replace(options, allow_secrets=(), allow_blobs=blobs)
