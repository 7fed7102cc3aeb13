/* PURE: a request as OTLP/JSON -> the same request as protobuf, for documents that are as every SDK writes them.
 *
 * The same as otel_ingest/wire/json_mapping.py; a property test holds them together. What that would refuse, name an error
 * of, or read in a way of its own (a number as text of another form, a field twice, base64), is left to it: the answer
 * is -1. Driven by tables made from the messages' descriptors (json_wire.py). Reads between two pointers and writes
 * between two pointers, allocates nothing, keeps nothing.
 *
 * OTLP specification, "JSON Protobuf Encoding"; RFC 8259; https://protobuf.dev/programming-guides/encoding/
 */
#include "out.h"

#define DEPTH_MAX 64 /* objects and arrays within each other */

/* What a field takes: the order of json_wire.py. */
enum { STRING, BOOL, ENUM, UINT32, INT64, UINT64, FIXED32, FIXED64, SFIXED64, DOUBLE, MESSAGE, HEX, OTHER };

typedef struct {
  const uint8_t *name;
  int32_t size, number, type, repeated;
  int32_t message; /* the index of the field's own */
  int32_t oneof;   /* of fields of one, beginning with 1, one may be given; 0: of none */
} Entry;

typedef struct {
  int32_t first, count; /* its fields in the table, 64 at most */
  int32_t is_value;     /* AnyValue, which may hold itself */
} Message;

typedef struct {
  const uint8_t *at, *end;
  Out out;
  const Entry *entries;
  const Message *messages;
  int depth, values; /* objects and arrays, and AnyValues, that may still nest */
} Reader;

static void message(Reader *r, int index);

/* ---- JSON ---- */

static void bad(Reader *r) { r->out.bad = 1, r->at = r->end; }

static uint8_t behind_space(Reader *r) {
  while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r')) r->at++;
  return r->at < r->end ? *r->at : 0;
}

static inline uint8_t peek(Reader *r) {
  const uint8_t *at = r->at;
  if (r->end - at < 2) return behind_space(r);
  if (*at > ' ') return *at;
  return *at == ' ' && at[1] > ' ' ? *++r->at : behind_space(r);
}

static inline void expect(Reader *r, uint8_t c) {
  if (peek(r) == c)
    r->at++;
  else
    bad(r);
}

static int literal(Reader *r, const char *word) {
  int64_t size = (int64_t)strlen(word);
  if (r->end - r->at < size || memcmp(r->at, word, (size_t)size)) return 0;
  return r->at += size, 1;
}

/* How many of 8 bytes stand before the first that is beyond ASCII, below a space, a quote or a backslash. */
static inline int plain8(uint64_t v) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  uint64_t quote = v ^ (ONES * '"'), slash = v ^ (ONES * '\\');
  uint64_t special =
      (v | ((v - ONES * 0x20) & ~v) | ((quote - ONES) & ~quote) | ((slash - ONES) & ~slash)) & HIGH;
  /* A borrow may mark bytes behind the first one, never before it. */
  return special ? __builtin_ctzll(special) / 8 : 8;
#else
  return special8(v) ? 0 : 8;
#endif
}

/* A string without escapes, as it stands; an escape, or what is no text, is bad. */
static Bytes plain_string(Reader *r) {
  expect(r, '"');
  const uint8_t *start = r->at;
  uint64_t eight;
  for (int size = 8; size == 8 && r->end - r->at >= 8; r->at += size) {
    memcpy(&eight, r->at, 8);
    size = plain8(eight);
  }
  while (r->at < r->end && *r->at != '"') {
    if (*r->at < 0x20 || *r->at >= 0x80 || *r->at == '\\') {
      bad(r);
      return (Bytes){0};
    }
    r->at++;
  }
  Bytes found = {start, r->at};
  expect(r, '"');
  return found;
}

/* What a hexadecimal digit stands for; -1: none. */
static inline int hex_digit(uint8_t c) {
  static const int8_t above[256] = {
      ['0'] = 1, ['1'] = 2, ['2'] = 3, ['3'] = 4, ['4'] = 5, ['5'] = 6, ['6'] = 7, ['7'] = 8, ['8'] = 9, ['9'] = 10,
      ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
      ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
  };
  return above[c] - 1; /* a table: which digit it is, no branch foresees */
}

