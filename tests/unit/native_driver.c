/* Runs rows.c over a file of cases, under the sanitizers: each is a count of records (4 bytes, little endian), their
 * lengths (4 bytes each) and the records. Each is decoded into buffers of just the size given, so that any access beyond
 * is seen; an argument says whether they are spans. */
#include "../../otel_ingest/native/rows.c"

static uint32_t number(FILE *file) {
  uint8_t four[4];
  return fread(four, 1, 4, file) == 4 ? (uint32_t)little(four, 4) : UINT32_MAX;
}

int main(int count_of_arguments, char **arguments) {
  FILE *file = count_of_arguments == 3 ? fopen(arguments[1], "rb") : NULL;
  if (!file) return 2;
  uint32_t count;
  long done = 0;
  while ((count = number(file)) != UINT32_MAX) {
    uint32_t *lengths = malloc(count * sizeof *lengths + 1);
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) size += lengths[i] = number(file);
    uint8_t *data = malloc(size + !size);
    if (fread(data, 1, size, file) != size) return 3;
    data = realloc(data, size + !size);
    Shared shared = {{1}, {2}, (const uint8_t *)"shop", 4, 0, UINT64_MAX, 1, 20000, 16};
    int64_t *ends = malloc(count * sizeof *ends + 1);
    Cell *cells = malloc(count * sizeof *cells + 1);
    for (int64_t room = 0; room < 8 * (int64_t)size + 1024; room = 2 * room + 37) {
      uint8_t *buffer = malloc((size_t)room + 1);
      otel_ingest_rows(data, lengths, count, &shared, arguments[2][0] == '1', buffer, room, ends, cells);
      free(buffer);
    }
    free(lengths), free(data), free(ends), free(cells);
    done++;
  }
  printf("%ld\n", done);
  return fclose(file);
}
