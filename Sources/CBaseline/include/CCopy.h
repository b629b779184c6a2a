#ifndef SWITCHBACK_CCOPY_H
#define SWITCHBACK_CCOPY_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t copied;
    double seconds;
    double cpu_seconds; // of the whole process, librdkafka's threads too
} ccopy_result;

// Reads `records` records of partitions 0 to `partitions` - 1 of `topic` from offset 0 with one client, and writes each with another, into the
// topic of that name, as cheaply as librdkafka lets: in one thread, values where they lie, headers left out, an error ends it. At most
// `under_way` records at a time. The time runs from assign() to the last acknowledgement. Returns 0, or -1 with a text in `error`.
int ccopy(const char *topic, int32_t partitions, int64_t records, int64_t under_way, const char *const *source_names,
          const char *const *source_values, size_t source_settings, const char *const *target_names,
          const char *const *target_values, size_t target_settings, ccopy_result *result, char *error, size_t error_size);

#endif
