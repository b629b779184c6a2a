#define _GNU_SOURCE
#include "CBaseline.h"
#include "client.h"

#include <librdkafka/rdkafka.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

double cbaseline_cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int cbaseline_use_one_core(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return -1;
    int last = -1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &set))
            last = cpu;
    CPU_ZERO(&set);
    CPU_SET(last, &set);
    DIR *threads = opendir("/proc/self/task");
    if (!threads)
        return -1;
    int failed = 0;
    for (struct dirent *entry; (entry = readdir(threads));)
        if (entry->d_name[0] != '.' && sched_setaffinity((pid_t)atoi(entry->d_name), sizeof(set), &set) != 0 && errno != ESRCH)
            failed = -1; // ESRCH: it has ended meanwhile
    closedir(threads);
    return failed;
}

void cbaseline_work(int64_t turns) {
    static _Thread_local volatile uint64_t kept = 1;
    uint64_t value = kept;
    for (int64_t i = 0; i < turns; i++) {
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
    }
    kept = value;
}

int cbaseline_inspect_working(void *context, const void *value, size_t length) {
    (void)value;
    (void)length;
    cbaseline_work(*(const int64_t *)context);
    return 0;
}

double cbaseline_turns_per_microsecond(void) {
    enum { TRIES = 20, TURNS = 1000000 };
    double best = 0;
    for (int i = 0; i < TRIES; i++) {
        double began = now();
        cbaseline_work(TURNS);
        double rate = TURNS / ((now() - began) * 1e6);
        if (rate > best)
            best = rate;
    }
    return best;
}

// librdkafka's one call that wakes the brokers' threads without a request.
static int wake(rd_kafka_t *client, char *error, size_t error_size) {
    rd_kafka_error_t *failure = rd_kafka_sasl_set_credentials(client, "", "");
    if (!failure)
        return 0;
    snprintf(error, error_size, "%s", rd_kafka_error_string(failure));
    rd_kafka_error_destroy(failure);
    return -1;
}

static int read_all(rd_kafka_t *client, int64_t records, size_t batch, int timeout_ms, int64_t wake_every, int64_t wake_every_bytes,
                    cbaseline_inspect inspect, void *context, cbaseline_result *result, char *error, size_t error_size) {
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(client);
    rd_kafka_message_t **messages = malloc(batch * sizeof(*messages));
    int64_t count = 0, bytes = 0, held = 0, woken_at = 0, woken_at_held = 0; // held: of keys and values, as librdkafka counts its queue
    int failed = 0;
    double give_up = now() + 120;
    while (count < records && !failed) {
        ssize_t got = rd_kafka_consume_batch_queue(queue, timeout_ms, messages, batch);
        if (got <= 0 && now() > give_up) {
            snprintf(error, error_size, "only %lld records came", (long long)count);
            failed = 1;
        }
        for (ssize_t i = 0; i < got; i++) {
            if (messages[i]->err) {
                snprintf(error, error_size, "%s", rd_kafka_message_errstr(messages[i]));
                failed = 1;
            } else {
                if (inspect && inspect(context, messages[i]->payload, messages[i]->len) != 0) {
                    snprintf(error, error_size, "a record could not be parsed");
                    failed = 1;
                }
                count++;
                bytes += (int64_t)messages[i]->len;
                held += (int64_t)(messages[i]->len + messages[i]->key_len);
            }
            rd_kafka_message_destroy(messages[i]);
        }
        if (wake_every > 0 && (count - woken_at >= wake_every || held - woken_at_held >= wake_every_bytes)) {
            woken_at = count;
            woken_at_held = held;
            if (wake(client, error, error_size) != 0)
                failed = 1;
        }
    }
    free(messages);
    rd_kafka_queue_destroy(queue);
    result->records = count;
    result->value_bytes = bytes;
    return failed ? -1 : 0;
}

int cbaseline_consume(const char *topic, int32_t partitions, int64_t records, size_t batch, int timeout_ms, int64_t wake_every,
                      int64_t wake_every_bytes, const char *const *names, const char *const *values, size_t settings, cbaseline_inspect inspect,
                      void *context, cbaseline_result *result, char *error, size_t error_size) {
    rd_kafka_t *client = make_client(RD_KAFKA_CONSUMER, names, values, settings, NULL, NULL, error, error_size);
    if (!client)
        return -1;
    char *cluster = rd_kafka_clusterid(client, 10000); // connected before the time runs
    if (cluster)
        rd_kafka_mem_free(client, cluster);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    for (int32_t i = 0; i < partitions; i++)
        rd_kafka_topic_partition_list_add(list, topic, i)->offset = 0;
    double cpu = cbaseline_cpu_seconds(), start = now();
    int outcome = rd_kafka_assign(client, list) ? -1 : 0;
    if (outcome)
        snprintf(error, error_size, "assign failed");
    else
        outcome = read_all(client, records, batch, timeout_ms, wake_every, wake_every_bytes, inspect, context, result, error, error_size);
    result->seconds = now() - start;
    result->cpu_seconds = cbaseline_cpu_seconds() - cpu;
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_consumer_close(client);
    rd_kafka_destroy(client);
    return outcome;
}
