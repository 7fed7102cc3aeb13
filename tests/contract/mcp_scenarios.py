"""Data: which scenarios of the MCP conformance suite do not apply to this server, at which revision, and why.

A stale entry, of a scenario or check that is no longer there or passes now, fails the test. Those about the content of
answers are run all the same, against our application with the suite's fixtures (``mcp_fixtures``).
"""

OLD, NEW = REVISIONS = ("2025-11-25", "2026-07-28")

_TOOL = "calls a tool of the suite's own, which a server for telemetry does not have"
_FALSE_PASS = f"{_TOOL}; it passes all the same, for the error about an unknown tool looks like the answer it wants"
_RESOURCE = "reads a resource of the suite's own"
_PROMPT = "gets a prompt of the suite's own"
_LOGGING = "protocol logging is deprecated and gone in 2026-07-28; the server's log goes to stderr alone"
_SUBSCRIBE = (
    "resources do not change: a trace or record is what was stored; nothing is announced, and subscribe is false"
)
_ELICITATION = f"{_TOOL}; logger_clear asks for its confirmation in two calls, which every client can do"
_NO_SCENARIO_TOOL = "the suite counts it as pending, and it calls a tool of the suite's own"

LEFT_OUT: dict[str, dict[str, str]] = {
    "logging-set-level": {OLD: _LOGGING},
    "tools-call-simple-text": {OLD: _FALSE_PASS, NEW: _FALSE_PASS},
    "tools-call-image": {OLD: _TOOL, NEW: _TOOL},
    "tools-call-audio": {OLD: _TOOL, NEW: _TOOL},
    "tools-call-embedded-resource": {OLD: _TOOL, NEW: _TOOL},
    "tools-call-mixed-content": {OLD: _TOOL, NEW: _TOOL},
    "tools-call-with-logging": {OLD: _LOGGING},
    "tools-call-error": {OLD: _FALSE_PASS, NEW: _FALSE_PASS},
    "tools-call-with-progress": {OLD: _TOOL, NEW: _TOOL},
    "tools-call-sampling": {OLD: _TOOL},
    "tools-call-elicitation": {OLD: _ELICITATION},
    "json-schema-2020-12": {OLD: _NO_SCENARIO_TOOL, NEW: _NO_SCENARIO_TOOL},
    "elicitation-sep1034-defaults": {OLD: _ELICITATION},
    "server-sse-polling": {OLD: _NO_SCENARIO_TOOL},
    "elicitation-sep1330-enums": {OLD: _ELICITATION},
    "resources-read-text": {OLD: _RESOURCE, NEW: _RESOURCE},
    "resources-read-binary": {OLD: _RESOURCE, NEW: _RESOURCE},
    "resources-templates-read": {OLD: _RESOURCE, NEW: _RESOURCE},
    "resources-subscribe": {OLD: _SUBSCRIBE},
    "resources-unsubscribe": {OLD: _SUBSCRIBE},
    "prompts-get-simple": {OLD: _PROMPT, NEW: _PROMPT},
    "prompts-get-with-args": {OLD: _PROMPT, NEW: _PROMPT},
    "prompts-get-embedded-resource": {OLD: _PROMPT, NEW: _PROMPT},
    "prompts-get-with-image": {OLD: _PROMPT, NEW: _PROMPT},
    "http-custom-header-server-validation": {NEW: "needs a tool whose arguments travel in headers (x-mcp-header)"},
    "input-required-result-basic-elicitation": {NEW: _ELICITATION},
    "input-required-result-basic-sampling": {NEW: _TOOL},
    "input-required-result-basic-list-roots": {NEW: _TOOL},
    "input-required-result-request-state": {NEW: _ELICITATION},
    "input-required-result-multiple-input-requests": {NEW: _TOOL},
    "input-required-result-multi-round": {NEW: _ELICITATION},
    "input-required-result-missing-input-response": {NEW: _ELICITATION},
    "input-required-result-non-tool-request": {NEW: _PROMPT},
    "input-required-result-result-type": {NEW: _ELICITATION},
    "input-required-result-unsupported-methods": {
        NEW: f"{_TOOL}; it passes all the same, for nothing is asked of anybody"
    },
    "input-required-result-tampered-state": {NEW: _ELICITATION},
    "input-required-result-capability-check": {NEW: _ELICITATION},
    "input-required-result-ignore-extra-params": {NEW: _FALSE_PASS},
    "input-required-result-validate-input": {NEW: _ELICITATION},
}

_LISTS = "a SHOULD: the lists of tools and prompts do not change while the server runs, so nothing announces a change"
_CAPABILITY = "needs the tool test_missing_capability; no tool of ours asks the client for anything"
EXPECTED_CHECKS: dict[tuple[str, str], dict[str, str]] = {
    ("server-stateless", NEW): {
        "sep-2575-server-rejects-undeclared-capability": _CAPABILITY,
        "sep-2575-missing-capability-http-400": _CAPABILITY,
        "sep-2575-server-sends-prompts-list-changed-on-subscription": _LISTS,
        "sep-2575-server-sends-tools-list-changed-on-subscription": _LISTS,
    },
}
"""(scenario, revision) -> single checks that need something this server does not have: why."""
