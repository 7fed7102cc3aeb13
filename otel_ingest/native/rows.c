/* PURE: records as OTLP/protobuf -> COPY BINARY tuples, for records that hold nothing unusual.
 *
 * The same as otel_ingest/decode and storage/encoding.py in one pass; a property test holds them together.
 * What the plain way would reject, mark as not kept exactly, or warn of, and what no SDK sends, is left to it: the
 * record's status says so. Reads between two pointers and writes between two pointers, allocates nothing, keeps
 * nothing, calls back nothing; a test runs it under the sanitizers.
 *
 * Wire format: https://protobuf.dev/programming-guides/encoding/; tuples: PostgreSQL documentation, COPY, "Binary
 * Format"; messages: opentelemetry-proto 1.11.
 */
#include "tuple.h"

#define PARTS_MAX 64 /* events, and links, of one span that stay here */
#define EPOCH_US 946684800000000LL
#define CELLS_BACK 32 /* how many cells back one is looked for before another is begun */
#define BUCKETS 1024
/* A tuple is mostly shorter than twice its record; one that takes more than this begins a slice, or goes the plain way. */
#define ROOM_A_BYTE 4
#define ROOM_A_ROW 512

/* What all rows of one scope have in common, and where the plain way begins. Mirrored in __init__.py. */
typedef struct {
  uint8_t resource_id[16], scope_id[16];
  const uint8_t *component;
  int64_t component_size, record_bytes_max, depth_max;
  int32_t spans; /* the records are spans, not log records */
} Scope;

/* And of one request: which times are taken, and what stands for none. */
typedef struct {
  const Scope *scope;
  uint64_t earliest_ns, latest_ns, received_ns;
} Shared;

/* What is counted of a record (storage/counts.py); `served`: a request, or a job of its own. */
typedef struct {
  int64_t time_us, code, duration_ns, kind;
  Bytes name;
  int served;
} Counted;

/* Records of one minute, code (severity number, status code), kind and name that follow each other, or nearly. */
typedef struct {
  int64_t minute, code, rows, duration_ns, kind, name, name_size; /* name: where it is in `data` */
} Cell;

/* The partition key: the first time that is given, else that of the receipt, in microseconds. */
static int64_t time_us(Out *out, const Shared *shared, uint64_t first, uint64_t second) {
  uint64_t time = first ? first : second;
  if (!time) return (int64_t)(shared->received_ns / 1000);
  if (time < shared->earliest_ns || time > shared->latest_ns) fail(out);
  return (int64_t)(time / 1000);
}

static void begin(Out *out, uint8_t columns, int64_t time) {
  uint8_t two[] = {0, columns};
  put(out, two, 2);
  field64(out, (uint64_t)(time - EPOCH_US));
}

static void field_envelope(Out *out, const Shared *shared) {
  field_bytes(out, shared->scope->resource_id, 16), field_bytes(out, shared->scope->scope_id, 16);
}

/* One more of a repeated field. */
static int more_of(Out *out, const Field *field, Bytes *found, int count, int most) {
  if (count == most) return fail(out);
  found[count] = delimited(out, field);
  return count + 1;
}

/* ---- log records ---- */

static uint32_t body_kind(Bytes body) { return !body.at ? 0 : body.at < body.end && *body.at == 0x0a ? 1 : 2; }

static void field_body(Out *out, Bytes body, int depth) {
  Bytes inner = body;
  Field field;
  if (!body.at) return put32(out, NULL_FIELD);
  if (next(&inner, &field) == 1 && field.number == 1 && field.kind == DELIMITED && inner.at == inner.end)
    return field_text(out, field.bytes);
  uint8_t *here = length(out);
  out->as_sent = 1; /* it is stored as text */
  json_value(out, body, depth);
  out->as_sent = 0;
  length_is(out, here);
}

