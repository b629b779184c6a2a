#ifndef SWITCHBACK_CREQUESTS_H
#define SWITCHBACK_CREQUESTS_H

#include <stddef.h>
#include <stdint.h>

// POSTs `body` to `url` `count` times, `concurrency` at once (1 to 4096), over kept connections with libcurl. Each must be answered with 2xx.
// `seconds` is what it took. Returns 0, or -1 with a text in `error`.
int cbaseline_requests(const char *url, const char *body, int64_t count, int concurrency, double *seconds, char *error, size_t error_size);

#endif
