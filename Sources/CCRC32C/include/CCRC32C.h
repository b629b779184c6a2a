// CRC-32C by the processor's own instruction, which Swift has no access to.
#ifndef SWITCHBACK_CCRC32C_H
#define SWITCHBACK_CCRC32C_H

#include <stddef.h>
#include <stdint.h>

// Whether this processor has the instruction (x86-64 with SSE 4.2, ARM built with its CRC extension).
int ccrc32c_is_there(void);

// The checksum of `size` bytes, going on from `previous` (0 at the start). Only where the instruction is there.
uint32_t ccrc32c(uint32_t previous, const void *bytes, size_t size);

#endif
