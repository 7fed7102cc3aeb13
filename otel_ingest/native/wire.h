/* The fields of a protobuf message, one after the other: https://protobuf.dev/programming-guides/encoding/ */
#ifndef OTEL_INGEST_WIRE_H
#define OTEL_INGEST_WIRE_H
#include "out.h"

enum { VARINT, FIXED64, DELIMITED, FIXED32 = 5 };

typedef struct {
  uint32_t number;
  int kind;
  uint64_t value; /* of a varint or a fixed field */
  Bytes bytes;    /* of a delimited one */
} Field;

static inline int varint(Bytes *from, uint64_t *value) {
  uint64_t found = 0;
  for (int shift = 0; from->at < from->end && shift < 64; shift += 7) {
    uint8_t byte = *from->at++;
    if (shift == 63 && byte > 1) return 0;
    found |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) return *value = found, 1;
  }
  return 0;
}

static inline uint64_t little(const uint8_t *at, int size) {
  uint64_t value = 0;
  while (size--) value = value << 8 | at[size];
  return value;
}

/* The next field of a message: 1, at its end 0, else -1. */
static inline int next(Bytes *message, Field *field) {
  uint64_t key, size;
  if (message->at == message->end) return 0;
  if (!varint(message, &key) || key >> 3 == 0 || key >> 32) return -1;
  field->number = (uint32_t)(key >> 3), field->kind = (int)(key & 7);
  switch (field->kind) {
    case VARINT:
      return varint(message, &field->value) ? 1 : -1;
    case DELIMITED:
      if (!varint(message, &size) || size > (uint64_t)(message->end - message->at)) return -1;
      field->bytes = (Bytes){message->at, message->at + size};
      message->at += size;
      return 1;
    case FIXED64:
    case FIXED32: {
      int bytes = field->kind == FIXED64 ? 8 : 4;
      if (message->end - message->at < bytes) return -1;
      field->value = little(message->at, bytes);
      message->at += bytes;
      return 1;
    }
    default:
      return -1;
  }
}

/* What a field must be, else the record goes the plain way. */

/* A varint that fits an int32 or uint32 column as it is; others go the plain way. */
static inline uint32_t small(Out *out, const Field *field) {
  if (field->kind != VARINT || field->value > INT32_MAX) fail(out);
  return (uint32_t)field->value;
}

static inline uint64_t fixed(Out *out, const Field *field, int kind) {
  if (field->kind != kind) fail(out);
  return field->value;
}

static inline Bytes delimited(Out *out, const Field *field) {
  if (field->kind == DELIMITED) return field->bytes;
  fail(out);
  return (Bytes){NULL, NULL};
}

/* A message that may stand once: twice they would merge. */
static inline Bytes once(Out *out, const Field *field, Bytes before) {
  if (before.at) fail(out);
  return delimited(out, field);
}

/* An id of `size` bytes, or none. */
static inline Bytes id(Out *out, const Field *field, int64_t size) {
  Bytes found = delimited(out, field);
  if (found.at != found.end && found.end - found.at != size) fail(out);
  return found;
}
#endif
