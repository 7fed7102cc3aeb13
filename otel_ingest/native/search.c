/* The first look at a request's bytes: whether any of some patterns can match them. expressions.py says what a pattern is.
 *
 * A pattern is positions, as Glushkov has them: each takes some classes of bytes and is followed by others. Position 0 is
 * before the first and behind the last. States are sets of positions, one table for all. In a searching state a match
 * may begin at every byte, and only its first bytes are followed: so there are few thousand of them. Where a match is
 * past those, a confirming state follows it alone, beginning with the byte where the searching one stands. A name's
 * match may ask for the text that stands behind it as an AnyValue, which other patterns must match.
 */
#include "wire.h"

enum { DEAD, FOUND, START, CLASSES = 128, HASHED = 1 << 16, IDS = 1 << 15, REACHED = 1 << 15 };
enum { CONFIRMED_MIN = 4096 }; /* bytes, beside twice as many as are searched */
enum { ASKS = 2 };

/* Patterns, and room to make states in. */
typedef struct {
  const uint64_t (*takes)[CLASSES / 64]; /* of each position, a bit a class */
  const int32_t *first;                  /* where its followers begin in `follow`; one more than positions */
  const uint16_t *follow;                /* each position's sorted; 0 first, where a match may end there */
  const uint8_t *late;                   /* of each position: 1 where a searching state leaves it to a confirming one,
                                            ASKS where a match ends that asks for a text */
  int32_t positions, classes;
  uint16_t *next;    /* of each state, for each class; REACHED is added where something is to be confirmed */
  uint16_t *confirm; /* of each searching state: with which it is confirmed, 0 for nothing */
  int32_t states;    /* how many there is room for, at most IDS */
  uint16_t *sets;    /* the positions of all states */
  int32_t sets_size;
  int32_t *begins;  /* of each state, where its positions begin in `sets`; one more than states */
  uint8_t *seeking; /* of each state: 1 where it is a searching one, ASKS where a match ends that asks for a text */
  uint16_t *hashed; /* HASHED */
  uint16_t *merged; /* as many as positions */
  int32_t used;     /* states there are, beginning with those that are named */
} Patterns;

static inline int takes(const Patterns *p, int position, int class) {
  return p->takes[position][class / 64] >> class % 64 & 1;
}

static inline int ends(const Patterns *p, int position) {
  return p->first[position] < p->first[position + 1] && p->follow[p->first[position]] == 0;
}

/* The state of the positions that stand at the end of `sets`, an old one where there is such; -1: no room. */
static int state(Patterns *p, int32_t size, int seeking) {
  const uint16_t *set = p->sets + p->begins[p->used];
  if (!size) return seeking ? START : DEAD;
  uint32_t hash = 2166136261u ^ (uint32_t)seeking;
  for (int32_t i = 0; i < size; i++) {
    if (ends(p, set[i]) && p->late[set[i]] != ASKS) return FOUND;
    hash = (hash ^ set[i]) * 16777619u;
  }
  uint32_t slot = (hash ^ hash >> 15) % HASHED;
  for (int id; (id = p->hashed[slot]); slot = (slot + 1) % HASHED)
    if (p->seeking[id] == seeking && p->begins[id + 1] - p->begins[id] == size &&
        !memcmp(p->sets + p->begins[id], set, (size_t)size * sizeof *set))
      return id;
  if (p->used + 1 >= p->states) return -1;
  p->seeking[p->used] = (uint8_t)seeking;
  p->begins[p->used + 1] = p->begins[p->used] + size;
  return p->hashed[slot] = (uint16_t)p->used++;
}

/* Put a position where it belongs in `merged`, which has `count`; returns how many it has then. */
static int32_t merge(Patterns *p, int32_t count, uint16_t position) {
  int32_t at = count;
  while (at && p->merged[at - 1] > position) at--;
  if (at && p->merged[at - 1] == position) return count;
  memmove(p->merged + at + 1, p->merged + at, (size_t)(count - at) * sizeof position);
  p->merged[at] = position;
  return count + 1;
}

/* The positions that may follow those of a state, sorted, in `merged`; returns how many. */
static int32_t followers(Patterns *p, int id) {
  int32_t count = 0;
  for (int32_t i = p->begins[id]; i < p->begins[id + 1]; i++) {
    int position = p->sets[i];
    if (p->seeking[id] && p->late[position]) continue;
    for (int32_t j = p->first[position]; j < p->first[position + 1]; j++) count = merge(p, count, p->follow[j]);
  }
  return count;
}