static void log_row(Bytes record, const Shared *shared, Out *out, Counted *counted) {
  Bytes pairs[PAIRS_MAX], severity_text = {0}, event_name = {0}, body = {0}, trace_id = {0}, span_id = {0};
  uint64_t time = 0, observed = 0;
  uint32_t severity = 0, dropped = 0, flags = 0;
  int count = 0, more = 0, depth = (int)shared->scope->depth_max;
  Field f;
  while (!out->bad && (more = next(&record, &f)) > 0) switch (f.number) {
      case 1: time = fixed(out, &f, FIXED64); break;
      case 2: severity = small(out, &f); break;
      case 3: severity_text = delimited(out, &f); break;
      case 5: body = once(out, &f, body); break;
      case 6: count = more_of(out, &f, pairs, count, PAIRS_MAX); break;
      case 7: dropped = small(out, &f); break;
      case 8: flags = (uint32_t)fixed(out, &f, FIXED32); break;
      case 9: trace_id = id(out, &f, 16); break;
      case 10: span_id = id(out, &f, 8); break;
      case 11: observed = fixed(out, &f, FIXED64); break;
      case 12: event_name = delimited(out, &f); break;
      default: fail(out);
    }
  if (more < 0 || out->bad) return (void)fail(out);
  *counted = (Counted){.time_us = time_us(out, shared, time, observed), .code = (int32_t)severity};
  begin(out, 17, counted->time_us);
  field64(out, time), field64(out, observed);
  field_envelope(out, shared);
  field32(out, severity), field32(out, flags), field32(out, dropped), field32(out, body_kind(body));
  field_bytes(out, shared->scope->component, shared->scope->component_size);
  field_text(out, severity_text), field_text(out, event_name);
  field_attributes(out, pairs, count, depth);
  field_id(out, trace_id), field_id(out, span_id);
  field_body(out, body, depth);
  put32(out, NULL_FIELD);
}

/* ---- spans ---- */

static void json_name(Out *out, const char *name) { put(out, name, (int64_t)strlen(name)); }

static void json_hex(Out *out, Bytes id) {
  static const char hex[] = "0123456789abcdef";
  put(out, "\"", 1);
  for (; id.at < id.end && room(out, 2); id.at++) *out->at++ = (uint8_t)hex[*id.at >> 4], *out->at++ = (uint8_t)hex[*id.at & 15];
  put(out, "\"", 1);
}

/* The keys of events and links as jsonb orders them. */
static void json_event(Out *out, Bytes event, int depth) {
  Bytes pairs[PAIRS_MAX], name = {0};
  uint64_t time = 0;
  uint32_t dropped = 0;
  int count = 0, more = 0;
  Field f;
  while (!out->bad && (more = next(&event, &f)) > 0) switch (f.number) {
      case 1: time = fixed(out, &f, FIXED64); break;
      case 2: name = delimited(out, &f); break;
      case 3: count = more_of(out, &f, pairs, count, PAIRS_MAX); break;
      case 4: dropped = small(out, &f); break;
      default: fail(out);
    }
  if (more < 0 || out->bad) return (void)fail(out);
  json_name(out, "{\"name\":"), json_text(out, name);
  json_name(out, ",\"attributes\":"), json_object(out, pairs, count, depth);
  json_name(out, ",\"time_unix_nano\":"), json_unsigned(out, time);
  json_name(out, ",\"dropped_attributes_count\":"), json_unsigned(out, dropped);
  json_name(out, "}");
}

static void json_link(Out *out, Bytes link, int depth) {
  Bytes pairs[PAIRS_MAX], trace_id = {0}, span_id = {0}, state = {0};
  uint32_t dropped = 0, flags = 0;
  int count = 0, more = 0;
  Field f;
  while (!out->bad && (more = next(&link, &f)) > 0) switch (f.number) {
      case 1: trace_id = id(out, &f, 16); break;
      case 2: span_id = id(out, &f, 8); break;
      case 3: state = delimited(out, &f); break;
      case 4: count = more_of(out, &f, pairs, count, PAIRS_MAX); break;
      case 5: dropped = small(out, &f); break;
      case 6: flags = (uint32_t)fixed(out, &f, FIXED32); break;
      default: fail(out);
    }
  if (more < 0 || out->bad) return (void)fail(out);
  json_name(out, "{\"flags\":"), json_unsigned(out, flags);
  json_name(out, ",\"span_id\":"), json_hex(out, span_id);
  json_name(out, ",\"trace_id\":"), json_hex(out, trace_id);
  json_name(out, ",\"attributes\":"), json_object(out, pairs, count, depth);
  json_name(out, ",\"trace_state\":"), json_text(out, state);
  json_name(out, ",\"dropped_attributes_count\":"), json_unsigned(out, dropped);
  json_name(out, "}");
}

