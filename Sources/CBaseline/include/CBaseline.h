// The plain C loops that the Swift rooms are measured against.
#ifndef SWITCHBACK_CBASELINE_H
#define SWITCHBACK_CBASELINE_H

#include <stddef.h>
#include <stdint.h>

#include "CCopy.h"
#include "CProduce.h"
#include "CRequests.h"

typedef struct {
    int64_t records;
    int64_t value_bytes;
    double seconds;
    double cpu_seconds; // of the whole process, librdkafka's threads too
} cbaseline_result;

// Looks at the value of one record. Other than 0 ends the reading.
typedef int (*cbaseline_inspect)(void *context, const void *value, size_t length);

// Reads `records` records of partitions 0 to `partitions` - 1 of `topic` from offset 0 and counts them: a loop over
// rd_kafka_consume_batch_queue with `batch` messages a call. `names` and `values` are librdkafka settings.
// Each time that `wake_every` records or `wake_every_bytes` of their keys and values were read the brokers' threads are woken (what librdkafka below 2.2 needs
// so that they don't sleep for a second when its queue was full); a `wake_every` of 0: never. `inspect` may be NULL. The time runs from assign() to the last record. Returns 0, or -1 with a text in `error`.
int cbaseline_consume(const char *topic, int32_t partitions, int64_t records, size_t batch, int timeout_ms, int64_t wake_every,
                      int64_t wake_every_bytes, const char *const *names, const char *const *values, size_t settings, cbaseline_inspect inspect,
                      void *context, cbaseline_result *result, char *error, size_t error_size);

// Reads the same with Fetch requests over a socket, without a client library. `host` is an IPv4 address; `partitions` 2 or more.
// `value_bytes` is what came over the socket. Returns 0, or -1 with a text in `error`.
int cbaseline_fetch(const char *host, int port, const char *topic, int32_t partitions, int64_t records,
                    cbaseline_result *result, char *error, size_t error_size);

// Work that takes CPU time and nothing else: `turns` turns of a loop that the compiler can't leave out.
void cbaseline_work(int64_t turns);

// A `cbaseline_inspect` that does it: `context` points to an int64_t, the turns.
int cbaseline_inspect_working(void *context, const void *value, size_t length);

// How many turns take a microsecond on this machine: the best of several tries, so that what else runs doesn't count.
double cbaseline_turns_per_microsecond(void);

// CPU seconds of this process so far.
double cbaseline_cpu_seconds(void);

// Binds all threads of this process, and those that they start, to one core. Returns 0, or -1. Linux only.
int cbaseline_use_one_core(void);

#endif
