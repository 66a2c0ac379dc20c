/* random.h - numbers that a seed decides, so that a run can be repeated. */
#ifndef RS_TESTS_RANDOM_H
#define RS_TESTS_RANDOM_H

#include <stdint.h>

/* splitmix64: a good stream from any seed. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static inline uint64_t random_below(uint64_t *state, uint64_t end)
{
    return random_next(state) % end;
}

#endif
