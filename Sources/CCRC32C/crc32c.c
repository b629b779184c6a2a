#include "CCRC32C.h"

#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>

#define STEP8(crc, word) _mm_crc32_u64(crc, word)
#define STEP1(crc, byte) _mm_crc32_u8((uint32_t)(crc), byte)
#define WITH_INSTRUCTION __attribute__((target("sse4.2")))

int ccrc32c_is_there(void) { return __builtin_cpu_supports("sse4.2") != 0; }

#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>

#define STEP8(crc, word) __crc32cd((uint32_t)(crc), word)
#define STEP1(crc, byte) __crc32cb((uint32_t)(crc), byte)
#define WITH_INSTRUCTION

int ccrc32c_is_there(void) { return 1; }

#else

int ccrc32c_is_there(void) { return 0; }
uint32_t ccrc32c(uint32_t previous, const void *bytes, size_t size) { return (void)bytes, (void)size, previous; }

#endif

#ifdef STEP8

// The instruction takes three cycles and one can begin in each, so three stretches are summed side by side. A stretch's sum is moved past
// the next stretch by feeding it that many zero bytes, which is linear: one table lookup per byte of the sum.
enum { STRETCH = 1024 };

static uint32_t past_stretch[4][256];

static uint64_t load(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

WITH_INSTRUCTION __attribute__((constructor)) static void make_table(void) {
    if (!ccrc32c_is_there())
        return;
    for (int byte = 0; byte < 4; byte++) {
        for (uint32_t value = 0; value < 256; value++) {
            uint64_t crc = value << (8 * byte);
            for (int i = 0; i < STRETCH / 8; i++)
                crc = STEP8(crc, 0);
            past_stretch[byte][value] = (uint32_t)crc;
        }
    }
}

static uint32_t moved(uint32_t crc) {
    return past_stretch[0][crc & 0xff] ^ past_stretch[1][crc >> 8 & 0xff] ^ past_stretch[2][crc >> 16 & 0xff] ^ past_stretch[3][crc >> 24];
}

WITH_INSTRUCTION uint32_t ccrc32c(uint32_t previous, const void *bytes, size_t size) {
    const uint8_t *at = bytes;
    uint64_t crc = (uint32_t)~previous;
    for (; size >= 3 * STRETCH; size -= 3 * STRETCH, at += 3 * STRETCH) {
        uint64_t second = 0, third = 0;
        for (int i = 0; i < STRETCH; i += 8) {
            crc = STEP8(crc, load(at + i));
            second = STEP8(second, load(at + STRETCH + i));
            third = STEP8(third, load(at + 2 * STRETCH + i));
        }
        crc = moved((uint32_t)(moved((uint32_t)crc) ^ second)) ^ third;
    }
    for (; size >= 8; size -= 8, at += 8)
        crc = STEP8(crc, load(at));
    for (; size > 0; size--, at++)
        crc = STEP1(crc, *at);
    return ~(uint32_t)crc;
}

#endif