/* Four hexadecimal digits, or -1. */
static int32_t four(Reader *r) {
  int32_t value = 0;
  if (r->end - r->at < 4) return -1;
  for (int i = 0; i < 4; i++) {
    int digit = hex_digit(*r->at++);
    if (digit < 0) return -1;
    value = value << 4 | digit;
  }
  return value;
}

/* \uXXXX, and its second half where it is one of a pair, as UTF-8. */
static void escaped(Reader *r) {
  int32_t c = four(r);
  if (c >= 0xd800 && c < 0xdc00 && literal(r, "\\u")) {
    int32_t low = four(r);
    c = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00)) : -1;
  }
  if (c < 0 || (c >= 0xd800 && c < 0xe000)) return bad(r);
  uint8_t utf8[4];
  int size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (int i = size - 1; i > 0; i--, c >>= 6) utf8[i] = (uint8_t)(0x80 | (c & 0x3f));
  utf8[0] = (uint8_t)(size == 1 ? c : (0xf00 >> size & 0xff) | c);
  put(&r->out, utf8, size);
}

static void escape(Reader *r) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  uint8_t c = r->at < r->end ? *r->at++ : 0;
  const char *found = c ? strchr(from, c) : NULL;
  if (found)
    put(&r->out, &to[found - from], 1);
  else if (c == 'u')
    escaped(r);
  else
    bad(r);
}

/* A string, written as text. */
static void string(Reader *r) {
  expect(r, '"');
  while (r->at < r->end && *r->at != '"' && room(&r->out, 8)) {
    uint64_t eight;
    int size = 0;
    if (r->end - r->at >= 8) {
      memcpy(&eight, r->at, 8), memcpy(r->out.at, &eight, 8);
      size = plain8(eight);
      r->at += size, r->out.at += size;
    }
    if (size) continue;
    if (*r->at >= 0x80) {
      size = character(r->at, r->end);
      if (!size) return bad(r);
      put(&r->out, r->at, size);
      r->at += size;
    } else if (*r->at == '\\')
      r->at++, escape(r);
    else if (*r->at < 0x20)
      return bad(r);
    else
      *r->out.at++ = *r->at++;
  }
  expect(r, '"');
}

/* Where a number ends; `whole`: it is an integer. */
static Bytes number(Reader *r, int *whole) {
  const uint8_t *start = r->at, *digits;
  *whole = 1;
  if (r->at < r->end && *r->at == '-') r->at++;
  digits = r->at;
  while (r->at < r->end && *r->at >= '0' && *r->at <= '9') r->at++;
  if (r->at == digits || (*digits == '0' && r->at - digits > 1)) bad(r);
  if (r->at < r->end && *r->at == '.') {
    *whole = 0, digits = ++r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') r->at++;
    if (r->at == digits) bad(r);
  }
  if (r->at < r->end && (*r->at | 0x20) == 'e') {
    *whole = 0, r->at++;
    if (r->at < r->end && (*r->at == '-' || *r->at == '+')) r->at++;
    digits = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') r->at++;
    if (r->at == digits) bad(r);
  }
  return (Bytes){start, r->at};
}

/* Any value, passed over: a field that has no name here. */
static void skip(Reader *r) {
  int whole;
  uint8_t c = peek(r), *before = r->out.at;
  if (--r->depth < 0) return bad(r);
  if (c == '"') {
    string(r);
    r->out.at = before;
  } else if (c == '{' || c == '[') {
    uint8_t end = c == '{' ? '}' : ']';
    r->at++;
    if (peek(r) != end) do {
        if (end == '}') {
          if (peek(r) != '"') return bad(r);
          string(r);
          r->out.at = before;
          expect(r, ':');
        }
        skip(r);
      } while (peek(r) == ',' && r->at++ && !r->out.bad);
    expect(r, end);
  } else if (c == '-' || (c >= '0' && c <= '9'))
    number(r, &whole);
  else if (!literal(r, "null") && !literal(r, "true") && !literal(r, "false"))
    bad(r);
  r->depth++;
}

/* ---- protobuf ---- */

static inline void put_varint(Out *out, uint64_t value) {
  if (value < 0x80 && room(out, 1)) {
    *out->at++ = (uint8_t)value;
    return;
  }
  uint8_t bytes[10];
  int size = 0;
  do bytes[size++] = (uint8_t)(value & 0x7f) | (value > 0x7f ? 0x80 : 0);
  while (value >>= 7);
  put(out, bytes, size);
}

