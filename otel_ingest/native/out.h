/* Where is written: bytes between two pointers, and the text of JSON. No memory is taken, none is written beyond. */
#ifndef OTEL_INGEST_OUT_H
#define OTEL_INGEST_OUT_H
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))
#define NUMBER_MAX 32 /* characters of a number */

typedef struct {
  const uint8_t *at, *end;
} Bytes;

/* Where what is at hand is written; `bad` once there is no room, or something unusual was met. `as_sent`: the keys of
 * objects stand as they were sent, not as jsonb orders them. */
typedef struct {
  uint8_t *at, *end;
  int bad, as_sent;
} Out;

static inline int fail(Out *out) {
  out->bad = 1;
  return 0;
}

static inline int room(Out *out, int64_t size) { return !out->bad && out->end - out->at >= size ? 1 : fail(out); }

static inline void put(Out *out, const void *data, int64_t size) {
  if (size && room(out, size)) {
    memcpy(out->at, data, (size_t)size);
    out->at += size;
  }
}

static inline void be32(uint8_t *at, uint32_t value) {
  at[0] = (uint8_t)(value >> 24), at[1] = (uint8_t)(value >> 16), at[2] = (uint8_t)(value >> 8), at[3] = (uint8_t)value;
}

static inline void put32(Out *out, uint32_t value) {
  if (room(out, 4)) be32(out->at, value), out->at += 4;
}

/* ---- text ---- */

/* How many bytes at `at` are one valid character beyond ASCII; 0: none (Unicode 16, table 3-7). */
static inline int character(const uint8_t *at, const uint8_t *end) {
  uint8_t first = at[0], low = 0x80, high = 0xbf;
  int size = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (!size || end - at < size) return 0;
  if (first == 0xe0) low = 0xa0;
  if (first == 0xed) high = 0x9f;
  if (first == 0xf0) low = 0x90;
  if (first == 0xf4) high = 0x8f;
  if (at[1] < low || at[1] > high) return 0;
  for (int i = 2; i < size; i++)
    if ((at[i] & 0xc0) != 0x80) return 0;
  return size;
}

#define ONES 0x0101010101010101ULL
#define HIGH 0x8080808080808080ULL

/* Whether any of 8 bytes is beyond ASCII or 0. */
static inline int odd8(uint64_t v) { return (v & HIGH) != 0 || ((v - ONES) & ~v & HIGH) != 0; }

/* Whether text is UTF-8 without NUL, which PostgreSQL's text holds. */
static inline int is_text(Bytes text) {
  const uint8_t *at = text.at;
  while (at < text.end) {
    uint64_t eight;
    while (text.end - at >= 8 && (memcpy(&eight, at, 8), !odd8(eight))) at += 8;
    if (at == text.end) break;
    if (*at < 0x80) {
      if (!*at++) return 0;
      continue;
    }
    int size = character(at, text.end);
    if (!size) return 0;
    at += size;
  }
  return 1;
}

/* ---- JSON ---- */

/* What JSON writes instead of a character of ASCII: 0 itself, 1 six characters, else the letter behind a backslash. */
static inline uint8_t escape_of(uint8_t c) {
  if (c >= 0x20) return c == '"' || c == '\\' ? c : 0;
  return c == '\n' ? 'n' : c == '\t' ? 't' : c == '\r' ? 'r' : c == '\b' ? 'b' : c == '\f' ? 'f' : 1;
}

/* Whether any of 8 bytes is beyond ASCII, below a space, a quote or a backslash. */
static inline int special8(uint64_t v) {
  uint64_t quote = v ^ (ONES * '"'), slash = v ^ (ONES * '\\');
  return ((v | ((v - ONES * 0x20) & ~v) | ((quote - ONES) & ~quote) | ((slash - ONES) & ~slash)) & HIGH) != 0;
}

/* A JSON string of UTF-8 without NUL. */
static inline void json_text(Out *out, Bytes text) {
  static const char hex[] = "0123456789abcdef";
  const uint8_t *at = text.at;
  put(out, "\"", 1);
  while (at < text.end && room(out, 8)) {
    uint64_t eight;
    if (text.end - at >= 8 && (memcpy(&eight, at, 8), !special8(eight))) {
      memcpy(out->at, &eight, 8);
      at += 8, out->at += 8;
      continue;
    }
    uint8_t c = *at;
    if (c >= 0x80) {
      int size = character(at, text.end);
      if (!size) return (void)fail(out);
      put(out, at, size);
      at += size;
      continue;
    }
    uint8_t escape = escape_of(c);
    if (!c) return (void)fail(out);
    if (!escape)
      *out->at++ = c;
    else if (escape > 1)
      *out->at++ = '\\', *out->at++ = escape;
    else {
      uint8_t six[] = {'\\', 'u', '0', '0', (uint8_t)hex[c >> 4], (uint8_t)hex[c & 15]};
      put(out, six, 6);
    }
    at++;
  }
  put(out, "\"", 1);
}

