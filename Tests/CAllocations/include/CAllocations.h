// Counts the allocations of the program that it is linked into, by thread. Linux with glibc only.
#ifndef SWITCHBACK_CALLOCATIONS_H
#define SWITCHBACK_CALLOCATIONS_H

#include <stdint.h>

// How often memory was asked for so far (malloc, calloc, realloc, aligned ones) by threads whose name does not begin with `prefix`.
uint64_t callocations_outside(const char *prefix);

#endif
