"""A Django project, configured on import, once for the whole process."""

import django
from django.conf import settings

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=["sidegate.integrations.django.VerifySessionMiddleware"],
        ROOT_URLCONF="tests.integration.web.django_urls",
        SECRET_KEY="for tests alone",
        SIDEGATE_TIMEOUT=20.0,
        USE_TZ=True,
    )
    django.setup()

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

asgi_application = get_asgi_application()
wsgi_application = get_wsgi_application()
