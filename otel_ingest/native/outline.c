/* PURE: a request of log records or spans -> where its resources, scopes and records are, for one that holds nothing
 * unusual: no field that opentelemetry-proto 1.11 does not name, none twice that may stand once, text that is text.
 *
 * What is within a resource, a scope and a record is not looked at. Reads between two pointers, allocates nothing.
 */
#include "wire.h"

/* Where in the body something is; `size` -1: it is not there. */
typedef struct {
  int64_t at, size;
} Span;

/* One scope's envelope. Mirrored in __init__.py. `records` -1: a resource's envelope that holds none. */
typedef struct {
  Span resource, resource_url, scope, scope_url;
  int64_t at, end;        /* the message of the scope's envelope */
  int64_t records, first; /* `first` of its resource's */
} Part;

static Span span_of(Bytes bytes, const uint8_t *body) {
  return bytes.at ? (Span){bytes.at - body, bytes.end - bytes.at} : (Span){0, -1};
}

/* An envelope of resource or scope: its payload (1), its URL (3), and how many are in it (2); -1: something unusual. */
static int64_t envelope(Bytes message, Bytes *payload, Bytes *url) {
  Out out = {0};
  int64_t count = 0;
  int more;
  Field field;
  *payload = *url = (Bytes){NULL, NULL};
  while (!out.bad && (more = next(&message, &field)) > 0) switch (field.number) {
      case 1: *payload = once(&out, &field, *payload); break;
      case 2: delimited(&out, &field), count++; break;
      case 3: *url = once(&out, &field, *url); break;
      default: fail(&out);
    }
  return out.bad || more < 0 || (url->at && !is_text(*url)) ? -1 : count;
}

/* Write the scopes of one ResourceLogs or ResourceSpans; return how many parts there are then, -1: something unusual. */
static int64_t group(const uint8_t *body, Bytes message, Part *parts, int64_t used, int64_t most) {
  Bytes resource, resource_url, scope, scope_url, rest = message;
  int64_t first = 1, scopes = envelope(message, &resource, &resource_url);
  Field field;
  if (scopes < 0 || used + (scopes ? scopes : 1) > most) return -1;
  Part part = {span_of(resource, body), span_of(resource_url, body), {0, -1}, {0, -1}, 0, 0, -1, 1};
  if (!scopes) parts[used++] = part;
  while (next(&rest, &field) > 0) {
    if (field.number != 2) continue;
    part.records = envelope(field.bytes, &scope, &scope_url);
    if (part.records < 0) return -1;
    part.scope = span_of(scope, body), part.scope_url = span_of(scope_url, body);
    part.at = field.bytes.at - body, part.end = field.bytes.end - body;
    part.first = first, first = 0;
    parts[used++] = part;
  }
  return used;
}

/* Write the scopes of a request, in order, to `parts`, which has `most` places; return how many there are, -1: something
 * unusual, or too many. */
EXPORTED int64_t otel_ingest_outline(const uint8_t *body, int64_t size, Part *parts, int64_t most) {
  Bytes request = {body, body + size};
  int64_t used = 0;
  int more;
  Field field;
  while ((more = next(&request, &field)) > 0) {
    if (field.number != 1 || field.kind != DELIMITED) return -1;
    if ((used = group(body, field.bytes, parts, used, most)) < 0) return -1;
  }
  return more < 0 ? -1 : used;
}
