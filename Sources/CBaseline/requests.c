// As many requests at once over libcurl's multi interface and epoll as a worker makes, and nothing else: what the library alone costs.
#include "CRequests.h"
#include "client.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define SOCKETS 65536
#define EVENTS 64

typedef struct {
    CURLM *multi;
    int poll;
    long timeout; // milliseconds; -1: none
    uint32_t watched[SOCKETS];
} loop;

static int on_socket(CURL *easy, curl_socket_t socket, int what, void *user, void *unused) {
    (void)easy;
    (void)unused;
    loop *all = user;
    if (socket < 0 || socket >= SOCKETS) return -1;
    // It stays where it is between two requests of a connection.
    if (what == CURL_POLL_REMOVE) return 0;
    uint32_t wanted = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (all->watched[socket] == wanted) return 0;
    struct epoll_event event = {.events = wanted, .data.fd = socket};
    if (epoll_ctl(all->poll, all->watched[socket] ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, socket, &event) != 0) return -1;
    all->watched[socket] = wanted;
    return 0;
}

static int on_close(void *user, curl_socket_t socket) {
    loop *all = user;
    if (socket >= 0 && socket < SOCKETS) all->watched[socket] = 0;
    return close(socket);
}

static int on_timer(CURLM *multi, long milliseconds, void *user) {
    (void)multi;
    ((loop *)user)->timeout = milliseconds;
    return 0;
}

static size_t ignore(char *data, size_t size, size_t count, void *user) {
    (void)data;
    (void)user;
    return size * count;
}

static CURL *prepare(loop *all, const char *url, const char *body, struct curl_slist *headers) {
    CURL *easy = curl_easy_init();
    if (!easy) return NULL;
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, ignore);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 30000L);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, all);
    return easy;
}

// Begins anew what has ended, until `count` have. Returns what is left, or -1.
static int64_t collect(loop *all, int64_t *to_begin, int64_t left, char *error, size_t error_size) {
    int queued;
    CURLMsg *message;
    while ((message = curl_multi_info_read(all->multi, &queued))) {
        if (message->msg != CURLMSG_DONE) continue;
        CURL *easy = message->easy_handle;
        CURLcode code = message->data.result;
        long status = 0;
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        if (code != CURLE_OK || status / 100 != 2) {
            snprintf(error, error_size, "a request failed: %s, status %ld", curl_easy_strerror(code), status);
            return -1;
        }
        left -= 1;
        curl_multi_remove_handle(all->multi, easy);
        if (*to_begin > 0) {
            *to_begin -= 1;
            curl_multi_add_handle(all->multi, easy);
        }
    }
    return left;
}

int cbaseline_requests(const char *url, const char *body, int64_t count, int concurrency, double *seconds, char *error, size_t error_size) {
    static loop all;
    memset(&all, 0, sizeof all);
    all.timeout = -1;
    if (concurrency < 1 || concurrency > 4096 || count < concurrency) {
        snprintf(error, error_size, "1 to 4096 at once, and as many requests at least");
        return -1;
    }
    all.multi = curl_multi_init();
    all.poll = epoll_create1(EPOLL_CLOEXEC);
    struct curl_slist *headers = curl_slist_append(NULL, "content-type: application/json");
    CURL *handles[4096] = {0};
    curl_multi_setopt(all.multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(all.multi, CURLMOPT_SOCKETDATA, &all);
    curl_multi_setopt(all.multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(all.multi, CURLMOPT_TIMERDATA, &all);
    curl_multi_setopt(all.multi, CURLMOPT_MAXCONNECTS, (long)concurrency);
    double began = now();
    int64_t left = count, to_begin = count - concurrency;
    for (int index = 0; index < concurrency; index++) {
        handles[index] = prepare(&all, url, body, headers);
        if (handles[index]) curl_multi_add_handle(all.multi, handles[index]);
        else left = -1;
    }
    if (left < 0) snprintf(error, error_size, "libcurl gives no handle");
    struct epoll_event events[EVENTS];
    int running;
    while (left > 0) {
        if (all.timeout == 0) {
            all.timeout = -1;
            curl_multi_socket_action(all.multi, CURL_SOCKET_TIMEOUT, 0, &running);
        }
        int ready = epoll_wait(all.poll, events, EVENTS, all.timeout < 0 ? 30000 : (int)all.timeout);
        if (ready == 0) {
            if (all.timeout < 0) {
                snprintf(error, error_size, "no answer within 30 s");
                left = -1;
                break;
            }
            all.timeout = 0;
        }
        for (int index = 0; index < ready; index++) {
            int flags = (events[index].events & EPOLLIN ? CURL_CSELECT_IN : 0) | (events[index].events & EPOLLOUT ? CURL_CSELECT_OUT : 0);
            if (events[index].events & (EPOLLERR | EPOLLHUP)) flags |= CURL_CSELECT_ERR;
            curl_multi_socket_action(all.multi, events[index].data.fd, flags, &running);
        }
        left = collect(&all, &to_begin, left, error, error_size);
    }
    *seconds = now() - began;
    for (int index = 0; index < concurrency; index++) {
        if (!handles[index]) continue;
        curl_multi_remove_handle(all.multi, handles[index]);
        curl_easy_cleanup(handles[index]);
    }
    curl_multi_cleanup(all.multi);
    curl_slist_free_all(headers);
    close(all.poll);
    return left == 0 ? 0 : -1;
}
