/* Questions on demand: a gateway's question (first byte even) and a control plane's answer (odd)
 * are read, or refused with a message. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "agent/ask_answer.h"
#include "agent/ask_question.h"

static void read_question(const uint8_t *data, size_t size)
{
    struct ask_question *question = NULL;
    struct error err = ERROR_INIT;

    if (ask_question_parse(data, size, &question, &err) != 0) {
        FUZZ_REQUIRE(err.message[0] != 0);
        return;
    }
    FUZZ_REQUIRE(question->n_places > 0 && question->n_places <= ASK_PLACES_MAX);
    FUZZ_REQUIRE(strlen(question->secret) == question->secret_size);
    ask_question_destroy(question);
}

static void read_answer(const uint8_t *data, size_t size)
{
    static const struct ask_place place = {.is_realm = true, .region = "us"};
    struct ask_answer answer;
    struct error err = ERROR_INIT;
    char *text = NULL;

    if (ask_answer_read(&place, data, size, &answer, &text, &err) != 0) {
        FUZZ_REQUIRE(err.message[0] != 0);
        return;
    }
    FUZZ_REQUIRE(answer.found == (text != NULL) && answer.text == text && answer.ttl_ms >= 0);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] % 2 == 0)
        read_question(data + 1, size - 1);
    else
        read_answer(data + 1, size - 1);
    return 0;
}
