#include "CProduce.h"
#include "CBaseline.h"
#include "client.h"

#include <stdio.h>
#include <stdlib.h>

enum { LIMIT_SECONDS = 240, POLL_EVERY = 1000 };

typedef struct {
    int64_t acknowledged, failed;
} reports;

static void on_report(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque) {
    (void)client;
    reports *seen = opaque;
    if (message->err)
        seen->failed++;
    else
        seen->acknowledged++;
}

static int write_all(rd_kafka_t *client, rd_kafka_topic_t *topic, int32_t partitions, int64_t records, uint8_t *value,
                     size_t size, reports *seen) {
    double give_up = now() + LIMIT_SECONDS;
    for (int64_t i = 0; i < records; i++) {
        int32_t partition = (int32_t)(i % partitions);
        while (rd_kafka_produce(topic, partition, RD_KAFKA_MSG_F_COPY, value, size, NULL, 0, NULL) != 0) {
            if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL || now() > give_up)
                return -1;
            rd_kafka_poll(client, 10);
        }
        if (i % POLL_EVERY == 0)
            rd_kafka_poll(client, 0);
    }
    while (seen->acknowledged + seen->failed < records && now() < give_up)
        rd_kafka_poll(client, 10);
    return seen->acknowledged == records ? 0 : -1;
}

int cproduce(const char *name, int32_t partitions, int64_t records, size_t size, const char *const *names,
             const char *const *values, size_t settings, cproduce_result *result, char *error, size_t error_size) {
    reports seen = {0, 0};
    rd_kafka_t *client = make_client(RD_KAFKA_PRODUCER, names, values, settings, on_report, &seen, error, error_size);
    if (!client)
        return -1;
    uint8_t *value = calloc(1, size);
    char *cluster = rd_kafka_clusterid(client, 10000); // connected before the time runs
    if (cluster)
        rd_kafka_mem_free(client, cluster);
    rd_kafka_topic_t *topic = value ? rd_kafka_topic_new(client, name, NULL) : NULL;
    int outcome = -1;
    if (topic) {
        double cpu = cbaseline_cpu_seconds(), began = now();
        outcome = write_all(client, topic, partitions, records, value, size, &seen);
        result->seconds = now() - began;
        result->cpu_seconds = cbaseline_cpu_seconds() - cpu;
        result->acknowledged = seen.acknowledged;
        if (outcome != 0)
            snprintf(error, error_size, "%lld of %lld records were acknowledged", (long long)seen.acknowledged, (long long)records);
        rd_kafka_topic_destroy(topic);
    }
    free(value);
    if (outcome != 0)
        rd_kafka_purge(client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_destroy(client);
    return outcome;
}
