"""What logger_sql runs and what it does not, by the text alone: a corpus of questions and one of attacks."""

import pytest

from storage.plain_sql.reading import CHARS_MAX, StatementError, read

GOOD = r"""
SELECT * FROM otel_logs ORDER BY time DESC LIMIT 5

TABLE otel_services;

SELECT service, count(*) FILTER (WHERE level = 'error') AS e, percentile_cont(0.95) WITHIN GROUP (ORDER BY
duration_ms) FROM otel_spans s WHERE time > now() - interval '15 minutes' GROUP BY 1 HAVING count(*) > 1 ORDER BY 2
DESC NULLS LAST FETCH FIRST 5 ROWS ONLY

WITH a AS (SELECT date_bin('5 minutes', time, '2020-01-01') AS t, count(*) AS c FROM otel_logs GROUP BY 1), b AS
(SELECT * FROM a) SELECT b.t, b.c, lag(c) OVER (ORDER BY t ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM b

SELECT l.attributes ->> 'a', l.attributes #>> '{a,b}', body ~* 'time.?out', body NOT ILIKE '%x%' FROM otel_logs l LEFT
JOIN otel_spans s USING (trace_id, span_id) WHERE l.attributes @> '{"a": 1}' AND l.attributes ? 'b'

SELECT k.key, count(*) FROM otel_logs l CROSS JOIN LATERAL jsonb_each_text(l.attributes) AS k (key, value) GROUP BY 1

SELECT e ->> 'name' FROM otel_spans, jsonb_array_elements(events) WITH ORDINALITY AS x (e, n) WHERE x.n = 1

SELECT DISTINCT ON (service) service, time AT TIME ZONE 'Europe/Berlin', extract(epoch FROM time), time::date,
to_char(time, 'HH24:MI'), trim(both ' ' from body), substring(body from 1 for 5) FROM otel_logs

SELECT CASE WHEN level IN ('error', 'fatal') THEN 1 ELSE 0 END, coalesce(event, '-'), nullif(body, ''),
(regexp_match(body, 'order ([0-9]+)'))[1]::bigint FROM otel_logs WHERE time BETWEEN now() - '1 h'::interval AND now()

SELECT 'it''s', $$dollar; DROP$$, E'a\nb', U&'\0041', -1.5e3, NULL, true /* ; DELETE */ -- ; DELETE

SELECT service FROM otel_services EXCEPT SELECT service FROM otel_spans WHERE time > now() - interval '1 day'

SELECT q.count, q.max FROM (SELECT count(*), max(time) FROM otel_logs) AS q WHERE EXISTS (SELECT FROM otel_spans)

SELECT * FROM otel_logs WHERE trace_uuid = '4bf92f3577b34da6a3ce929d0e0e4736' AND service = ANY ('{a,b}'::text[])
""".strip().split("\n\n")
CALLS = r"""
pg_sleep(100)
pg_catalog.pg_sleep(100)
PG_SLEEP(100)
"pg_sleep"(100)
pg_terminate_backend(1)
pg_cancel_backend(1)
pg_notify('a', 'b')
set_config('role', 'x', false)
current_setting('hba_file')
pg_read_file('/etc/passwd')
pg_ls_dir('.')
lo_import('/etc/passwd')
lo_create(0)
lo_get(1)
pg_advisory_lock(1)
pg_try_advisory_xact_lock(1)
dblink('host=evil', 'SELECT 1')
pg_reload_conf()
nextval('log_records_id_seq')
txid_current()
pg_export_snapshot()
query_to_xml('TABLE tokens', true, true, '')
database_to_xml(true, true, '')
table_to_xml('tokens', true, true, '')
ts_stat('SELECT 1')
has_table_privilege('tokens', 'SELECT')
pg_get_viewdef('otel_logs')
inet_server_addr()
version()
pg_backend_pid()
random()
gen_random_uuid()
pg_logical_emit_message(true, 'a', 'b')
concat('a', 'b')
repeat('x', 1000000000)
lpad('x', 1000000000)
rpad('x', 1000000000)
format('%1000000000s', 1)
replace('aaaa', 'a', repeat('x', 1000000))
regexp_replace(body, 'a', 'b', 'g')
array_fill(1, '{1000000}')
string_agg(body, ',') FROM otel_logs
array_agg(body) FROM otel_logs
jsonb_agg(body) FROM otel_logs
generate_series(1, 1000000000)
unnest(string_to_array(body, '')) FROM otel_logs
factorial(100000)
power(9, 999999::numeric)
jsonb_set(attributes, '{a}', attributes) FROM otel_logs
myschema.count(1)
""".strip().splitlines()
TWICE = """SELECT x.pg_read_file FROM otel_logs, jsonb_object_keys(attributes) x,
  LATERAL (SELECT 1 FROM jsonb_object_keys(attributes) AS x (pg_read_file)) y"""
