#include "CBaseline.h"
#include "CCopy.h"
#include "client.h"

#include <stdio.h>
#include <string.h>

enum { LIMIT_SECONDS = 240, BATCH = 2048 };

typedef struct {
    int64_t acknowledged, failed;
} reports;

// The record that was read is kept until the one that was made of it has been reported on.
static void on_report(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque) {
    (void)client;
    reports *seen = opaque;
    if (message->err)
        seen->failed++;
    else
        seen->acknowledged++;
    rd_kafka_message_destroy(message->_private);
}

static rd_kafka_t *make(rd_kafka_type_t type, const char *const *names, const char *const *values, size_t settings, reports *seen,
                        char *error, size_t error_size) {
    rd_kafka_t *client = make_client(type, names, values, settings, type == RD_KAFKA_PRODUCER ? on_report : NULL, seen, error, error_size);
    char *cluster = client ? rd_kafka_clusterid(client, 10000) : NULL; // connected before the time runs
    if (cluster)
        rd_kafka_mem_free(client, cluster);
    return client;
}

static int write_one(rd_kafka_t *target, rd_kafka_topic_t *topic, rd_kafka_message_t *record) {
    rd_kafka_resp_err_t code;
    while ((code = rd_kafka_producev(
                target, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(record->partition), RD_KAFKA_V_MSGFLAGS(0),
                RD_KAFKA_V_VALUE(record->payload, record->len), RD_KAFKA_V_KEY(record->key, record->key_len),
                RD_KAFKA_V_TIMESTAMP(rd_kafka_message_timestamp(record, NULL)), RD_KAFKA_V_OPAQUE(record), RD_KAFKA_V_END))
           == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        rd_kafka_poll(target, 1);
    return code ? -1 : 0;
}

static int copy_all(rd_kafka_t *source, rd_kafka_t *target, rd_kafka_topic_t *topic, int64_t records, int64_t under_way, reports *seen) {
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(source);
    rd_kafka_message_t *messages[BATCH];
    int64_t read = 0;
    double give_up = now() + LIMIT_SECONDS;
    int failed = 0;
    while (seen->acknowledged < records && !failed && seen->failed == 0 && now() < give_up) {
        int64_t open = read - seen->acknowledged;
        ssize_t got = read < records && open < under_way ? rd_kafka_consume_batch_queue(queue, open ? 0 : 5, messages, BATCH) : 0;
        for (ssize_t i = 0; i < got; i++) {
            failed = failed || messages[i]->err || write_one(target, topic, messages[i]) != 0;
            if (failed)
                rd_kafka_message_destroy(messages[i]);
            else
                read++;
        }
        rd_kafka_poll(target, got > 0 ? 0 : 1);
    }
    rd_kafka_queue_destroy(queue);
    return seen->acknowledged >= records ? 0 : -1;
}

int ccopy(const char *name, int32_t partitions, int64_t records, int64_t under_way, const char *const *source_names,
          const char *const *source_values, size_t source_settings, const char *const *target_names,
          const char *const *target_values, size_t target_settings, ccopy_result *result, char *error, size_t error_size) {
    reports seen = {0, 0};
    rd_kafka_t *source = make(RD_KAFKA_CONSUMER, source_names, source_values, source_settings, &seen, error, error_size);
    rd_kafka_t *target = source ? make(RD_KAFKA_PRODUCER, target_names, target_values, target_settings, &seen, error, error_size) : NULL;
    rd_kafka_topic_t *topic = target ? rd_kafka_topic_new(target, name, NULL) : NULL;
    int outcome = -1;
    if (topic) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
        for (int32_t i = 0; i < partitions; i++)
            rd_kafka_topic_partition_list_add(list, name, i)->offset = 0;
        double cpu = cbaseline_cpu_seconds(), began = now();
        if (rd_kafka_assign(source, list) == RD_KAFKA_RESP_ERR_NO_ERROR)
            outcome = copy_all(source, target, topic, records, under_way, &seen);
        result->seconds = now() - began;
        result->cpu_seconds = cbaseline_cpu_seconds() - cpu;
        result->copied = seen.acknowledged;
        if (outcome != 0)
            snprintf(error, error_size, "%lld of %lld records were copied", (long long)seen.acknowledged, (long long)records);
        rd_kafka_topic_partition_list_destroy(list);
        rd_kafka_topic_destroy(topic);
    }
    if (target) {
        rd_kafka_purge(target, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        while (rd_kafka_poll(target, 0) > 0) {
        }
        rd_kafka_destroy(target);
    }
    if (source)
        rd_kafka_destroy(source);
    return outcome;
}
