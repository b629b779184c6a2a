// What every loop here needs: the time, and a client.
#ifndef SWITCHBACK_CBASELINE_CLIENT_H
#define SWITCHBACK_CBASELINE_CLIENT_H

#include <librdkafka/rdkafka.h>
#include <time.h>

static inline double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

typedef void (*on_report_callback)(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque);

// `on_report` hears of `opaque`; NULL: nobody is told. Returns NULL with a text in `error`.
static inline rd_kafka_t *make_client(rd_kafka_type_t type, const char *const *names, const char *const *values, size_t settings,
                                      on_report_callback on_report, void *opaque, char *error, size_t error_size) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (size_t i = 0; i < settings; i++) {
        if (rd_kafka_conf_set(conf, names[i], values[i], error, error_size) != RD_KAFKA_CONF_OK) {
            rd_kafka_conf_destroy(conf);
            return NULL;
        }
    }
    if (on_report) {
        rd_kafka_conf_set_dr_msg_cb(conf, on_report);
        rd_kafka_conf_set_opaque(conf, opaque);
    }
    rd_kafka_t *client = rd_kafka_new(type, conf, error, error_size);
    if (!client)
        rd_kafka_conf_destroy(conf);
    else if (type == RD_KAFKA_CONSUMER)
        rd_kafka_poll_set_consumer(client);
    return client;
}

#endif
