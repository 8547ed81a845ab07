"""The operators' own pages. Each checks who may, makes one call into the core, and renders."""

from typing import Any, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_safe

from ops import proposals
from ops.desk import figures, tracing
from ops.desk.deeds import DEEDS
from ops.models import AuditEntry, Proposal
from ops.staff import admission
from taptrading.errors import ApiError, DependencyError, OutcomeUnknown

AWAY: Final = "The writer cannot be reached, so nothing was done. Try again in a moment."
UNKNOWN: Final = "The writer's answer was lost: look whether it has happened before you try again."


@require_safe
def operations(request: HttpRequest) -> HttpResponse:
    """The platform at a glance."""
    _need(request, "ops.watch_operations")
    return _page(request, "staff/operations.html", "Operations", **figures.page())


@require_safe
def trace(request: HttpRequest) -> HttpResponse:
    """Whatever an id, an address, a nonce or a reference names, and the money that hangs on it."""
    _need(request, "ops.trace_money")
    words = request.GET.get("q", "").strip()[:100]
    found = tracing.trace(words) if words else None
    return _page(request, "staff/trace.html", "Trace", words=words, found=found)


@require_http_methods(["GET", "HEAD", "POST"])
def deed(request: HttpRequest, name: str) -> HttpResponse:
    """A form, and what it does."""
    chosen = DEEDS.get(name)
    if chosen is None:
        raise Http404
    _need(request, chosen.permission)
    if request.method != "POST":
        form = chosen.form(initial=dict(request.GET.items()))
        return _page(request, "staff/deed.html", chosen.title, deed=chosen, form=form)
    if not admission.is_recent(request):
        return _confirm_first(request)
    form = chosen.form(request.POST)
    if form.is_valid():
        try:
            messages.success(request, chosen.do(request.user, form.cleaned_data))
        except (ApiError, DependencyError) as error:
            form.add_error(None, _sentence(error))
        else:
            return redirect("admin:operations")
    return _page(request, "staff/deed.html", chosen.title, 400, deed=chosen, form=form)


@require_http_methods(["GET", "HEAD", "POST"])
def proposal(request: HttpRequest, pk: int) -> HttpResponse:
    """One proposal, and another person's word on it."""
    _need(request, "ops.view_proposal")
    found = Proposal.objects.select_related("proposed_by", "decided_by", "wallet", "withdrawal")
    row = found.filter(pk=pk).first()
    if row is None:
        raise Http404
    if request.method == "POST":
        _need(request, "ops.approve_money")
        return _decide(request, row)
    history = AuditEntry.objects.filter(subject=row.reference).order_by("id")
    title = f"Proposal {row.pk}: {row.get_kind_display()}"
    told = proposals.what(row)
    return _page(request, "staff/proposal.html", title, proposal=row, what=told, history=history)


def _decide(request: HttpRequest, row: Proposal) -> HttpResponse:
    if not admission.is_recent(request):
        return _confirm_first(request)
    try:
        if "approve" in request.POST:
            done = proposals.approve(request.user, row.pk)
            refused = done.state == Proposal.State.REFUSED
            say = messages.error if refused else messages.success
            say(request, f"Refused: {done.outcome}" if refused else "Approved and carried out.")
        else:
            reason = request.POST.get("reason", "").strip()
            if len(reason) < 3:
                raise ApiError("invalid_request", "Say why.")
            proposals.reject(request.user, row.pk, reason)
            messages.success(request, "Rejected.")
    except (ApiError, DependencyError) as error:
        messages.error(request, _sentence(error))
    return redirect("admin:proposal", row.pk)


def _need(request: HttpRequest, permission: str) -> None:
    user: Any = request.user
    if not user.has_perm(permission):
        raise PermissionDenied


def _confirm_first(request: HttpRequest) -> HttpResponse:
    """What is dangerous asks again who they are; then they are where they were."""
    messages.warning(request, "Show who you are first, then do it again: nothing was done yet.")
    return redirect(reverse("admin:verify") + "?" + urlencode({"next": request.get_full_path()}))


def _sentence(error: Exception) -> str:
    if isinstance(error, OutcomeUnknown):
        return UNKNOWN
    return AWAY if isinstance(error, DependencyError) else str(error)


def _page(
    request: HttpRequest, template: str, title: str, status: int = 200, **more: Any
) -> HttpResponse:
    context = admin.site.each_context(request) | {"title": title} | more
    return TemplateResponse(request, template, context, status=status)
