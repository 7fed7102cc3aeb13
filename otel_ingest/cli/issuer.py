"""The OAuth issuer that the settings name, as the query side takes it."""

from mcp_tools.oauth import OAuth
from otel_ingest.config import Settings


def oauth_of(settings: Settings, base_url: str) -> OAuth | None:
    """Return whose access tokens count at ``base_url``; None: of nobody."""
    if settings.oauth_issuer is None:
        return None
    pairs = (name.rpartition("=") for name in settings.oauth_scopes)
    scopes = {scope: role for scope, _, role in pairs}
    return OAuth(settings.oauth_issuer, settings.oauth_resource or f"{base_url}/mcp", scopes, settings.oauth_jwks_url)
