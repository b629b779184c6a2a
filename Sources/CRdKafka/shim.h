// librdkafka's public header, and what Swift can't import from it (macros, variadics).
#ifndef SWITCHBACK_CRDKAFKA_SHIM_H
#define SWITCHBACK_CRDKAFKA_SHIM_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <sys/prctl.h>

// prctl is variadic. Names this thread; the kernel keeps 15 bytes.
static inline void switchback_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

// rd_kafka_producev is variadic. A null `value` or `key` is Kafka's null; a pointer with size 0 is an empty one.
// `headers` is owned by the message on success only. `timestamp_ms` 0 lets librdkafka take the current time.
// The key is always copied; the value with RD_KAFKA_MSG_F_COPY in `flags`, else it must stay where it is until the report.
static inline rd_kafka_resp_err_t switchback_produce(
    rd_kafka_t *client, rd_kafka_topic_t *topic, int32_t partition, int flags,
    const void *value, size_t value_size, const void *key, size_t key_size,
    rd_kafka_headers_t *headers, int64_t timestamp_ms, void *opaque) {
    if (headers)
        return rd_kafka_producev(
            client, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(partition),
            RD_KAFKA_V_MSGFLAGS(flags),
            RD_KAFKA_V_VALUE((void *)value, value_size),
            RD_KAFKA_V_KEY((void *)key, key_size),
            RD_KAFKA_V_TIMESTAMP(timestamp_ms), RD_KAFKA_V_OPAQUE(opaque),
            RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    return rd_kafka_producev(
        client, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(partition),
        RD_KAFKA_V_MSGFLAGS(flags),
        RD_KAFKA_V_VALUE((void *)value, value_size),
        RD_KAFKA_V_KEY((void *)key, key_size),
        RD_KAFKA_V_TIMESTAMP(timestamp_ms), RD_KAFKA_V_OPAQUE(opaque),
        RD_KAFKA_V_END);
}

#endif
