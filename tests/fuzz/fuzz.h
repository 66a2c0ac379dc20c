/* fuzz.h - what the fuzz targets share. Each is one LLVMFuzzerTestOneInput(); tests/fuzz/run starts
 * them. */
#ifndef RS_TESTS_FUZZ_H
#define RS_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* A property that must hold for every input; the fuzzer keeps the input that breaks it. */
#define FUZZ_REQUIRE(property)                                                                     \
    do {                                                                                           \
        if (!(property))                                                                           \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