static inline void json_unsigned(Out *out, uint64_t value) {
  uint8_t digits[NUMBER_MAX], *at = digits + NUMBER_MAX;
  do *--at = (uint8_t)('0' + value % 10);
  while (value /= 10);
  put(out, at, digits + NUMBER_MAX - at);
}

static inline void json_int(Out *out, int64_t value) {
  if (value < 0) put(out, "-", 1);
  json_unsigned(out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

#ifdef __SIZEOF_INT128__
__extension__ typedef unsigned __int128 Wide;

/* digits / 10^places; digits are 17 at most. */
static inline void json_decimal(Out *out, uint64_t digits, int places) {
  uint8_t text[NUMBER_MAX], *at = text + NUMBER_MAX;
  for (int n = 0; digits || n <= places; n++, digits /= 10) {
    if (n == places) *--at = '.';
    *--at = (uint8_t)('0' + digits % 10);
  }
  put(out, at, text + NUMBER_MAX - at);
}

/* The shortest decimal that reads back as a double of 1e-4 to 2^53 that is no integer: fraction / 2^shift.
 *
 * One with so many places is the nearest there is, rounded(fraction * 10^places / 2^shift). It reads back when it is no
 * further from the double than half the way to the next one, a unit of `fraction` (a quarter of one below a power of 2);
 * half the way itself belongs to the even fraction (IEEE 754). All of it is exact: 53 bits times 10^21 are 123. */
static inline void json_shortest(Out *out, double value) {
  uint64_t bits;
  memcpy(&bits, &value, 8);
  if (bits >> 63) put(out, "-", 1);
  uint64_t fraction = (bits & ((1ULL << 52) - 1)) | 1ULL << 52;
  int shift = 1075 - (int)(bits >> 52 & 0x7ff);
  Wide scaled = fraction, power = 1;
  for (int places = 1; places <= 21; places++) {
    scaled *= 10, power *= 10;
    uint64_t digits = (uint64_t)((scaled + ((Wide)1 << (shift - 1))) >> shift);
    Wide back = (Wide)digits << shift, off = back > scaled ? 2 * (back - scaled) : 2 * (scaled - back);
    if (fraction == 1ULL << 52 && back < scaled) off *= 2;
    if (off < power || (off == power && !(fraction & 1))) return json_decimal(out, digits, places);
  }
  fail(out);
}
#endif

/* A number as printf writes it, its exponent as the plain way has it: 1e-07 is 1e-7, and 1.5e-05 is 0.000015. */
static inline void json_printed(Out *out, const char *text, int64_t size) {
  const char *e = memchr(text, 'e', (size_t)size);
  if (!e) return put(out, text, size);
  if (e[1] != '-') return (void)fail(out);
  int exponent = atoi(e + 2);
  if (exponent != 5) {
    put(out, text, e + 2 - text);
    return json_unsigned(out, (uint64_t)exponent);
  }
  if (*text == '-') put(out, text++, 1);
  put(out, "0.0000", 6);
  for (; text < e; text++)
    if (*text != '.') put(out, text, 1);
}

/* A double with a decimal point or a negative exponent, with as few digits as read back the same; what jsonb does not
 * keep, and what is too small to have its digits, goes the plain way. */
static inline void json_double(Out *out, double value) {
  double size = fabs(value);
  if (!(size < 1e16) || (size < DBL_MIN && (value != 0 || signbit(value)))) return (void)fail(out);
  if (value == nearbyint(value)) {
    json_int(out, (int64_t)value);
    return put(out, ".0", 2);
  }
#ifdef __SIZEOF_INT128__
  if (size >= 1e-4) return json_shortest(out, value);
#endif
  char text[NUMBER_MAX];
  for (int digits = size < 1e-4 ? 15 : 16; digits <= 17; digits++) {
    int written = snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) != value) continue;
    return strchr(text, ',') ? (void)fail(out) : json_printed(out, text, written);
  }
  fail(out);
}
#endif
