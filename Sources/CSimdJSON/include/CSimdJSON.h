// A look into a JSON event for a few of its fields, by simdjson: the whole text is checked, nothing is built.
#ifndef SWITCHBACK_CSIMDJSON_H
#define SWITCHBACK_CSIMDJSON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    CSIMDJSON_ABSENT = 0,
    CSIMDJSON_NULL,
    CSIMDJSON_BOOL,    // in `integer`: 0 or 1
    CSIMDJSON_INTEGER, // in `integer`
    CSIMDJSON_TEXT,    // in `text`, `length`: UTF-8, escapes resolved
    CSIMDJSON_LIST,
    CSIMDJSON_OBJECT,
    CSIMDJSON_OTHER // a number that is no 64-bit integer
} csimdjson_kind;

typedef struct {
    csimdjson_kind kind;
    int64_t integer;
    const char *text; // valid until the next scan
    size_t length;
} csimdjson_field;

typedef struct csimdjson_scanner csimdjson_scanner;

// Looks for `count` fields, each named within the field of index `parents[i]`, which is smaller than i, or within the event itself (-1).
// NULL when memory is short.
csimdjson_scanner *csimdjson_new(size_t count, const int32_t *parents, const char *const *names, const size_t *lengths);
void csimdjson_free(csimdjson_scanner *scanner);

// Fills `fields[0]` to `fields[count - 1]`. 0: the text is valid JSON, an object, and none of the fields stands there twice.
// Anything else: it has to be read by the strict parser, which says what is wrong, if anything is.
int csimdjson_scan(csimdjson_scanner *scanner, const uint8_t *bytes, size_t length, csimdjson_field *fields);

#ifdef __cplusplus
}
#endif
#endif
