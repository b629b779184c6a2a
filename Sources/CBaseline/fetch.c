// A plain C client that reads as fast as sockets go: Kafka's Fetch (version 4) over one connection, two requests in
// flight, record batches counted by their headers. It shows what the broker can give, whatever a client library costs.
#include "CBaseline.h"
#include "client.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { IN_FLIGHT = 2, PARTITION_BYTES = 4 << 20, RESPONSE_LIMIT = 64 << 20, BATCH_HEADER = 61 };

typedef struct { uint8_t *at; } writer;

static void put16(writer *w, uint16_t v) { v = htons(v); memcpy(w->at, &v, 2); w->at += 2; }
static void put32(writer *w, uint32_t v) { v = htonl(v); memcpy(w->at, &v, 4); w->at += 4; }
static void put64(writer *w, uint64_t v) { put32(w, (uint32_t)(v >> 32)); put32(w, (uint32_t)v); }
static void put_text(writer *w, const char *text) {
    size_t length = strlen(text);
    put16(w, (uint16_t)length);
    memcpy(w->at, text, length);
    w->at += length;
}

static uint32_t get32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return ntohl(v); }
static uint16_t get16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return ntohs(v); }
static int64_t get64(const uint8_t *p) { return (int64_t)(((uint64_t)get32(p) << 32) | get32(p + 4)); }

static int send_fetch(int socket, const char *topic, int32_t partition, int64_t offset) {
    uint8_t buffer[512];
    writer w = {buffer + 4};
    put16(&w, 1);                  // Fetch
    put16(&w, 4);                  // version
    put32(&w, (uint32_t)partition); // correlation: which partition is answered
    put_text(&w, "cbaseline");
    put32(&w, (uint32_t)-1);       // replica
    put32(&w, 0);                  // longest wait, ms: an answer from the end must not hold up the others
    put32(&w, 1);                  // least bytes
    put32(&w, PARTITION_BYTES);
    *w.at++ = 0;                   // read uncommitted
    put32(&w, 1);
    put_text(&w, topic);
    put32(&w, 1);
    put32(&w, (uint32_t)partition);
    put64(&w, (uint64_t)offset);
    put32(&w, PARTITION_BYTES);
    size_t size = (size_t)(w.at - buffer);
    w.at = buffer;
    put32(&w, (uint32_t)(size - 4));
    return send(socket, buffer, size, MSG_NOSIGNAL) == (ssize_t)size ? 0 : -1;
}

static int read_all(int socket, uint8_t *buffer, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t count = recv(socket, buffer + done, size - done, 0);
        if (count <= 0) return -1;
        done += (size_t)count;
    }
    return 0;
}

// Counts the whole batches of a Fetch response; moves `*offset` past them. -1: the broker reported an error.
static int count(const uint8_t *body, size_t size, int64_t *offset, cbaseline_result *result) {
    const uint8_t *end = body + size, *p = body + 4 + 4 + 4; // correlation, throttle, one topic
    p += 2 + get16(p) + 4 + 4;                               // its name, one partition, its number
    if (get16(p) != 0) return -1;
    p += 2 + 8 + 8;
    int32_t aborted = (int32_t)get32(p);
    p += 4 + (aborted > 0 ? (size_t)aborted * 16 : 0);
    p += 4;
    while (end - p >= BATCH_HEADER) {
        size_t length = 12 + get32(p + 8);
        if ((size_t)(end - p) < length) break;
        int64_t next = get64(p) + (int32_t)get32(p + 23) + 1;
        // A batch that begins before the offset asked for is counted from there on.
        int64_t records = (int32_t)get32(p + 57);
        result->records += next - *offset < records ? next - *offset : records;
        *offset = next;
        p += length;
    }
    result->value_bytes += (int64_t)size;
    return 0;
}

int cbaseline_fetch(const char *host, int port, const char *topic, int32_t partitions, int64_t records,
                    cbaseline_result *result, char *error, size_t error_size) {
    memset(result, 0, sizeof *result);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int handle = socket(AF_INET, SOCK_STREAM, 0), one = 1, outcome = -1;
    int64_t *offsets = calloc((size_t)partitions, sizeof *offsets);
    uint8_t *buffer = malloc(RESPONSE_LIMIT);
    struct timeval timeout = {.tv_sec = 30};
    setsockopt(handle, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(handle, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!offsets || !buffer || partitions < IN_FLIGHT || inet_pton(AF_INET, host, &address.sin_addr) != 1
        || connect(handle, (struct sockaddr *)&address, sizeof address) != 0) {
        snprintf(error, error_size, "can't connect to %s:%d", host, port);
        goto done;
    }
    double cpu = cbaseline_cpu_seconds(), began = now();
    int32_t next = 0;
    for (; next < IN_FLIGHT; next++) if (send_fetch(handle, topic, next, 0) != 0) goto lost;
    while (result->records < records) {
        uint8_t head[4];
        if (read_all(handle, head, 4) != 0 || get32(head) > RESPONSE_LIMIT || get32(head) < 40
            || read_all(handle, buffer, get32(head)) != 0) goto lost;
        int32_t answered = (int32_t)get32(buffer);
        if (answered < 0 || answered >= partitions || count(buffer, get32(head), &offsets[answered], result) != 0) {
            snprintf(error, error_size, "the broker answered a fetch with an error");
            goto done;
        }
        int32_t wanted = next++ % partitions;
        if (send_fetch(handle, topic, wanted, offsets[wanted]) != 0) goto lost;
    }
    result->seconds = now() - began;
    result->cpu_seconds = cbaseline_cpu_seconds() - cpu;
    outcome = 0;
    goto done;
lost:
    snprintf(error, error_size, "the connection to %s:%d ended", host, port);
done:
    close(handle);
    free(offsets);
    free(buffer);
    return outcome;
}
