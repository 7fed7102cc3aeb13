"""A Django project in one file, for a WSGI server."""

import logging
import sys

from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

log = logging.getLogger("django_app")


def index(request: HttpRequest) -> HttpResponse:
    log.info("django %s", request.GET.get("i"))
    return HttpResponse("ok")


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("django failed, password=hunter2")


urlpatterns = [path("", index), path("fail", fail)]
application = get_wsgi_application()

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line([sys.argv[0], "runserver", "--noreload", sys.argv[1]])
