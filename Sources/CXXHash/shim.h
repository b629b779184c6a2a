// XXH3 (64 bit): the hash of the fingerprint (Docs/Checkpoint-Format.md).
#ifndef SWITCHBACK_CXXHASH_SHIM_H
#define SWITCHBACK_CXXHASH_SHIM_H

#include <xxhash.h>

#endif
