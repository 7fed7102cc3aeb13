"""Settings of the Django test project."""

ROOT_URLCONF = "django_app"
ALLOWED_HOSTS = ["*"]
SECRET_KEY = "x" * 50
DEBUG = False
