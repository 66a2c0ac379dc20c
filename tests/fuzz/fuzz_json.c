/* A request body: read, or refused with a rule and a text. */
#include "tests/fuzz/fuzz.h"

#include "control/rest/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_fault fault = {NULL, NULL, 0, 0};
    json_t *object = json_read_object((const char *)data, size, &fault);

    FUZZ_REQUIRE(object != NULL ? json_is_object(object)
                                : fault.rule != NULL && fault.text != NULL);
    json_decref(object);
    return 0;
}