/* Where a byte of a class leads; `count` of `merged` follow, and in a searching state what a match may begin with. */
static int step(Patterns *p, int id, int class, int32_t count) {
  int32_t at = p->begins[p->used], size = 0, i = 0, begun = 0, begun_end = 0;
  int fresh = !p->seeking[id] ? DEAD : id == START ? START : p->next[START * CLASSES + class];
  while (i < count && !takes(p, p->merged[i], class)) i++;
  if (i == count || fresh == FOUND) return fresh;
  if (p->sets_size - at < p->positions) return -1;
  if (fresh > START) begun = p->begins[fresh], begun_end = p->begins[fresh + 1];
  while (i < count || begun < begun_end) {
    if (i < count && !takes(p, p->merged[i], class)) {
      i++;
    } else if (begun == begun_end || (i < count && p->merged[i] < p->sets[begun])) {
      p->sets[at + size++] = p->merged[i++];
    } else {
      i += i < count && p->merged[i] == p->sets[begun];
      p->sets[at + size++] = p->sets[begun++];
    }
  }
  return state(p, size, p->seeking[id]);
}

/* With which state a searching one is confirmed: its late positions alone. */
static int confirming(Patterns *p, int id) {
  int32_t at = p->begins[p->used], size = 0;
  if (!p->seeking[id]) return DEAD;
  if (p->sets_size - at < p->positions) return -1;
  for (int32_t i = p->begins[id]; i < p->begins[id + 1]; i++)
    if (p->late[p->sets[i]]) p->sets[at + size++] = p->sets[i];
  return state(p, size, 0);
}

/* Make the states of some patterns, all that can be reached; returns how many, -1 where there is no room for them. */
EXPORTED int32_t otel_ingest_states(Patterns *p) {
  if (p->states < START + 1 || p->states > IDS || p->classes > CLASSES) return -1;
  /* The first two hold no position, START the one before the first. */
  p->begins[DEAD] = p->begins[FOUND] = p->begins[START] = 0, p->begins[START + 1] = 1, p->sets[0] = 0;
  p->seeking[DEAD] = p->seeking[FOUND] = 0, p->seeking[START] = 1;
  p->confirm[FOUND] = FOUND, p->used = START + 1;
  for (int id = START; id < p->used; id++) {
    int found = confirming(p, id);
    if (found < 0) return -1;
    p->confirm[id] = (uint16_t)found;
    int32_t count = followers(p, id);
    for (int class = 0; class < p->classes; class++) {
      int to = step(p, id, class, count);
      if (to < 0) return -1;
      p->next[id * CLASSES + class] = (uint16_t)to;
    }
  }
  for (int id = START; id < p->used; id++)
    for (int32_t i = p->begins[id]; !p->seeking[id] && i < p->begins[id + 1]; i++)
      if (p->late[p->sets[i]] == ASKS) p->seeking[id] = ASKS;
  for (int id = START; id < p->used; id++) {
    for (uint16_t *to = p->next + id * CLASSES; to < p->next + (id + 1) * CLASSES; to++)
      if (p->seeking[id] == 1 ? p->confirm[*to] : p->seeking[*to] == ASKS) *to |= REACHED;
  }
  for (int id = START; id < p->used; id++)
    if (p->seeking[p->confirm[id]] == ASKS) p->confirm[id] |= REACHED;
  return p->used;
}

/* What was made of patterns: read by any number of threads at once. */
typedef struct Table {
  const uint8_t *classes; /* of each byte */
  const uint16_t *next, *confirm;
  const struct Table *texts; /* what must match a text that is asked for */
} Table;

/* Bytes that are looked at, and how many a confirming state may still take: what is looked at twice stays linear. */
typedef struct {
  const uint8_t *begin, *end;
  int64_t left;
} Rest;

static inline size_t moved(const Table *t, size_t state, uint8_t byte) {
  return t->next[state * CLASSES + t->classes[byte]];
}

EXPORTED int32_t otel_ingest_search(const Table *t, const uint8_t *data, int64_t size);