/* A nullable array of events or links. */
static void field_list(Out *out, const Bytes *parts, int count, int depth, void (*one)(Out *, Bytes, int)) {
  if (!count) return put32(out, NULL_FIELD);
  uint8_t *here = length(out), version = JSONB_VERSION;
  put(out, &version, 1);
  for (int i = 0; i < count && !out->bad; i++) put(out, i ? "," : "[", 1), one(out, parts[i], depth);
  put(out, "]", 1);
  length_is(out, here);
}

typedef struct {
  Bytes message;
  uint32_t code;
} Status;

static Status status_of(Out *out, Bytes message) {
  Status status = {{0}, 0};
  int more;
  Field f;
  while ((more = next(&message, &f)) > 0) switch (f.number) {
      case 2: status.message = delimited(out, &f); break;
      case 3: status.code = small(out, &f); break;
      default: fail(out);
    }
  if (more < 0) fail(out);
  return status;
}

typedef struct {
  Bytes pairs[PAIRS_MAX], events[PARTS_MAX], links[PARTS_MAX];
  Bytes trace_id, span_id, parent_span_id, trace_state, name, status;
  uint64_t start, end;
  uint32_t kind, flags, dropped, dropped_events, dropped_links;
  int pair_count, event_count, link_count;
} Span;

static void span_fields(Out *out, Bytes record, Span *span) {
  int more = 0;
  Field f;
  while (!out->bad && (more = next(&record, &f)) > 0) switch (f.number) {
      case 1: span->trace_id = id(out, &f, 16); break;
      case 2: span->span_id = id(out, &f, 8); break;
      case 3: span->trace_state = delimited(out, &f); break;
      case 4: span->parent_span_id = id(out, &f, 8); break;
      case 5: span->name = delimited(out, &f); break;
      case 6: span->kind = small(out, &f); break;
      case 7: span->start = fixed(out, &f, FIXED64); break;
      case 8: span->end = fixed(out, &f, FIXED64); break;
      case 9: span->pair_count = more_of(out, &f, span->pairs, span->pair_count, PAIRS_MAX); break;
      case 10: span->dropped = small(out, &f); break;
      case 11: span->event_count = more_of(out, &f, span->events, span->event_count, PARTS_MAX); break;
      case 12: span->dropped_events = small(out, &f); break;
      case 13: span->link_count = more_of(out, &f, span->links, span->link_count, PARTS_MAX); break;
      case 14: span->dropped_links = small(out, &f); break;
      case 15: span->status = once(out, &f, span->status); break;
      case 16: span->flags = (uint32_t)fixed(out, &f, FIXED32); break;
      default: fail(out);
    }
  if (more < 0) fail(out);
}

static void span_row(Bytes record, const Shared *shared, Out *out, Counted *counted) {
  Span s;
  s.trace_id = s.span_id = s.parent_span_id = s.trace_state = s.name = s.status = (Bytes){0};
  s.start = s.end = 0, s.kind = s.flags = s.dropped = s.dropped_events = s.dropped_links = 0;
  s.pair_count = s.event_count = s.link_count = 0;
  span_fields(out, record, &s);
  if (out->bad) return;
  Status status = status_of(out, s.status);
  uint64_t duration = s.end > s.start ? s.end - s.start : 0;
  if (duration > INT64_MAX) duration = INT64_MAX;
  int depth = (int)shared->scope->depth_max;
  int job = s.kind < 2 && s.parent_span_id.at == s.parent_span_id.end;
  *counted = (Counted){time_us(out, shared, s.start, s.end), status.code, (int64_t)duration, s.kind, s.name,
                       s.kind == 2 || s.kind == 5 || job};
  begin(out, 23, counted->time_us);
  field64(out, s.start), field64(out, s.end), field64(out, duration);
  field_envelope(out, shared);
  field32(out, s.kind), field32(out, s.flags), field32(out, s.dropped);
  field32(out, s.dropped_events), field32(out, s.dropped_links);
  field_bytes(out, shared->scope->component, shared->scope->component_size);
  field_text(out, s.name), field_text(out, s.trace_state), field_text(out, status.message);
  field_attributes(out, s.pairs, s.pair_count, depth);
  field_id(out, s.trace_id), field_id(out, s.span_id), field_id(out, s.parent_span_id);
  if (s.status.at)
    field32(out, status.code);
  else
    put32(out, NULL_FIELD);
  field_list(out, s.events, s.event_count, depth, json_event);
  field_list(out, s.links, s.link_count, depth, json_link);
  put32(out, NULL_FIELD);
}

/* ---- what is called ---- */

