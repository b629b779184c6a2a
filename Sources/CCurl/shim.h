// libcurl's public header, what Swift can't import from it (variadics), and epoll, by which its sockets are waited for.
#ifndef SWITCHBACK_CCURL_SHIM_H
#define SWITCHBACK_CCURL_SHIM_H

// Its checks of types are macros around the calls, which would only see this file's.
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static inline CURLcode switchback_easy_set(CURL *easy, CURLoption option, long value) { return curl_easy_setopt(easy, option, value); }
static inline CURLcode switchback_easy_set_size(CURL *easy, CURLoption option, curl_off_t value) { return curl_easy_setopt(easy, option, value); }
static inline CURLcode switchback_easy_set_pointer(CURL *easy, CURLoption option, const void *value) {
    return curl_easy_setopt(easy, option, value);
}

// Both are told of the same `user`. CURLOPT_PREREQFUNCTION's `user`, too.
static inline void switchback_easy_set_callbacks(
    CURL *easy, curl_write_callback on_body, curl_write_callback on_header, curl_prereq_callback before_request, void *user) {
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, user);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, user);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, before_request);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, user);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, user);
}

static inline void switchback_easy_set_sockets(
    CURL *easy, curl_opensocket_callback on_open, curl_closesocket_callback on_close, void *user) {
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, user);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, user);
}

static inline long switchback_easy_status(CURL *easy) {
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

static inline void *switchback_easy_user(CURL *easy) {
    char *user = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &user);
    return user;
}

static inline CURLMcode switchback_multi_set(CURLM *multi, CURLMoption option, long value) { return curl_multi_setopt(multi, option, value); }

static inline void switchback_multi_set_callbacks(
    CURLM *multi, curl_socket_callback on_socket, curl_multi_timer_callback on_timer, void *user) {
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, user);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, user);
}

#endif
