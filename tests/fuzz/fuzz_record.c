/* Record bytes, as a damaged store file has them: what passes the quick check is safe to read
 * through every accessor, and what passes the full check is also well-formed. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "store/record.h"

static size_t read_all(const struct record_strings *list, bool checked)
{
    size_t total = 0;

    for (size_t i = 0; i <= list->count && i < 4096; i++) {
        const char *text = record_strings_get(list, i);

        FUZZ_REQUIRE(!checked || i == list->count || text != NULL);
        total += text != NULL ? strlen(text) : 0;
    }
    return total;
}

static size_t length_of(const char *text)
{
    return text != NULL ? strlen(text) : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char *exact = malloc(size > 0 ? size : 1); /* so that one byte beyond is caught */
    struct record_consumer consumer;
    struct record_realm realm;
    struct record_key key;
    size_t total = 0;

    FUZZ_REQUIRE(exact != NULL);
    memcpy(exact, data, size);
    if (record_view_consumer(exact, size, &consumer)) {
        bool checked = record_check(RECORD_CONSUMER, exact, size);

        total += length_of(consumer.username) + length_of(consumer.custom_id) +
                 read_all(&consumer.tags, checked) + read_all(&consumer.groups, checked);
    }
    if (record_view_realm(exact, size, &realm)) {
        bool checked = record_check(RECORD_REALM, exact, size);

        FUZZ_REQUIRE(!checked || (realm.name != NULL && realm.region != NULL));
        total += length_of(realm.name) + length_of(realm.region) + read_all(&realm.groups, checked);
    }
    if (record_view_key(exact, size, &key))
        total += key.digest[0] + read_all(&key.tags, record_check(RECORD_KEY, exact, size));
    free(exact);
    return total > SIZE_MAX / 2;
}