# Each with a word of what it is refused for.
ATTACKS = [
    ("SELECT 1; DELETE FROM otel_logs", "2 statements"),
    ("SELECT 1;;SELECT pg_sleep(9)", "statements"),
    ("SELECT 1 /* ", "unterminated"),
    ("SELECT $$x", "unterminated"),
    ("SELECT 'x", "unterminated"),
    ("", "0 statements"),
    ("-- nothing", "0 statements"),
    ("SELECT 1 -- x\n; DROP TABLE spans", "2 statements"),
    ("SELECT 1) AS q; DROP TABLE spans; SELECT (1", "syntax error"),
    ("SELECT 1) UNION SELECT token_hash FROM tokens --", "syntax error"),
    ("DELETE FROM otel_logs", "DELETE"),
    ("INSERT INTO otel_logs VALUES (1)", "INSERT"),
    ("UPDATE otel_logs SET body = ''", "UPDATE"),
    ("MERGE INTO otel_logs USING otel_spans ON true WHEN MATCHED THEN DELETE", "MERGE"),
    ("TRUNCATE log_records", "TRUNCATE"),
    ("WITH x AS (DELETE FROM otel_logs RETURNING *) SELECT * FROM x", "only SELECT"),
    ("WITH x AS (INSERT INTO audit_log DEFAULT VALUES RETURNING 1) SELECT * FROM x", "only SELECT"),
    ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT * FROM r", "WITH RECURSIVE"),
    ("WITH otel_logs AS (SELECT 1) SELECT * FROM otel_logs", "is a view"),
    ("SELECT (WITH tokens AS (SELECT 1) SELECT 1 FROM tokens), (SELECT 1 FROM tokens)", "no view tokens"),
    ("SELECT * INTO mine FROM otel_logs", "SELECT INTO"),
    ("CREATE TABLE mine AS SELECT 1", "CREATETABLEAS"),
    ("SELECT * FROM otel_logs FOR UPDATE", "FOR UPDATE"),
    ("SELECT * FROM otel_logs FOR KEY SHARE SKIP LOCKED", "FOR UPDATE"),
    ("EXPLAIN ANALYZE SELECT 1", "EXPLAIN"),
    ("COPY otel_logs TO PROGRAM 'sh'", "COPY"),
    ("COPY (SELECT 1) TO '/tmp/x'", "COPY"),
    ("DO $$ BEGIN PERFORM pg_sleep(9); END $$", "DO"),
    ("CALL x()", "CALL"),
    ("NOTIFY otel_ingest_tokens", "NOTIFY"),
    ("LISTEN x", "LISTEN"),
    ("SET ROLE otel_ingest", "VARIABLESET"),
    ("RESET ROLE", "VARIABLESET"),
    ("SET statement_timeout = 0", "VARIABLESET"),
    ("SHOW ALL", "VARIABLESHOW"),
    ("BEGIN", "TRANSACTION"),
    ("COMMIT; DELETE FROM spans", "2 statements"),
    ("LOCK TABLE log_records", "LOCK"),
    ("PREPARE x AS SELECT 1", "PREPARE"),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "DECLARECURSOR"),
    ("VACUUM", "VACUUM"),
    ("LOAD 'x'", "LOAD"),
    ("SELECT * FROM log_records", "no view log_records"),
    ("SELECT * FROM tokens", "no view tokens"),
    ("SELECT * FROM pg_authid", "no view pg_authid"),
    ("SELECT * FROM pg_stat_activity", "no view pg_stat_activity"),
    ("SELECT * FROM information_schema.tables", "a schema before"),
    ("SELECT * FROM pg_catalog.pg_class", "a schema before"),
    ("SELECT * FROM public.otel_logs", "a schema before"),
    ('SELECT * FROM "otel_logs "', "no view"),
    ("SELECT * FROM otel_red(now(), now(), '1 s')", "in FROM otel_red"),
    ("SELECT otel_ingest_find_token('x')", "the function otel_ingest_find_token"),
    *((f"SELECT {call}", "the function ") for call in CALLS),
    ("SELECT * FROM generate_series(1, 1000000000)", "in FROM generate_series"),
    ("SELECT * FROM ROWS FROM (pg_sleep(9), now())", "ROWS FROM"),
    ("SELECT * FROM pg_ls_waldir()", "in FROM pg_ls_waldir"),
    ("SELECT * FROM json_to_recordset('[]') AS x (a int)", "column definitions"),
    ("SELECT 'tokens'::regclass", "the type regclass"),
    ("SELECT CAST('otel_ingest' AS regrole)", "the type regrole"),
    ("SELECT regproc 'pg_sleep'", "the type regproc"),
    ("SELECT '1'::pg_catalog.xid8", "the type xid8"),
    ("SELECT 'x'::otel_logs", "the type otel_logs"),
    ("SELECT ctid FROM otel_logs", "system column"),
    ("SELECT l.xmin FROM otel_logs l", "system column"),
    ("SELECT tableoid FROM otel_logs", "system column"),
    ("SELECT public.otel_logs.body FROM otel_logs", "relation.column"),
    # A name behind a value is a call in PostgreSQL.
    ("SELECT ('postgresql.conf'::text).pg_read_file", "behind brackets"),
    ("SELECT (l).row_to_json FROM otel_logs l", "behind brackets"),
    ("SELECT l.row_to_json FROM otel_logs l", "no column l.row_to_json"),
    ("SELECT k.pg_read_file FROM otel_logs, jsonb_object_keys(attributes) k", "no column k.pg_read_file"),
    (TWICE, "no column x."),
    ("SELECT 1 AS pg_read_file, k.pg_read_file FROM otel_logs, jsonb_object_keys(attributes) k", "no column k."),
    ("SELECT body || body FROM otel_logs", "the operator ||"),
    ("SELECT 9 ^ 9999", "the operator ^"),
    ("SELECT a OPERATOR(public.+) b FROM otel_logs", "the operator public.+"),
    ("SELECT 1 ORDER BY 1 USING OPERATOR(public.<)", "ORDER BY USING"),
    ("SELECT current_user", "current_user"),
    ("SELECT session_user", "session_user"),
    ("SELECT current_catalog, current_schema", "current_catalog"),
    ("SELECT $1", "parameter"),
    ("SELECT xmlparse(document '<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>')", "XML"),
    ("SELECT count(*) FROM otel_logs TABLESAMPLE SYSTEM (1)", "TABLESAMPLE"),
    ("SELECT 1 FROM otel_logs GROUP BY CUBE (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)", "GROUPING SETS"),
    ("SELECT count(VARIADIC ARRAY[1])", "VARIADIC"),
    (f"SELECT 1 FROM {', '.join(f'otel_logs l{i}' for i in range(9))}", "9 relations"),  # noqa: S608 - not run
    (f"SELECT {'*'.join('9' * 40)}", "more than 30 multiplications"),
    (f"SELECT {','.join('1' * 1_500)}", "more than 2000 parts"),
    (f"SELECT {'(' * 3_900}1{')' * 3_900} + {'@ ' * 50}1", "the operator @"),
    (f"SELECT {'NOT ' * 1_990}true", "nested too deeply"),
    (f"SELECT '{'x' * CHARS_MAX}'", "characters"),
    ("SELECT 1 \x00 DELETE", "U+0000"),
    ("SELECT '\ud800'", "surrogate"),
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_questions_are_taken(text: str) -> None:
    """As people write them; what is run is what was read."""
    statement = read(text)

    assert statement.text == text.rstrip(";")


@pytest.mark.parametrize(("text", "word"), ATTACKS)
def test_attacks_are_refused(text: str, word: str) -> None:
    """Each for its own reason, in words that repeat at most a name of it."""
    with pytest.raises(StatementError) as caught:
        read(text)

    assert word in str(caught.value)
    assert len(str(caught.value)) < 2_000


def test_a_near_name_is_told() -> None:
    """What an agent that knows other stores would write."""
    with pytest.raises(StatementError, match=r'Did you mean "otel_logs"'):
        read("SELECT * FROM otel_log")
    with pytest.raises(StatementError, match='Did you mean "date_trunc"'):
        read("SELECT date_trnc('hour', time) FROM otel_logs")
    with pytest.raises(StatementError, match=r'no column l\.servce\. Did you mean "service"'):
        read("SELECT l.servce FROM otel_logs l")