/* Whether a KeyValue is a key that ends before the tag before `value`, the value to `end`, and nothing else. */
static int is_pair(const Rest *rest, const uint8_t *value, const uint8_t *end) {
  for (int size = 1; size < 0x80; size++) {
    const uint8_t *key = value - 1 - size;
    if (key - rest->begin < 3) return 0;
    if (key[-1] != size || key[-2] != 0x0a) continue;
    uint64_t whole = (uint64_t)(end - (key - 2));
    uint8_t length[10];
    int used = 0;
    do length[used++] = (uint8_t)(whole & 0x7f) | (whole > 0x7f ? 0x80 : 0);
    while (whole >>= 7);
    return key - 2 - rest->begin >= used && !memcmp(key - 2 - used, length, (size_t)used);
  }
  return 0;
}

/* 0: `at` begins the length of the value of a KeyValue, which is empty, or a text in which nothing is found. */
static int asked(const Table *t, const uint8_t *at, Rest *rest) {
  Bytes value = {at, rest->end};
  uint64_t size;
  if (!varint(&value, &size) || size > (uint64_t)(value.end - value.at)) return 1;
  value.end = value.at + size;
  if (!is_pair(rest, at, value.end)) return 1;
  if (!size) return 0;
  if (*value.at++ != 0x0a || !varint(&value, &size) || size != (uint64_t)(value.end - value.at)) return 1;
  rest->left -= (int64_t)size;
  return rest->left < 0 || otel_ingest_search(t->texts, value.at, (int64_t)size);
}

/* 1 where a match that a searching state has begun is one, or takes too long to tell. */
static int confirmed(const Table *t, size_t searching, const uint8_t *at, Rest *rest) {
  for (size_t state = t->confirm[searching];; at++) {
    if (state & REACHED && asked(t, at, rest)) return 1;
    state &= REACHED - 1;
    if (state <= FOUND || at == rest->end) return state == FOUND;
    if (rest->left-- <= 0) return 1;
    state = moved(t, state, *at);
  }
}

/* The bytes from `at` to `until`, and on while a match that begins there may go on. */
static int looked_at(const Table *t, size_t state, const uint8_t *at, const uint8_t *until, Rest *rest) {
  while (at < until || (at < rest->end && state != START)) {
    state = moved(t, state, *at++);
    if (state & REACHED && confirmed(t, state &= REACHED - 1, at, rest)) return 1;
  }
  return 0;
}

/* Move the states of four parts on from byte `i` of each, till one has something to confirm; returns how far.
 *
 * A state is known only when the one before it is: of four at once, none waits for memory.
 */
static int64_t moved_on(const Table *t, const uint8_t *data, int64_t part, int64_t i, size_t in[4]) {
  const uint8_t *classes = t->classes, *a = data, *b = a + part, *c = b + part, *d = c + part;
  const uint16_t *next = t->next;
  size_t in_a = in[0], in_b = in[1], in_c = in[2], in_d = in[3], reached = 0;
  while (i < part && !reached) {
    in_a = next[in_a * CLASSES + classes[a[i]]];
    in_b = next[in_b * CLASSES + classes[b[i]]];
    in_c = next[in_c * CLASSES + classes[c[i]]];
    in_d = next[in_d * CLASSES + classes[d[i]]];
    reached = (in_a | in_b | in_c | in_d) & REACHED;
    i++;
  }
  in[0] = in_a, in[1] = in_b, in[2] = in_c, in[3] = in_d;
  return i;
}

/* 0: none of the patterns matches anywhere in `data`; 1: one may. */
EXPORTED int32_t otel_ingest_search(const Table *t, const uint8_t *data, int64_t size) {
  int64_t part = size / 4;
  size_t in[4] = {START, START, START, START};
  Rest rest = {data, data + size, 2 * size + CONFIRMED_MIN};
  for (int64_t i = 0; i < part;) {
    i = moved_on(t, data, part, i, in);
    for (int k = 0; k < 4; k++)
      if (in[k] & REACHED && confirmed(t, in[k] &= REACHED - 1, data + k * part + i, &rest)) return 1;
  }
  for (int k = 0; k < 4; k++) {
    const uint8_t *at = data + (k + 1) * part;
    if (looked_at(t, in[k], at, k == 3 ? rest.end : at, &rest)) return 1;
  }
  return 0;
}
