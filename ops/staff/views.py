"""The pages on which staff show who they are: a code of their device, or its setting up."""

from typing import Any

import django_otp
from django.contrib import admin
from django.contrib.auth import authenticate
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from ops.staff import admission, devices
from taptrading import audit
from taptrading.audit import Note

_WRONG = "That is not right. A code is good once; after wrong ones there is a wait."


@never_cache
@sensitive_post_parameters("code")
@require_http_methods(["GET", "HEAD", "POST"])
def verify(request: HttpRequest) -> HttpResponse:
    """At sign-in, and again before something dangerous when the last time is a while ago. Whoever
    has no device, where nobody needs one, gives the password again."""
    if not admission.is_staff(request):
        return redirect("admin:login")
    by_code = admission.has_device(request.user)
    if not by_code and not admission.is_admitted(request):
        return redirect("admin:set_up")
    error = ""
    if request.method == "POST":
        if _is_them(request, by_code):
            admission.confirm(request)
            return redirect(_wanted(request))
        audit.try_to_record(Note("staff.not_confirmed", f"user:{request.user.get_username()}"))
        error = _WRONG
    return _page(request, "staff/verify.html", "Who are you?", by_code=by_code, error=error)


def _is_them(request: HttpRequest, by_code: bool) -> bool:
    text = request.POST.get("code", "")
    if not by_code:
        found = authenticate(request, username=request.user.get_username(), password=text)
        return found is not None and found.pk == request.user.pk
    device = devices.matching(request.user, text)
    if device is None:
        return False
    _admit(request, device)
    return True


@never_cache
@sensitive_post_parameters("code")
@require_http_methods(["GET", "HEAD", "POST"])
def set_up(request: HttpRequest) -> HttpResponse:
    """A first device after the password; another one only for those who have shown the old one."""
    if not admission.is_staff(request):
        return redirect("admin:login")
    replaces = admission.has_device(request.user)
    if replaces and not (admission.is_admitted(request) and admission.is_recent(request)):
        return redirect(reverse("admin:verify") + "?next=" + reverse("admin:set_up"))
    error = ""
    if request.method == "POST":
        done = devices.set_up(request.user, request.POST.get("code", ""))
        if done is not None:
            device, codes = done
            _admit(request, device)
            admission.confirm(request)
            return _codes_page(request, codes)
        error = _WRONG
    device = devices.pending(request.user)
    return _page(
        request,
        "staff/set_up.html",
        "Set up your second factor",
        picture=devices.picture(device),
        secret=devices.secret_text(device),
        error=error,
    )


@require_http_methods(["GET", "HEAD", "POST"])
def codes(request: HttpRequest) -> HttpResponse:
    """How many recovery codes are left, and new ones. For those admitted."""
    if not admission.has_device(request.user):
        return redirect("admin:set_up")
    if request.method == "POST":
        if not admission.is_recent(request):
            return redirect(reverse("admin:verify") + "?next=" + reverse("admin:recovery_codes"))
        fresh = devices.new_recovery_codes(request.user)
        audit.record(Note("staff.recovery_codes_renewed", f"user:{request.user.get_username()}"))
        return _codes_page(request, fresh)
    left = devices.recovery_codes_left(request.user)
    return _page(request, "staff/codes.html", "Recovery codes", left=left)


def _admit(request: HttpRequest, device: Any) -> None:
    request.session.cycle_key()
    django_otp.login(request, device)


def _codes_page(request: HttpRequest, codes: list[str]) -> HttpResponse:
    return _page(
        request, "staff/codes.html", "Recovery codes", codes=codes, wanted=_wanted(request)
    )


def _wanted(request: HttpRequest) -> str:
    """The page they came for, if it is one of ours."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, request.is_secure())
    return wanted if ours else reverse("admin:index")


def _page(request: HttpRequest, template: str, title: str, **more: Any) -> HttpResponse:
    context = admin.site.each_context(request) | {"title": title, "next": _wanted(request)} | more
    return TemplateResponse(request, template, context)