/* Where what is found is written. Mirrored in __init__.py: all but `buffer` have places for `records_max`. */
typedef struct {
  uint8_t *buffer;
  int64_t buffer_size, records_max;
  uint32_t *ends; /* where each tuple ends in `buffer` and the next begins */
  Cell *cells;
  int64_t *served; /* pairs: what is counted of requests, and how many */
  int64_t *left;   /* threes: which record, in order, goes the plain way, and from where to where it is in `data` */
  /* How many there are of each, and where in `data` what comes behind them begins. */
  int64_t records, cell_count, served_count, left_count, at;
} Slice;

static int64_t minute_of(int64_t time_us) { return time_us / 60000000 - (time_us % 60000000 < 0); }

static void count_cell(Slice *slice, const Counted *counted, const uint8_t *data) {
  Cell *cells = slice->cells;
  int64_t minute = minute_of(counted->time_us), used = slice->cell_count, least = used > CELLS_BACK ? used - CELLS_BACK : 0;
  int64_t size = counted->name.end - counted->name.at;
  for (int64_t i = used - 1; i >= least; i--)
    if (cells[i].minute == minute && cells[i].code == counted->code && cells[i].kind == counted->kind &&
        cells[i].name_size == size && (!size || !memcmp(data + cells[i].name, counted->name.at, (size_t)size))) {
      cells[i].rows++, cells[i].duration_ns += counted->duration_ns;
      return;
    }
  cells[slice->cell_count++] =
      (Cell){minute, counted->code, 1, counted->duration_ns, counted->kind, size ? counted->name.at - data : 0, size};
}

/* storage/latency.py: 16 buckets to each power of two. */
static int64_t bucket_of(int64_t duration) {
  int shift = 0;
  while (duration >> shift > 31) shift++;
  return 16 * shift + (duration >> shift);
}

/* The minute, whether it failed, and the bucket: how many were served so. */
static void count_served(Slice *slice, const Counted *counted) {
  if (!counted->served) return;
  int64_t place = (2 * minute_of(counted->time_us) + (counted->code == 2)) * BUCKETS + bucket_of(counted->duration_ns);
  int64_t used = slice->served_count, least = used > CELLS_BACK ? used - CELLS_BACK : 0;
  for (int64_t i = used - 1; i >= least; i--)
    if (slice->served[2 * i] == place) {
      slice->served[2 * i + 1]++;
      return;
    }
  slice->served[2 * used] = place, slice->served[2 * used + 1] = 1, slice->served_count++;
}

/* That of these sources: __init__.py uses no other. */
EXPORTED int32_t otel_ingest_version(void) { return 7; }

/* The records of a ScopeLogs or ScopeSpans message (field 2) from `at` to `end` in `data` -> their tuples, one behind
 * the other, as many as the slice takes.
 *
 * One that the plain way must look at is among `left`, with an empty tuple. Its fields were walked before (outline.c).
 */
EXPORTED void otel_ingest_rows(const uint8_t *data, int64_t at, int64_t end, const Scope *of, uint64_t earliest_ns,
                              uint64_t latest_ns, uint64_t received_ns, Slice *slice) {
  Shared all = {of, earliest_ns, latest_ns, received_ns}, *shared = &all;
  Out out = {slice->buffer, slice->buffer + slice->buffer_size, 0};
  Bytes scope = {data + at, data + end};
  Counted counted;
  Field field;
  slice->records = slice->cell_count = slice->served_count = slice->left_count = 0;
  slice->at = at;
  while (slice->records < slice->records_max && next(&scope, &field) > 0) {
    if (field.number != 2 || field.kind != DELIMITED) continue;
    int64_t size = field.bytes.end - field.bytes.at, here = slice->records;
    if (here && out.end - out.at < ROOM_A_BYTE * size + ROOM_A_ROW + shared->scope->component_size) break;
    uint8_t *start = out.at;
    out.bad = size > shared->scope->record_bytes_max;
    if (!out.bad) (shared->scope->spans ? span_row : log_row)(field.bytes, shared, &out, &counted);
    if (out.bad) {
      int64_t *left = slice->left + 3 * slice->left_count++;
      left[0] = here, left[1] = field.bytes.at - data, left[2] = field.bytes.end - data;
      out.at = start;
    } else
      count_cell(slice, &counted, data), count_served(slice, &counted);
    slice->ends[slice->records++] = (uint32_t)(out.at - slice->buffer);
    slice->at = scope.at - data;
  }
}