static void put_little(Out *out, uint64_t value, int size) {
  uint8_t bytes[8];
  for (int i = 0; i < size; i++, value >>= 8) bytes[i] = (uint8_t)value;
  put(out, bytes, size);
}

/* Room for the length of what follows: one byte, moved where it needs more. */
static uint8_t *delimited(Out *out) {
  put(out, "", 1);
  return out->at;
}

static inline void delimited_is(Out *out, uint8_t *start) {
  int64_t size = out->at - start;
  if (size < 0x80 && !out->bad) {
    start[-1] = (uint8_t)size;
    return;
  }
  uint8_t bytes[10];
  Out length = {bytes, bytes + 10, 0};
  put_varint(&length, (uint64_t)size);
  int64_t more = length.at - bytes - 1;
  if (!room(out, more)) return;
  if (more) memmove(start + more, start, (size_t)size);
  memcpy(start - 1, bytes, (size_t)(more + 1));
  out->at += more;
}

/* ---- values ---- */

/* A whole number between bounds, as a number or (but for an enum) as decimal text. */
static uint64_t integer(Reader *r, int is_signed, uint64_t most, int as_text) {
  int whole, quoted = peek(r) == '"';
  if (quoted && !as_text) bad(r);
  if (quoted) r->at++;
  Bytes text = number(r, &whole);
  if (quoted) {
    if (r->at == r->end || *r->at != '"') bad(r);
    r->at++;
  }
  int negative = text.at < text.end && *text.at == '-';
  uint64_t value = 0;
  if (!whole || text.end - text.at - negative > 20 || (negative && !is_signed)) bad(r);
  for (const uint8_t *at = text.at + negative; at < text.end; at++) {
    uint64_t digit = (uint64_t)(*at - '0');
    if (value > (UINT64_MAX - digit) / 10) return bad(r), 0;
    value = value * 10 + digit;
  }
  if (value > most + (uint64_t)negative) bad(r);
  return negative ? 0 - value : value;
}

static double decimal(Reader *r) {
  char text[48];
  int whole;
  peek(r);
  Bytes found = number(r, &whole);
  int64_t size = found.end - found.at;
  if (r->out.bad || size >= (int64_t)sizeof text) return bad(r), 0;
  memcpy(text, found.at, (size_t)size);
  text[size] = 0;
  char *end;
  double value = strtod(text, &end);
  /* The plain way reads -0 as an integer. */
  if (end != text + size || !isfinite(value) || (whole && value == 0 && signbit(value))) bad(r);
  return value;
}

static void hex(Reader *r) {
  Bytes digits = plain_string(r);
  if ((digits.end - digits.at) % 2) return bad(r);
  uint8_t *start = delimited(&r->out);
  if (!room(&r->out, (digits.end - digits.at) / 2)) return;
  for (; digits.at < digits.end; digits.at += 2) {
    int high = hex_digit(digits.at[0]), low = hex_digit(digits.at[1]);
    if (high < 0 || low < 0) return bad(r);
    *r->out.at++ = (uint8_t)(high << 4 | low);
  }
  delimited_is(&r->out, start);
}

static void boolean(Reader *r) {
  peek(r);
  if (literal(r, "true"))
    put_varint(&r->out, 1);
  else if (literal(r, "false"))
    put_varint(&r->out, 0);
  else
    bad(r);
}

/* One value of a field, without its tag. */
static void value(Reader *r, const Entry *entry) {
  uint8_t *start;
  double number;
  uint64_t bits;
  switch (entry->type) {
    case STRING: start = delimited(&r->out), string(r), delimited_is(&r->out, start); break;
    case BOOL: boolean(r); break;
    case ENUM: put_varint(&r->out, integer(r, 1, INT32_MAX, 0)); break;
    case UINT32: put_varint(&r->out, integer(r, 0, UINT32_MAX, 1)); break;
    case INT64: put_varint(&r->out, integer(r, 1, INT64_MAX, 1)); break;
    case UINT64: put_varint(&r->out, integer(r, 0, UINT64_MAX, 1)); break;
    case FIXED32: put_little(&r->out, integer(r, 0, UINT32_MAX, 1), 4); break;
    case FIXED64: put_little(&r->out, integer(r, 0, UINT64_MAX, 1), 8); break;
    case SFIXED64: put_little(&r->out, integer(r, 1, INT64_MAX, 1), 8); break;
    case DOUBLE:
      number = decimal(r);
      memcpy(&bits, &number, 8);
      put_little(&r->out, bits, 8);
      break;
    case HEX: hex(r); break;
    case MESSAGE: start = delimited(&r->out), message(r, entry->message), delimited_is(&r->out, start); break;
    default: bad(r);
  }
}

