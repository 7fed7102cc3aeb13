"""The web page: what the tools tell, for people who would rather look. One function a view makes both HTML and JSON."""
