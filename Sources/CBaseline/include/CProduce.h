#ifndef SWITCHBACK_CPRODUCE_H
#define SWITCHBACK_CPRODUCE_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t acknowledged;
    double seconds;
    double cpu_seconds; // of the whole process, librdkafka's threads too
} cproduce_result;

// Writes `records` records of `size` bytes, evenly over partitions 0 to `partitions` - 1 of `topic`, one rd_kafka_produce
// each, and waits for every acknowledgement. `names` and `values` are librdkafka settings. The time runs from the first
// record to the last acknowledgement. Returns 0, or -1 with a text in `error`.
int cproduce(const char *topic, int32_t partitions, int64_t records, size_t size, const char *const *names,
             const char *const *values, size_t settings, cproduce_result *result, char *error, size_t error_size);

#endif
