/* The fields of a COPY BINARY tuple: a length (4 bytes; -1: NULL) and the value, big endian; and of AnyValue, as jsonb. */
#ifndef OTEL_INGEST_TUPLE_H
#define OTEL_INGEST_TUPLE_H
#include "wire.h"

#define PAIRS_MAX 128 /* of one object; more go the plain way: looking for a key twice is quadratic */
#define JSONB_VERSION 1
#define NULL_FIELD 0xffffffffu

static inline void field32(Out *out, uint32_t value) { put32(out, 4), put32(out, value); }

static inline void field64(Out *out, uint64_t value) {
  put32(out, 8), put32(out, (uint32_t)(value >> 32)), put32(out, (uint32_t)value);
}

static inline void field_bytes(Out *out, const uint8_t *data, int64_t size) { put32(out, (uint32_t)size), put(out, data, size); }

/* Room for a length that is known later. */
static inline uint8_t *length(Out *out) {
  uint8_t *here = out->at;
  put32(out, 0);
  return here;
}

static inline void length_is(Out *out, uint8_t *here) {
  if (!out->bad) be32(here, (uint32_t)(out->at - here - 4));
}

static inline void field_text(Out *out, Bytes text) {
  if (is_text(text))
    field_bytes(out, text.at, text.end - text.at);
  else
    fail(out);
}

static inline void json_object(Out *out, const Bytes *pairs, int count, int depth);

/* A repeated field 1 of a message that has no other: ArrayValue and KeyValueList. */
static inline int elements(Out *out, Bytes message, Bytes *found, int most) {
  Field field;
  int count = 0, more;
  while ((more = next(&message, &field)) > 0) {
    if (field.number != 1 || field.kind != DELIMITED || count == most) return fail(out);
    found[count++] = field.bytes;
  }
  return more < 0 ? fail(out) : count;
}

/* An AnyValue; `depth`: how many arrays and lists may nest from here. */
static inline void json_value(Out *out, Bytes message, int depth) {
  Field field;
  Bytes parts[PAIRS_MAX];
  int count;
  if (message.at == message.end) return put(out, "null", 4);
  if (next(&message, &field) < 1 || message.at != message.end) return (void)fail(out);
  if (field.number == 1 && field.kind == DELIMITED)
    json_text(out, field.bytes);
  else if (field.number == 2 && field.kind == VARINT && field.value <= 1)
    put(out, field.value ? "true" : "false", field.value ? 4 : 5);
  else if (field.number == 3 && field.kind == VARINT)
    json_int(out, (int64_t)field.value);
  else if (field.number == 4 && field.kind == FIXED64) {
    double value;
    memcpy(&value, &field.value, 8);
    json_double(out, value);
  } else if (depth < 1)
    fail(out);
  else if (field.number == 5 && field.kind == DELIMITED) {
    count = elements(out, field.bytes, parts, PAIRS_MAX);
    put(out, "[", 1);
    for (int i = 0; i < count && !out->bad; i++) {
      if (i) put(out, ",", 1);
      json_value(out, parts[i], depth - 1);
    }
    put(out, "]", 1);
  } else if (field.number == 6 && field.kind == DELIMITED) {
    count = elements(out, field.bytes, parts, PAIRS_MAX);
    json_object(out, parts, count, depth - 1);
  } else
    fail(out);
}

/* Key and value of a KeyValue, each once, in this order. */
static inline int pair(Bytes message, Bytes *key, Bytes *value) {
  Field field;
  if (next(&message, &field) < 1 || field.number != 1 || field.kind != DELIMITED) return 0;
  *key = field.bytes;
  if (next(&message, &field) < 1 || field.number != 2 || field.kind != DELIMITED) return 0;
  *value = field.bytes;
  return message.at == message.end;
}

/* Less than 0, 0, more than 0: as jsonb orders keys, the shorter first (PostgreSQL, jsonb_util.c). */
static inline int key_order(Bytes one, Bytes other) {
  int64_t size = one.end - one.at, least = other.end - other.at;
  return size == least ? memcmp(one.at, other.at, (size_t)size) : size < least ? -1 : 1;
}

typedef struct {
  Bytes key, value;
} Member;

/* An object of KeyValues; a key that stands twice goes the plain way. PostgreSQL, which sorts the keys of jsonb, is fastest
 * where they are sorted. */
static inline void json_object(Out *out, const Bytes *pairs, int count, int depth) {
  Member members[PAIRS_MAX], next;
  uint8_t sorted[PAIRS_MAX];
  for (int i = 0, j; i < count; i++) {
    int order = 1;
    if (!pair(pairs[i], &next.key, &next.value)) return (void)fail(out);
    for (j = i; j > 0 && (order = key_order(next.key, members[sorted[j - 1]].key)) < 0; j--) sorted[j] = sorted[j - 1];
    if (!order) return (void)fail(out);
    members[i] = next, sorted[j] = (uint8_t)i;
  }
  put(out, "{", 1);
  for (int i = 0; i < count && !out->bad; i++) {
    const Member *member = &members[out->as_sent ? i : sorted[i]];
    if (i) put(out, ",", 1);
    json_text(out, member->key);
    put(out, ":", 1);
    json_value(out, member->value, depth);
  }
  put(out, "}", 1);
}

static inline void field_attributes(Out *out, const Bytes *pairs, int count, int depth) {
  uint8_t *here = length(out), version = JSONB_VERSION;
  put(out, &version, 1);
  json_object(out, pairs, count, depth);
  length_is(out, here);
}

/* A nullable id: its bytes are the column's, big endian. */
static inline void field_id(Out *out, Bytes found) {
  if (found.at == found.end)
    put32(out, NULL_FIELD);
  else
    field_bytes(out, found.at, found.end - found.at);
}
#endif