static int wire_type(int type) {
  switch (type) {
    case STRING:
    case HEX:
    case MESSAGE: return 2;
    case FIXED32: return 5;
    case FIXED64:
    case SFIXED64:
    case DOUBLE: return 1;
    default: return 0;
  }
}

static void tag(Reader *r, const Entry *entry, int kind) {
  put_varint(&r->out, (uint64_t)entry->number << 3 | (uint64_t)kind);
}

/* An array: each with its tag, or, of numbers, all behind one. */
static void array(Reader *r, const Entry *entry) {
  int kind = wire_type(entry->type), packed = kind != 2;
  uint8_t *start = NULL;
  expect(r, '[');
  if (packed && peek(r) != ']') tag(r, entry, 2), start = delimited(&r->out);
  if (peek(r) != ']') do {
      if (!packed) tag(r, entry, kind);
      value(r, entry);
    } while (peek(r) == ',' && r->at++ && !r->out.bad);
  expect(r, ']');
  if (start) delimited_is(&r->out, start);
}

static inline int same(const uint8_t *a, const uint8_t *b, int64_t size) {
  uint64_t first[2], last[2];
  if (size < 8 || size > 16) return !memcmp(a, b, (size_t)size);
  memcpy(first, a, 8), memcpy(first + 1, b, 8), memcpy(last, a + size - 8, 8), memcpy(last + 1, b + size - 8, 8);
  return first[0] == first[1] && last[0] == last[1];
}

static const Entry *entry_of(Reader *r, const Message *of, Bytes name, int *guess) {
  int64_t size = name.end - name.at;
  for (int i = 0; i < of->count; i++, ++*guess) {
    if (*guess >= of->count) *guess = 0;
    const Entry *entry = &r->entries[of->first + *guess];
    if (entry->size == size && same(entry->name, name.at, size)) return entry;
  }
  return NULL;
}

/* One field of an object. `seen` and `oneofs`: what was given before, by place in the table and by number. */
static void member(Reader *r, const Message *of, int *guess, uint64_t *seen, uint64_t *oneofs) {
  peek(r);
  Bytes name = plain_string(r);
  expect(r, ':');
  const Entry *entry = r->out.bad ? NULL : entry_of(r, of, name, guess);
  if (!entry) return skip(r);
  int again = *seen >> *guess & 1;
  if (peek(r) == 'n' && literal(r, "null")) return again ? bad(r) : (void)0;
  if (again || (entry->oneof && *oneofs >> entry->oneof & 1)) return bad(r);
  *seen |= 1ULL << *guess, *oneofs |= 1ULL << entry->oneof;
  if (entry->repeated) return array(r, entry);
  tag(r, entry, wire_type(entry->type));
  value(r, entry);
}

/* An object: the fields of a message, without its length. */
static void message(Reader *r, int index) {
  const Message *of = &r->messages[index];
  uint64_t seen = 0, oneofs = 0;
  int guess = 0;
  if (--r->depth < 0 || (r->values -= of->is_value) < 0) return bad(r);
  expect(r, '{');
  if (peek(r) != '}') do
      member(r, of, &guess, &seen, &oneofs);
    while (peek(r) == ',' && r->at++ && !r->out.bad);
  expect(r, '}');
  r->depth++, r->values += of->is_value;
}

/* The request of `json` (message 0) as protobuf, in `buffer`: its size; -1 where the plain way must look at it. */
EXPORTED int64_t otel_ingest_json(const uint8_t *json, int64_t size, const Entry *entries, const Message *messages,
                                  int32_t values_max, uint8_t *buffer, int64_t buffer_size) {
  Reader r = {json, json + size, {buffer, buffer + buffer_size, 0}, entries, messages, DEPTH_MAX, values_max};
  message(&r, 0);
  if (!r.out.bad) peek(&r);
  return r.out.bad || r.at != r.end ? -1 : r.out.at - buffer;
}
